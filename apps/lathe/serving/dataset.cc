#include "serving/dataset.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <string_view>

#include "base/file.h"
#include "base/rng.h"
#include "base/status.h"

namespace lathe::cli {
namespace {

constexpr int kMaxTokens = 1 << 24;
constexpr int kBytesPerToken = 4;

// What vLLM and others leave out of ShareGPT, in tokens.
constexpr int kMinTurn = 4, kMaxPrompt = 1024, kMaxTogether = 2048;

Status ReadIds(const Json& ids, const std::string& where, std::vector<TokenId>* out) {
  const auto is_id = [](const Json& id) {
    return id.is_number_integer() && id.get<int64_t>() >= 0 && id.get<int64_t>() <= INT32_MAX;
  };
  if (!ids.is_array() || !std::all_of(ids.begin(), ids.end(), is_id)) {
    return Error(StatusCode::kInvalidArgument, "%s: \"input_ids\" must be an array of token ids",
                 where.c_str());
  }
  for (const Json& id : ids) out->push_back(id.get<TokenId>());
  return {};
}

Expected<LoadPrompt> ParseLine(std::string_view line, const std::string& where, bool needs_output_tokens) {
  LATHE_ASSIGN_OR_RETURN(const Json json, ParseJson(line, where));
  if (!json.is_object()) {
    return Error(StatusCode::kInvalidArgument, "%s: expected a JSON object", where.c_str());
  }
  LoadPrompt out;
  if (needs_output_tokens || json.contains("output_tokens")) {
    LATHE_ASSIGN_OR_RETURN(const int64_t tokens, JsonInt(json, "output_tokens", where));
    if (tokens < 1 || tokens > kMaxTokens) {
      return Error(StatusCode::kInvalidArgument, "%s: output_tokens must be in [1, %d], but is %lld",
                   where.c_str(), kMaxTokens, static_cast<long long>(tokens));
    }
    out.output_tokens = static_cast<int>(tokens);
  }
  if (json.contains("prompt") + json.contains("input_ids") + json.contains("messages") != 1) {
    return Error(StatusCode::kInvalidArgument,
                 "%s: expected one of \"prompt\", \"input_ids\" and \"messages\"", where.c_str());
  }
  if (json.contains("prompt")) {
    LATHE_ASSIGN_OR_RETURN(out.text, JsonString(json, "prompt", where));
  } else if (json.contains("input_ids")) {
    LATHE_RETURN_IF_ERROR(ReadIds(json.at("input_ids"), where, &out.ids));
  } else {
    out.messages = json.at("messages");
    if (!out.messages.is_array() || out.messages.empty()) {
      return Error(StatusCode::kInvalidArgument, "%s: \"messages\" must be an array of messages",
                   where.c_str());
    }
  }
  return out;
}

// The turns' text; nullptr where a turn is not as the format has it.
const std::string* TurnText(const Json& turns, size_t i) {
  if (i >= turns.size() || !turns[i].is_object() || !turns[i].contains("value")) return nullptr;
  return turns[i]["value"].get_ptr<const std::string*>();
}

// The index of the first turn of a person, or turns.size().
size_t FirstHuman(const Json& turns) {
  for (size_t i = 0; i < turns.size(); ++i) {
    if (!turns[i].is_object() || !turns[i].contains("from")) continue;
    if (turns[i]["from"] == "human" || turns[i]["from"] == "user") return i;
  }
  return turns.size();
}

bool ParseInt(std::string_view text, int* out) {
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && stop == text.data() + text.size() && *out >= 1 && *out <= kMaxTokens;
}

}  // namespace

Expected<std::vector<LoadPrompt>> ReadPromptLines(const std::string& path, bool needs_output_tokens) {
  LATHE_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  std::vector<LoadPrompt> out;
  int line_number = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line(text.data() + at, end - at);
    at = end + 1;
    ++line_number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string where = StrFormat("%s line %d", path.c_str(), line_number);
    LATHE_ASSIGN_OR_RETURN(LoadPrompt prompt, ParseLine(line, where, needs_output_tokens));
    out.push_back(std::move(prompt));
  }
  if (out.empty()) return Error(StatusCode::kInvalidArgument, "%s has no requests", path.c_str());
  return out;
}

Expected<std::vector<LoadPrompt>> ReadShareGpt(const std::string& path) {
  LATHE_ASSIGN_OR_RETURN(const Json json,
                         ReadJsonFile(path, {.max_bytes = size_t{1} << 30, .allow_duplicate_keys = true}));
  if (!json.is_array()) {
    return Error(StatusCode::kInvalidArgument, "%s: expected ShareGPT's list of conversations", path.c_str());
  }
  std::vector<LoadPrompt> out;
  for (const Json& entry : json) {
    if (!entry.is_object() || !entry.contains("conversations") || !entry["conversations"].is_array()) {
      return Error(StatusCode::kInvalidArgument, "%s: entry %zu has no list \"conversations\"", path.c_str(),
                   static_cast<size_t>(&entry - &json[0]));
    }
    const Json& turns = entry["conversations"];
    const size_t human = FirstHuman(turns);
    const std::string* const prompt = TurnText(turns, human);
    const std::string* const answer = TurnText(turns, human + 1);
    if (prompt == nullptr || answer == nullptr) continue;
    const size_t in = prompt->size() / kBytesPerToken, tokens = answer->size() / kBytesPerToken;
    if (in < kMinTurn || tokens < kMinTurn || in > kMaxPrompt || in + tokens > kMaxTogether) continue;
    LoadPrompt& item = out.emplace_back();
    item.text = *prompt;
    item.output_tokens = static_cast<int>(tokens);
  }
  if (out.empty()) {
    return Error(StatusCode::kInvalidArgument, "%s has no conversation of fitting length", path.c_str());
  }
  return out;
}

Expected<DatasetSpec> ParseDatasetSpec(const std::string& text) {
  DatasetSpec spec;
  if (text == "sharegpt") {
    spec.kind = DatasetSpec::Kind::kShareGpt;
    return spec;
  }
  if (text == "prompts") {
    spec.kind = DatasetSpec::Kind::kPrompts;
    return spec;
  }
  if (text == "random") return spec;
  const std::string_view all = text;
  const size_t slash = all.find('/');
  if (all.starts_with("random:") && slash != std::string_view::npos &&
      ParseInt(all.substr(7, slash - 7), &spec.input_tokens) &&
      ParseInt(all.substr(slash + 1), &spec.output_tokens)) {
    return spec;
  }
  return Error(StatusCode::kInvalidArgument,
               "--dataset must be random:IN/OUT (tokens), sharegpt FILE or prompts FILE, but is \"%s\"",
               text.c_str());
}

std::vector<TokenId> RandomPromptIds(uint64_t seed, uint64_t index, int n, int vocab) {
  Rng rng(SplitMix64(seed) ^ SplitMix64(~index));
  std::vector<TokenId> ids(static_cast<size_t>(n));
  for (TokenId& id : ids) id = static_cast<TokenId>(rng.Below(static_cast<uint64_t>(vocab)));
  return ids;
}

std::string RandomPromptText(uint64_t seed, uint64_t index, int n) {
  static constexpr const char* kWords[] = {
      "the",  "and",   "you",   "was",    "for",  "that",  "with", "his",   "her",   "they",  "one",
      "had",  "but",   "not",   "what",   "all",  "were",  "when", "we",    "there", "can",   "an",
      "your", "which", "their", "said",   "if",   "do",    "will", "each",  "about", "how",   "up",
      "out",  "them",  "then",  "she",    "many", "some",  "so",   "these", "would", "other", "into",
      "has",  "more",  "two",   "him",    "see",  "could", "no",   "make",  "than",  "first", "been",
      "its",  "who",   "now",   "people", "my",   "made",  "over", "did",   "down"};
  Rng rng(SplitMix64(seed) ^ SplitMix64(~index));
  std::string text;
  for (int i = 0; i < n; ++i) {
    if (i > 0) text += ' ';
    text += kWords[rng.Below(std::size(kWords))];
  }
  return text;
}

}  // namespace lathe::cli
