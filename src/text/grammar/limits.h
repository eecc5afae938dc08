// What a user's grammar may cost.
#pragma once

#include <cstddef>

namespace lathe {

struct GrammarLimits {
  size_t source_bytes = 65536;      // of the format's source and choices
  int rules = 10000;                // of the compiled grammar
  int depth = 64;                   // nesting of groups, schemas and references
  double seconds = 0.1;             // to compile
  size_t bytes = size_t{64} << 20;  // of memory, compiled form and cached masks each
};

}  // namespace lathe
