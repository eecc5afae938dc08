// tokenizer.json of the Hugging Face tokenizers library.
#include <algorithm>
#include <cmath>

#include "text/loaders.h"
#include "text/tokenizer_json_parse.h"

namespace lathe::text {
namespace {

const Json& Section(const Json& json, const char* key) {
  static const Json kNull;
  const auto it = json.find(key);
  return it == json.end() ? kNull : *it;
}

Status ReadModelOptions(const Json& model, std::string_view where, TokenizerSpec* spec) {
  const bool pairs = spec->model == ModelKind::kMergePairs;
  LATHE_ASSIGN_OR_RETURN(spec->byte_fallback, JsonBoolOr(model, "byte_fallback", false, where));
  // Unigram joins neighbouring unknowns without being asked.
  LATHE_ASSIGN_OR_RETURN(spec->fuse_unk, JsonBoolOr(model, "fuse_unk", !pairs, where));
  LATHE_ASSIGN_OR_RETURN(spec->ignore_merges, JsonBoolOr(model, "ignore_merges", false, where));
  LATHE_ASSIGN_OR_RETURN(spec->subword_prefix, JsonStringOr(model, "continuing_subword_prefix", "", where));
  LATHE_ASSIGN_OR_RETURN(spec->word_suffix, JsonStringOr(model, "end_of_word_suffix", "", where));
  return Status::Ok();
}

Status ReadVocabulary(const ParsedTokenizerJson& parsed, bool unigram, std::string_view where,
                      VocabBuilder* builder) {
  for (size_t i = 0; i < parsed.names.size(); ++i) {
    const double score = unigram ? parsed.scores[i] : 0;
    if (!std::isfinite(score) || std::abs(score) > 1e30)
      return Error(StatusCode::kCorrupt, "%.*s: the score of piece %zu is not a usable number",
                   static_cast<int>(where.size()), where.data(), i);
    LATHE_RETURN_IF_ERROR(builder->Add(unigram ? static_cast<int64_t>(i) : parsed.ids[i], parsed.names[i],
                                       kTokenModel, static_cast<float>(score)));
  }
  return Status::Ok();
}

Status ReadUnknown(const Json& model, bool unigram, std::string_view where, const VocabBuilder& builder,
                   TokenizerSpec* spec) {
  if (unigram) {
    LATHE_ASSIGN_OR_RETURN(const int64_t id, JsonIntOr(model, "unk_id", -1, where));
    if (!builder.NameAt(id).empty()) spec->unk_id = static_cast<int32_t>(id);
    return Status::Ok();
  }
  LATHE_ASSIGN_OR_RETURN(const std::string name, JsonStringOr(model, "unk_token", "", where));
  if (!name.empty()) spec->unk_id = builder.Find(name);
  return Status::Ok();
}

Status ReadAddedTokens(const Json& json, std::string_view where, VocabBuilder* builder) {
  if (json.is_null()) return Status::Ok();
  if (!json.is_array())
    return Error(StatusCode::kCorrupt, "%.*s: 'added_tokens' must be a list", static_cast<int>(where.size()),
                 where.data());
  for (const Json& item : json) {
    AddedToken token;
    LATHE_ASSIGN_OR_RETURN(token.content, JsonString(item, "content", where));
    LATHE_ASSIGN_OR_RETURN(const int64_t id, JsonInt(item, "id", where));
    if (id < 0 || id >= static_cast<int64_t>(kMaxVocab))
      return Error(StatusCode::kCorrupt, "%.*s: added token '%.60s' has id %lld",
                   static_cast<int>(where.size()), where.data(), token.content.c_str(),
                   static_cast<long long>(id));
    token.id = static_cast<int32_t>(id);
    LATHE_ASSIGN_OR_RETURN(token.special, JsonBoolOr(item, "special", false, where));
    LATHE_ASSIGN_OR_RETURN(token.lstrip, JsonBoolOr(item, "lstrip", false, where));
    LATHE_ASSIGN_OR_RETURN(token.rstrip, JsonBoolOr(item, "rstrip", false, where));
    LATHE_ASSIGN_OR_RETURN(token.single_word, JsonBoolOr(item, "single_word", false, where));
    LATHE_ASSIGN_OR_RETURN(token.normalized, JsonBoolOr(item, "normalized", !token.special, where));
    LATHE_RETURN_IF_ERROR(builder->AddAdded(std::move(token)));
  }
  return Status::Ok();
}

// TemplateProcessing's "single": ids before and after the text.
Status ReadTemplate(const Json& json, std::string_view where, const VocabBuilder& builder,
                    TokenizerSpec* spec) {
  const Json& single = Section(json, "single");
  const Json& specials = Section(json, "special_tokens");
  if (!single.is_array() || !specials.is_object())
    return Error(StatusCode::kCorrupt, "%.*s: TemplateProcessing needs 'single' and 'special_tokens'",
                 static_cast<int>(where.size()), where.data());
  bool before = true;
  for (const Json& piece : single) {
    if (piece.is_object() && piece.contains("Sequence")) {
      before = false;
      continue;
    }
    if (!piece.is_object() || !piece.contains("SpecialToken"))
      return Error(StatusCode::kCorrupt,
                   "%.*s: TemplateProcessing piece that is neither SpecialToken nor Sequence",
                   static_cast<int>(where.size()), where.data());
    LATHE_ASSIGN_OR_RETURN(const std::string name, JsonString(piece["SpecialToken"], "id", where));
    const Json& ids = specials.contains(name) ? Section(specials[name], "ids") : Section(specials, "");
    if (!ids.is_array())
      return Error(StatusCode::kCorrupt, "%.*s: TemplateProcessing uses '%.60s' without its ids",
                   static_cast<int>(where.size()), where.data(), name.c_str());
    for (const Json& id : ids) {
      if (!id.is_number_integer() || builder.NameAt(id.get<int64_t>()).empty())
        return Error(StatusCode::kCorrupt, "%.*s: TemplateProcessing uses an id outside the vocabulary",
                     static_cast<int>(where.size()), where.data());
      (before ? spec->prefix_ids : spec->suffix_ids).push_back(id.get<int32_t>());
    }
  }
  return Status::Ok();
}

// BertProcessing and RobertaProcessing: "cls" before, "sep" after, each [token, id].
Status ReadClsSep(const Json& json, std::string_view where, const VocabBuilder& builder,
                  TokenizerSpec* spec) {
  for (const auto& [key, ids] : {std::pair("cls", &spec->prefix_ids), std::pair("sep", &spec->suffix_ids)}) {
    const Json& pair = Section(json, key);
    if (!pair.is_array() || pair.size() != 2 || !pair[1].is_number_integer() ||
        builder.NameAt(pair[1].get<int64_t>()).empty())
      return Error(StatusCode::kCorrupt, "%.*s: post-processor '%s' must be [token, id]",
                   static_cast<int>(where.size()), where.data(), key);
    ids->push_back(pair[1].get<int32_t>());
  }
  return Status::Ok();
}

Status ReadPostProcessor(const Json& json, std::string_view where, int depth, const VocabBuilder& builder,
                         TokenizerSpec* spec) {
  if (json.is_null()) return Status::Ok();
  LATHE_ASSIGN_OR_RETURN(const std::string type, JsonString(json, "type", where));
  if (type == "ByteLevel") return Status::Ok();  // moves offsets only
  if (type == "TemplateProcessing") return ReadTemplate(json, where, builder, spec);
  if (type == "BertProcessing" || type == "RobertaProcessing") return ReadClsSep(json, where, builder, spec);
  const Json& list = Section(json, "processors");
  if (type != "Sequence" || !list.is_array() || depth >= kMaxNesting)
    return Unsupported("post_processor", type, where);
  for (const Json& item : list)
    LATHE_RETURN_IF_ERROR(ReadPostProcessor(item, where, depth + 1, builder, spec));
  return Status::Ok();
}

// Where the space between the two parts of "a b" is. With more spaces than one some belong to the tokens
// (files in which the no-break spaces of a vocabulary were made plain): then the one way that gives tokens
// counts. npos when there is none, or more than one.
size_t SplitOfMergeLine(std::string_view line, const VocabBuilder& builder) {
  const size_t first = line.find(' ');
  if (first == line.rfind(' ')) return first;
  size_t found = std::string_view::npos;
  for (size_t at = first; at != std::string_view::npos; at = line.find(' ', at + 1)) {
    const std::string_view left = line.substr(0, at);
    const std::string_view right = line.substr(at + 1);
    if (builder.Find(left) < 0 || builder.Find(right) < 0 ||
        builder.Find(std::string(left).append(right)) < 0)
      continue;
    if (found != std::string_view::npos) return std::string_view::npos;
    found = at;
  }
  return found;
}

// What the file itself does not say and its config does not either: a lone token in front is BOS.
void GuessBosEos(TokenizerSpec* spec) {
  if (spec->bos_id < 0 && spec->prefix_ids.size() == 1) spec->bos_id = spec->prefix_ids[0];
  if (spec->eos_id < 0 && spec->suffix_ids.size() == 1) spec->eos_id = spec->suffix_ids[0];
}

}  // namespace

Status ResolveMerges(const TokenArena& lines, const TokenArena& parts, const VocabBuilder& builder,
                     std::string_view where, TokenizerSpec* spec) {
  spec->merges.reserve(lines.size() + parts.size() / 2);
  std::string joined;
  const auto add = [&](std::string_view left, std::string_view right) -> Status {
    joined = left;
    // A right part that carries the continuation prefix loses it inside a longer token.
    joined += right.starts_with(spec->subword_prefix) ? right.substr(spec->subword_prefix.size()) : right;
    const MergeRule rule{builder.Find(left), builder.Find(right), builder.Find(joined)};
    if (rule.left < 0 || rule.right < 0 || rule.result < 0)
      return Error(StatusCode::kCorrupt,
                   "%.*s: merge %zu ('%.40s' + '%.40s') has a part or result that is no token",
                   static_cast<int>(where.size()), where.data(), spec->merges.size(),
                   std::string(left).c_str(), std::string(right).c_str());
    spec->merges.push_back(rule);
    return Status::Ok();
  };
  for (size_t i = 0; i < lines.size(); ++i) {
    const size_t split = SplitOfMergeLine(lines[i], builder);
    if (split == std::string_view::npos)
      return Error(StatusCode::kCorrupt, "%.*s: merge %zu '%.60s' is not two tokens with a space between",
                   static_cast<int>(where.size()), where.data(), i, std::string(lines[i]).c_str());
    LATHE_RETURN_IF_ERROR(add(lines[i].substr(0, split), lines[i].substr(split + 1)));
  }
  for (size_t i = 0; i + 1 < parts.size(); i += 2) LATHE_RETURN_IF_ERROR(add(parts[i], parts[i + 1]));
  return Status::Ok();
}

Expected<TokenizerSpec> SpecFromJson(std::string_view json, std::string_view where,
                                     const TokenizerConfig& config) {
  LATHE_ASSIGN_OR_RETURN(const ParsedTokenizerJson parsed, ParseTokenizerJson(json, where));
  const Json& model = Section(parsed.rest, "model");
  if (!model.is_object())
    return Error(StatusCode::kCorrupt, "%.*s: no 'model' object", static_cast<int>(where.size()),
                 where.data());
  LATHE_ASSIGN_OR_RETURN(const std::string type,
                         JsonStringOr(model, "type", parsed.scores.empty() ? "BPE" : "Unigram", where));
  const bool unigram = type == "Unigram";
  if (!unigram && type != "BPE") return Unsupported("model", type, where);
  if (unigram != parsed.ids.empty() || parsed.names.size() == 0)
    return Error(StatusCode::kCorrupt, "%.*s: model '%s' with %s", static_cast<int>(where.size()),
                 where.data(), type.c_str(),
                 parsed.names.size() == 0 ? "no vocabulary" : "a vocabulary of another kind");

  TokenizerSpec spec;
  spec.model = unigram ? ModelKind::kUnigram : ModelKind::kMergePairs;
  LATHE_RETURN_IF_ERROR(ReadModelOptions(model, where, &spec));
  LATHE_RETURN_IF_ERROR(ParseNormalizer(Section(parsed.rest, "normalizer"), where, &spec.normalizer));
  LATHE_RETURN_IF_ERROR(ParsePreTokenizer(Section(parsed.rest, "pre_tokenizer"), where, &spec.pre_tokenizer));
  LATHE_RETURN_IF_ERROR(ParseDecoder(Section(parsed.rest, "decoder"), where, &spec.decoder));
  const bool byte_level = std::any_of(spec.pre_tokenizer.begin(), spec.pre_tokenizer.end(),
                                      [](const PipelineOp& op) { return op.type == OpType::kByteLevel; });
  if (byte_level && unigram) return Unsupported("pre_tokenizer", "ByteLevel with a Unigram model", where);
  spec.form = byte_level ? VocabForm::kBytes : VocabForm::kText;

  VocabBuilder builder(where, parsed.names.size());
  LATHE_RETURN_IF_ERROR(ReadVocabulary(parsed, unigram, where, &builder));
  LATHE_RETURN_IF_ERROR(ResolveMerges(parsed.merge_lines, parsed.merge_parts, builder, where, &spec));
  LATHE_RETURN_IF_ERROR(ReadAddedTokens(Section(parsed.rest, "added_tokens"), where, &builder));
  LATHE_RETURN_IF_ERROR(ReadUnknown(model, unigram, where, builder, &spec));
  LATHE_RETURN_IF_ERROR(ReadPostProcessor(Section(parsed.rest, "post_processor"), where, 0, builder, &spec));
  LATHE_RETURN_IF_ERROR(ApplyConfig(config, &builder, &spec));
  GuessBosEos(&spec);
  SetBosEos(config.add_bos_token, config.add_eos_token, &spec);
  builder.Finish(&spec);
  return spec;
}

}  // namespace lathe::text
