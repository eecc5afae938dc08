// What bounds a render and what it may trust.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <functional>
#include <string>
#include <vector>

namespace lathe {

// A template is code that came with a model: whatever it does, it ends soon and small.
struct RenderLimits {
  uint64_t max_steps = 1'000'000;
  // The output may have max(output_factor x bytes of the context, min_output_bytes).
  size_t output_factor = 4;
  size_t min_output_bytes = size_t{1} << 20;
  // Strings and containers alive at one time, the context included.
  size_t max_memory_bytes = size_t{64} << 20;
  // Macro calls inside macro calls; also the nesting of values.
  int max_depth = 64;
  // Wall time; 0: none.
  double max_seconds = 0;
};

struct RenderOptions {
  RenderLimits limits;
  // Variables whose text is the model's own and counts as template text. The caller must not let a request
  // set these.
  std::vector<std::string> template_variables = {"bos_token", "eos_token"};
  // What strftime_now tells; local time when empty.
  std::function<std::tm()> now;
};

}  // namespace lathe
