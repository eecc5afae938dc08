// Tool calls and reasoning out of a model's text, as it streams.
//
// Formats (what the models' own chat templates teach them to write):
// - kHermes (Hermes, Qwen 2.5, Qwen 3): <tool_call>\n{"name": .., "arguments": {..}}\n</tool_call>, any
// number;
// - kLlama3Json: {"name": .., "parameters": {..}} as the whole answer, or behind <|python_tag|>; more after
// ";";
// - kMistral: [TOOL_CALLS] [{"name": .., "arguments": {..}}, ..], or [TOOL_CALLS]name[ARGS]{..}, any number;
// - reasoning: <think>..</think> before the answer, also when the prompt has opened it already.
//
// The parser works byte by byte, so the way a text is cut into pieces has no influence on what comes out, and
// what is out is never taken back: bytes that may belong to a marker or to a call not yet known to be one are
// withheld. A call comes out once its name is known (and one of `tool_names`) and its arguments have begun;
// its arguments are the model's own bytes up to the brace that closes them. What turns out to be no call is
// content, whole. White space that only parts markers from text (before and after a call, inside the ends of
// <think>..</think> and behind it) is dropped; nothing else is. With a ToolGrammar in force there is no
// reasoning: leave `reasoning` and `starts_in_reasoning` off.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lathe/request.h"
#include "lathe/status.h"

namespace lathe {

enum class ToolFormat { kNone, kHermes, kLlama3Json, kMistral };
std::string_view ToString(ToolFormat format);  // "none", "hermes", "llama3_json", "mistral"

struct ToolCallDelta {
  int index = 0;               // 0, 1, .. in order of appearance
  std::string id = {};         // only when first
  std::string name = {};       // only when first
  std::string arguments = {};  // a piece of JSON text; the pieces of one index concatenate to it
  bool first = false;
};

struct ParsedDelta {
  std::string content = {}, reasoning = {};
  std::vector<ToolCallDelta> calls = {};  // ascending by index, at most one each

  bool empty() const { return content.empty() && reasoning.empty() && calls.empty(); }
};

struct OutputParserOptions {
  ToolFormat format = ToolFormat::kNone;
  bool tools = false;                        // look for calls
  bool reasoning = false;                    // look for <think> at the start
  bool starts_in_reasoning = false;          // the prompt ends with <think> (PromptOpensReasoning)
  std::vector<std::string> tool_names = {};  // a call of another name is content; empty: any name
  std::string id_prefix = {};  // ids of calls are made from it and the index: the same text, the same ids
};

// Not thread-safe; one per continuation. Time and memory are linear in the text.
class OutputParser {
 public:
  explicit OutputParser(OutputParserOptions options);
  ~OutputParser();
  OutputParser(OutputParser&&) noexcept;
  OutputParser& operator=(OutputParser&&) noexcept;

  // Takes the next piece of the text and appends what is decided now to `out`. Pieces of whole characters
  // come out as whole characters.
  void Push(std::string_view text, ParsedDelta* out);
  // The text has ended: appends what was withheld. Call once; nothing may be pushed afterwards.
  void Flush(ParsedDelta* out);
  // Calls that have come out so far.
  int n_calls() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The format a chat template teaches; kNone when it knows none of these.
ToolFormat DetectToolFormat(std::string_view chat_template_source);
// Whether a chat template knows <think>..</think>.
bool DetectReasoning(std::string_view chat_template_source);
// Whether a rendered prompt ends inside an opened <think>.
bool PromptOpensReasoning(std::string_view rendered_prompt);

// A grammar (docs/grammars.md) that forces the output to be a call of one of the tools, or of `forced_name`
// ("": any); with `parallel` one or more. tools_json: OpenAI's array [{"type": "function", "function":
// {"name", "parameters"}}, ..]. markers_are_tokens: the vocabulary has <tool_call> and </tool_call>, or
// [TOOL_CALLS], as added tokens; else they are spelled out. None for kNone. Errors: kInvalidArgument for
// tools that are not such an array, or when forced_name is not among them.
Expected<std::optional<OutputFormat>> ToolGrammar(ToolFormat format, const std::string& tools_json,
                                                  const std::string& forced_name, bool parallel,
                                                  bool markers_are_tokens = true);

// The marker that opens calls: "<tool_call>", "<|python_tag|>", "[TOOL_CALLS]"; "" for kNone. Where it is a
// control token, SamplingParams::skip_special_tokens would drop it from the text: the caller must ask for
// special tokens.
std::string_view ToolMarker(ToolFormat format);

}  // namespace lathe
