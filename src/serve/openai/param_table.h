// The one table of request parameters. The validator, /openapi.json and docs/api-limits.md are made from it,
// so what is documented is what is checked.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace lathe::serve {

// Which bodies have a parameter; bits.
enum Endpoint : unsigned {
  kChat = 1,
  kCompletions = 2,
  kEmbeddings = 4,
  kTokenize = 8,
  kDetokenize = 16,
  kGenerate = 32,
};
inline constexpr Endpoint kEndpoints[] = {kChat,     kCompletions, kEmbeddings,
                                          kTokenize, kDetokenize,  kGenerate};
std::string_view PathOf(Endpoint endpoint);  // "/v1/chat/completions"

enum class ParamType : uint8_t {
  kBool,
  kInt,
  kNumber,
  kString,
  kScalar,           // boolean, number or string
  kStrings,          // array of strings
  kStringOrStrings,  // one or several
  kInts,             // array of integers
  kPrompt,           // string, strings, token ids, or several lists of token ids
  kObject,           // its fields are the rows "name.field"; free-form when there are none
  kObjects,          // array of objects with the fields "name[].field"
  kStringOrObject,
  kStringOrObjects,
  kBiases,  // object of numbers by token id
  kAny,
};

enum class Handling : uint8_t {
  kUsed,
  kIgnored,  // accepted for the sake of clients that send it, without effect
  kRefused,  // known, but not supported: only `neutral` and null are accepted
};

struct ParamSpec {
  std::string name;  // path, with "[]" for the elements of an array
  unsigned endpoints = 0;
  ParamType type = ParamType::kAny;
  // Range of the number, of each number of a list, or of the bytes of each string (max 0: only the body's
  // limit).
  double min = 0, max = 0;
  bool open_min = false;           // min itself is outside
  size_t min_items = 0;            // of arrays
  size_t max_items = 0;            // of arrays and objects; 0: only the body's limit
  std::string_view one_of = {};    // "a|b|c": the strings accepted
  std::string_view fallback = {};  // default, as documentation shows it
  std::string_view meaning = {};   // one line
  bool required = false;
  Handling handling = Handling::kUsed;
  std::string_view neutral = {};  // of kRefused: the JSON value without effect
};

// Bounds that the operator may move.
struct ApiLimits {
  int64_t max_token_id = 2147483647;  // the API sets it from the model
  int max_n = 8;
  int max_prompts = 128;  // in one body
  int max_logprobs = 20;  // at most 20, the engine's
  double max_timeout_seconds = 3600;
  std::vector<std::string>
      template_args;  // more names for chat_template_kwargs; their values must be scalars
};

// Immutable, so any thread may read it.
class ParamTable {
 public:
  explicit ParamTable(const ApiLimits& limits);
  ParamTable(const ParamTable&) = delete;  // the maps point into the rows
  ParamTable& operator=(const ParamTable&) = delete;

  const std::vector<ParamSpec>& rows() const { return rows_; }
  // The row of a path ("tools[].function.name") in bodies of `endpoint`; nullptr when there is none.
  const ParamSpec* Find(Endpoint endpoint, std::string_view path) const;
  // Rows right below a path: fields of "stream_options", of "tools[]"; of the body itself for "".
  const std::vector<const ParamSpec*>& Children(Endpoint endpoint, std::string_view path) const;

 private:
  std::vector<ParamSpec> rows_;
  std::map<std::string, const ParamSpec*, std::less<>> by_path_[6];
  std::map<std::string, std::vector<const ParamSpec*>, std::less<>> children_[6];
};

}  // namespace lathe::serve
