// The sections of tokenizer.json that describe how text is cut up and put together.
#include <functional>
#include <iterator>

#include "base/json.h"
#include "text/base64.h"
#include "text/loaders.h"

namespace lathe::text {

const std::string_view kGpt2Split =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
const std::string_view kQwen2Split =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const std::string_view kLlama3Split =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

namespace {

using Ops = std::vector<PipelineOp>;
using ParseOne =
    std::function<Status(const std::string& type, const Json& json, std::string_view where, Ops* ops)>;

// Calls `one` for the component, or in order for those of a Sequence, whose list is under `list_key`.
Status ParseComponents(const Json& json, const char* list_key, std::string_view where, int depth,
                       const ParseOne& one, Ops* ops) {
  if (json.is_null()) return Status::Ok();
  LATHE_ASSIGN_OR_RETURN(const std::string type, JsonString(json, "type", where));
  if (type != "Sequence") return one(type, json, where, ops);
  if (depth >= kMaxNesting)
    return Error(StatusCode::kUnsupported, "%.*s: sequences nested deeper than %d levels",
                 static_cast<int>(where.size()), where.data(), kMaxNesting);
  const auto list = json.find(list_key);
  if (list == json.end() || !list->is_array())
    return Error(StatusCode::kCorrupt, "%.*s: a Sequence without its list '%s'",
                 static_cast<int>(where.size()), where.data(), list_key);
  for (const Json& item : *list)
    LATHE_RETURN_IF_ERROR(ParseComponents(item, list_key, where, depth + 1, one, ops));
  return Status::Ok();
}

// A pattern is {"String": s} or {"Regex": s}.
Status ReadPattern(const Json& json, std::string_view where, PipelineOp* op) {
  const auto pattern = json.find("pattern");
  if (pattern != json.end() && pattern->is_object() && pattern->size() == 1) {
    const bool literal = pattern->begin().key() == "String";
    if ((literal || pattern->begin().key() == "Regex") && pattern->begin()->is_string()) {
      op->a = pattern->begin()->get<std::string>();
      op->flags |= literal ? kLiteral : 0;
      return Status::Ok();
    }
  }
  return Error(StatusCode::kCorrupt, R"(%.*s: 'pattern' must be {"String": ...} or {"Regex": ...})",
               static_cast<int>(where.size()), where.data());
}

template <size_t N>
Expected<uint8_t> ReadEnum(const Json& json, const char* key, const char* fallback,
                           const char* const (&names)[N], std::string_view where) {
  LATHE_ASSIGN_OR_RETURN(const std::string name, JsonStringOr(json, key, fallback, where));
  for (size_t i = 0; i < N; ++i)
    if (name == names[i]) return static_cast<uint8_t>(i);
  return Unsupported(key, name, where);
}

// In the order of SplitBehavior and PrependScheme.
constexpr const char* kBehaviors[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext",
                                      "Contiguous"};
constexpr const char* kSchemes[] = {"always", "first", "never"};

Status NormalizerStep(const std::string& type, const Json& json, std::string_view where, Ops* ops) {
  static constexpr std::pair<const char*, OpType> kPlain[] = {{"NFC", OpType::kNfc},
                                                              {"NFD", OpType::kNfd},
                                                              {"NFKC", OpType::kNfkc},
                                                              {"NFKD", OpType::kNfkd},
                                                              {"Lowercase", OpType::kLowercase},
                                                              {"StripAccents", OpType::kStripAccents}};
  for (const auto& [name, op] : kPlain) {
    if (type != name) continue;
    ops->push_back({.type = op});
    return Status::Ok();
  }
  PipelineOp op;
  if (type == "Strip") {
    op.type = OpType::kStrip;
    LATHE_ASSIGN_OR_RETURN(const bool left, JsonBoolOr(json, "strip_left", true, where));
    LATHE_ASSIGN_OR_RETURN(const bool right, JsonBoolOr(json, "strip_right", true, where));
    op.flags = (left ? kStripLeft : 0) | (right ? kStripRight : 0);
  } else if (type == "Prepend") {
    op.type = OpType::kPrepend;
    LATHE_ASSIGN_OR_RETURN(op.a, JsonString(json, "prepend", where));
  } else if (type == "Replace") {
    op.type = OpType::kReplace;
    LATHE_RETURN_IF_ERROR(ReadPattern(json, where, &op));
    LATHE_ASSIGN_OR_RETURN(op.b, JsonString(json, "content", where));
  } else if (type == "Precompiled") {
    op.type = OpType::kCharsMap;
    LATHE_ASSIGN_OR_RETURN(const std::string encoded, JsonStringOr(json, "precompiled_charsmap", "", where));
    if (encoded.empty()) return Status::Ok();
    if (!DecodeBase64(encoded, &op.a))
      return Error(StatusCode::kCorrupt, "%.*s: precompiled_charsmap is not base64",
                   static_cast<int>(where.size()), where.data());
  } else {
    return Unsupported("normalizer", type, where);
  }
  ops->push_back(std::move(op));
  return Status::Ok();
}

PipelineOp Split(std::string_view pattern, SplitBehavior behavior, uint32_t flags = 0) {
  PipelineOp op;
  op.type = OpType::kSplit;
  op.mode = static_cast<uint8_t>(behavior);
  op.flags = flags;
  op.a = pattern;
  return op;
}

Status SplitStep(const Json& json, std::string_view where, Ops* ops) {
  PipelineOp op = Split("", SplitBehavior::kIsolated);
  LATHE_RETURN_IF_ERROR(ReadPattern(json, where, &op));
  LATHE_ASSIGN_OR_RETURN(op.mode, ReadEnum(json, "behavior", "Isolated", kBehaviors, where));
  LATHE_ASSIGN_OR_RETURN(const bool invert, JsonBoolOr(json, "invert", false, where));
  op.flags |= invert ? kInvert : 0;
  ops->push_back(std::move(op));
  return Status::Ok();
}

// `prepend_scheme`, or the boolean that older files have in its place.
Expected<uint8_t> ReadScheme(const Json& json, std::string_view where) {
  LATHE_ASSIGN_OR_RETURN(const bool prefix, JsonBoolOr(json, "add_prefix_space", true, where));
  return ReadEnum(json, "prepend_scheme", prefix ? "always" : "never", kSchemes, where);
}

Status MetaspaceStep(const Json& json, std::string_view where, Ops* ops) {
  PipelineOp op;
  op.type = OpType::kMetaspace;
  LATHE_ASSIGN_OR_RETURN(op.a, JsonStringOr(json, "replacement", "\xE2\x96\x81", where));
  LATHE_ASSIGN_OR_RETURN(op.mode, ReadScheme(json, where));
  LATHE_ASSIGN_OR_RETURN(const bool split, JsonBoolOr(json, "split", true, where));
  ops->push_back(op);
  if (split) ops->push_back(Split(op.a, SplitBehavior::kMergedWithNext, kLiteral));
  return Status::Ok();
}

Status PreTokenizerStep(const std::string& type, const Json& json, std::string_view where, Ops* ops) {
  // ASCII symbols count as punctuation whatever their category.
  constexpr std::string_view kPunctuation = R"([\p{P}$+<=>^`|~])";
  constexpr std::string_view kWhitespace = R"(\s)";
  // This component's \w is that of UTS #18, unlike the one in patterns: Alphabetic with its symbols, marks,
  // decimal digits, connectors and joiners.
  constexpr std::string_view kWord =
      R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{200C}\x{200D}\x{24B6}-\x{24E9}\x{1F130}-\x{1F149}\x{1F150}-\x{1F169}\x{1F170}-\x{1F189})";
  if (type == "Split") return SplitStep(json, where, ops);
  if (type == "Metaspace") return MetaspaceStep(json, where, ops);
  if (type == "ByteLevel") {
    LATHE_ASSIGN_OR_RETURN(const bool prefix, JsonBoolOr(json, "add_prefix_space", true, where));
    LATHE_ASSIGN_OR_RETURN(const bool use_regex, JsonBoolOr(json, "use_regex", true, where));
    Ops steps = ByteLevelSteps(use_regex ? kGpt2Split : "", prefix);
    ops->insert(ops->end(), std::make_move_iterator(steps.begin()), std::make_move_iterator(steps.end()));
  } else if (type == "Digits") {
    LATHE_ASSIGN_OR_RETURN(const bool individual, JsonBoolOr(json, "individual_digits", false, where));
    ops->push_back(Split(R"(\p{N})", individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous));
  } else if (type == "Punctuation") {
    LATHE_ASSIGN_OR_RETURN(const uint8_t mode, ReadEnum(json, "behavior", "Isolated", kBehaviors, where));
    ops->push_back(Split(kPunctuation, static_cast<SplitBehavior>(mode)));
  } else if (type == "Whitespace") {
    ops->push_back(
        Split(StrFormat("[%s]+|[^%s\\s]+", kWord.data(), kWord.data()), SplitBehavior::kRemoved, kInvert));
  } else if (type == "WhitespaceSplit") {
    ops->push_back(Split(kWhitespace, SplitBehavior::kRemoved));
  } else if (type == "BertPreTokenizer") {
    ops->push_back(Split(kWhitespace, SplitBehavior::kRemoved));
    ops->push_back(Split(kPunctuation, SplitBehavior::kIsolated));
  } else if (type == "CharDelimiterSplit") {
    LATHE_ASSIGN_OR_RETURN(const std::string delimiter, JsonString(json, "delimiter", where));
    ops->push_back(Split(delimiter, SplitBehavior::kRemoved, kLiteral));
  } else {
    return Unsupported("pre_tokenizer", type, where);
  }
  return Status::Ok();
}

Status DecoderStep(const std::string& type, const Json& json, std::string_view where, Ops* ops) {
  PipelineOp op;
  if (type == "ByteLevel") {
    op.type = OpType::kDecodeByteLevel;
  } else if (type == "ByteFallback") {
    op.type = OpType::kDecodeByteFallback;
  } else if (type == "Fuse") {
    op.type = OpType::kDecodeFuse;
  } else if (type == "Replace") {
    op.type = OpType::kDecodeReplace;
    LATHE_RETURN_IF_ERROR(ReadPattern(json, where, &op));
    if ((op.flags & kLiteral) == 0) return Unsupported("decoder", "Replace by regular expression", where);
    op.flags = 0;
    LATHE_ASSIGN_OR_RETURN(op.b, JsonString(json, "content", where));
  } else if (type == "Strip") {
    op.type = OpType::kDecodeStrip;
    LATHE_ASSIGN_OR_RETURN(op.a, JsonString(json, "content", where));
    LATHE_ASSIGN_OR_RETURN(const int64_t start, JsonIntOr(json, "start", 0, where));
    LATHE_ASSIGN_OR_RETURN(const int64_t stop, JsonIntOr(json, "stop", 0, where));
    if (start < 0 || stop < 0 || start > UINT16_MAX || stop > UINT16_MAX)
      return Unsupported("decoder", "Strip of more than 65535 characters", where);
    op.n0 = static_cast<uint32_t>(start);
    op.n1 = static_cast<uint32_t>(stop);
  } else if (type == "Metaspace") {
    op.type = OpType::kDecodeMetaspace;
    LATHE_ASSIGN_OR_RETURN(op.a, JsonStringOr(json, "replacement", "\xE2\x96\x81", where));
    LATHE_ASSIGN_OR_RETURN(op.mode, ReadScheme(json, where));
  } else {
    return Unsupported("decoder", type, where);
  }
  ops->push_back(std::move(op));
  return Status::Ok();
}

}  // namespace

std::vector<PipelineOp> ByteLevelSteps(std::string_view split, bool add_prefix_space) {
  std::vector<PipelineOp> ops;
  if (add_prefix_space) ops.push_back({.type = OpType::kPrefixSpace});
  if (!split.empty()) ops.push_back(Split(split, SplitBehavior::kIsolated));
  ops.push_back({.type = OpType::kByteLevel});
  return ops;
}

Status Unsupported(const char* what, const std::string& type, std::string_view where) {
  return Error(StatusCode::kUnsupported, "%.*s: %s '%s' is not supported", static_cast<int>(where.size()),
               where.data(), what, type.c_str());
}

Status ParseNormalizer(const Json& json, std::string_view where, std::vector<PipelineOp>* ops) {
  return ParseComponents(json, "normalizers", where, 0, NormalizerStep, ops);
}

Status ParsePreTokenizer(const Json& json, std::string_view where, std::vector<PipelineOp>* ops) {
  return ParseComponents(json, "pretokenizers", where, 0, PreTokenizerStep, ops);
}

Status ParseDecoder(const Json& json, std::string_view where, std::vector<PipelineOp>* ops) {
  return ParseComponents(json, "decoders", where, 0, DecoderStep, ops);
}

}  // namespace lathe::text
