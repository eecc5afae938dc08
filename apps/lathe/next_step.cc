#include "next_step.h"

#include <unistd.h>

#include <cstdio>

#include "terminal/terminal.h"

namespace lathe::cli {

void SuggestNext(const std::string& command) {
  const Terminal terminal = DescribeTerminal(STDERR_FILENO);
  if (!terminal.interactive) return;
  std::fflush(stdout);
  const Style style(terminal);
  std::fprintf(stderr, "%s %s\n", style.Dim("next:").c_str(), style.Bold(command).c_str());
}

}  // namespace lathe::cli
