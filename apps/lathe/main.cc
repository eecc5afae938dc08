#include <cstdio>

#include "lathe/version.h"

int main() { std::printf("lathe %s\n", lathe::kVersionString); }
