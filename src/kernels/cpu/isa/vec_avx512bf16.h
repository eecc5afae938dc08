// AVX-512 with vdpbf16ps. Serves the bf16-dot class only: the other classes are the AVX-512 ones.
#pragma once

#define LATHE_VEC_DOT
#include "kernels/cpu/isa/vec_avx512.h"
