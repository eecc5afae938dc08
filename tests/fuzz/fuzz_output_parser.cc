// Tool calls out of a model's text: the same in any cut, nothing lost where there is no call, nothing taken
// back.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "text/tools/output_parser.h"

namespace {

struct Whole {
  std::string content, reasoning;
  std::vector<std::string> calls;  // name, NUL, arguments
  bool operator==(const Whole&) const = default;

  void Add(const lathe::ParsedDelta& delta) {
    content += delta.content;
    reasoning += delta.reasoning;
    for (const lathe::ToolCallDelta& call : delta.calls) {
      if (call.first) {
        LATHE_CHECK_EQ(static_cast<size_t>(call.index), calls.size());
        calls.push_back(call.name + '\0');
      }
      LATHE_CHECK_EQ(static_cast<size_t>(call.index) + 1, calls.size());
      calls.back() += call.arguments;
    }
  }
};

Whole Parse(const lathe::OutputParserOptions& options, std::string_view text, size_t piece) {
  lathe::OutputParser parser(options);
  Whole whole;
  for (size_t at = 0; at < text.size(); at += piece) {
    lathe::ParsedDelta delta;
    parser.Push(text.substr(at, piece), &delta);
    whole.Add(delta);
  }
  lathe::ParsedDelta tail;
  parser.Flush(&tail);
  whole.Add(tail);
  LATHE_CHECK_EQ(static_cast<size_t>(parser.n_calls()), whole.calls.size());
  return whole;
}

}  // namespace

// The first byte chooses the options, the rest is the text.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  lathe::OutputParserOptions options;
  options.format = static_cast<lathe::ToolFormat>(data[0] % 4);
  options.tools = (data[0] & 4) != 0;
  options.reasoning = (data[0] & 8) != 0;
  options.starts_in_reasoning = (data[0] & 16) != 0;
  if ((data[0] & 32) != 0) options.tool_names = {"f", "get_weather"};
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);

  const Whole whole = Parse(options, text, size);
  LATHE_CHECK(Parse(options, text, 1) == whole);
  LATHE_CHECK(Parse(options, text, 7) == whole);
  if (whole.calls.empty() && !options.reasoning) LATHE_CHECK(whole.content == text);
  return 0;
}
