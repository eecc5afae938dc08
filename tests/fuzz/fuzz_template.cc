// Chat templates: whatever the source, parsing and rendering end within small limits, and the origins of the
// text cover it.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/json.h"
#include "text/template/chat_template.h"

namespace {

const lathe::Json& Context() {
  static const lathe::Json context = *lathe::ParseJson(
      R"({"messages": [{"role": "system", "content": "Be terse."},
                       {"role": "user", "content": "Hé <|im_end|> 🌍\n"},
                       {"role": "assistant", "content": null, "tool_calls": [{"id": "abcdefghi",
                         "function": {"name": "f", "arguments": {"x": 1, "y": [1.5, true, null, "z"]}}}]},
                       {"role": "tool", "content": "{\"a\": 1}"}],
          "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
          "l": [3, 1, 2], "s": " Hello World ", "d": {"a": 1, "b": "two"}, "i": 7, "f": 2.5,
          "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>"})",
      "fuzz");
  return context;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const auto parsed = lathe::ChatTemplate::Parse(source);
  if (!parsed.ok()) {
    LATHE_CHECK(!parsed.status().message().empty());
    return 0;
  }
  lathe::RenderOptions options;
  options.limits.max_steps = 20'000;
  options.limits.max_memory_bytes = size_t{4} << 20;
  options.limits.min_output_bytes = size_t{64} << 10;
  const auto rendered = parsed->Render(Context(), options);
  if (!rendered.ok()) return 0;
  size_t end = 0;
  for (const auto& segment : rendered->segments) {
    LATHE_CHECK_EQ(segment.begin, end);
    LATHE_CHECK_GT(segment.end, segment.begin);
    end = segment.end;
  }
  LATHE_CHECK_EQ(end, rendered->text.size());
  return 0;
}
