// tiktoken ranks (Llama 3's tokenizer.model), and vocab.json with merges.txt (GPT-2, Qwen2).
#include <algorithm>
#include <charconv>

#include "text/base64.h"
#include "text/byte_level.h"
#include "text/loaders.h"
#include "text/tokenizer_json_parse.h"

namespace lathe::text {
namespace {

constexpr int32_t kLlama3Specials = 256;

Status BadLine(const char* what, size_t line, std::string_view where) {
  return Error(StatusCode::kCorrupt, "%.*s: line %zu: %s", static_cast<int>(where.size()), where.data(), line,
               what);
}

// One line, its end taken off `text`.
std::string_view TakeLine(std::string_view* text) {
  const size_t end = text->find('\n');
  std::string_view line = text->substr(0, end);
  text->remove_prefix(end == std::string_view::npos ? text->size() : end + 1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

// "base64 rank". False when the line is anything else.
bool ParseRankLine(std::string_view line, std::string* bytes, int64_t* rank) {
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || space == 0) return false;
  const std::string_view number = line.substr(space + 1);
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), *rank);
  if (error != std::errc() || end != number.data() + number.size() || number.empty()) return false;
  return DecodeBase64(line.substr(0, space), bytes);
}

// Names of Llama 3's control tokens, in order of id.
std::string Llama3SpecialName(int32_t index) {
  switch (index) {
    case 0: return "<|begin_of_text|>";
    case 1: return "<|end_of_text|>";
    case 6: return "<|start_header_id|>";
    case 7: return "<|end_header_id|>";
    case 9: return "<|eot_id|>";
    default: break;
  }
  // The reserved ones are numbered through what is left.
  const int32_t reserved = index < 6 ? index - 2 : index == 8 ? 4 : index - 5;
  return StrFormat("<|reserved_special_token_%d|>", reserved);
}

Status AddLlama3Specials(int32_t first, VocabBuilder* builder) {
  for (int32_t i = 0; i < kLlama3Specials; ++i) {
    if (!builder->NameAt(first + i).empty()) continue;  // a config has named it
    AddedToken token;
    token.content = Llama3SpecialName(i);
    token.id = first + i;
    token.special = true;
    if (builder->Find(token.content) < 0) LATHE_RETURN_IF_ERROR(builder->AddAdded(std::move(token)));
  }
  return Status::Ok();
}

enum class Split { kGpt2, kQwen2 };

Expected<Split> SplitOfClass(const std::string& name, std::string_view where) {
  if (name == "Qwen2Tokenizer" || name == "Qwen2TokenizerFast") return Split::kQwen2;
  for (const char* known :
       {"", "GPT2Tokenizer", "GPT2TokenizerFast", "CodeGenTokenizer", "CodeGenTokenizerFast"})
    if (name == known) return Split::kGpt2;
  return Error(
      StatusCode::kUnsupported,
      "%.*s: tokenizer class '%s' with vocab.json and merges.txt; expected GPT2Tokenizer or Qwen2Tokenizer, "
      "or a tokenizer.json",
      static_cast<int>(where.size()), where.data(), name.c_str());
}

// Both families end texts with this token, listed in the vocabulary (GPT-2) or the config (Qwen2).
Status AddEndOfText(VocabBuilder* builder, TokenizerSpec* spec) {
  AddedToken token;
  token.content = "<|endoftext|>";
  token.special = true;
  if (builder->Find(token.content) < 0) return Status::Ok();
  spec->eos_id = builder->Find(token.content);
  return builder->AddAdded(std::move(token));
}

}  // namespace

bool LooksLikeTiktoken(std::string_view bytes) {
  std::string token;
  int64_t rank = 0;
  return ParseRankLine(TakeLine(&bytes), &token, &rank);
}

Expected<TokenizerSpec> SpecFromTiktoken(std::string_view bytes, std::string_view where,
                                         const TokenizerConfig& config) {
  TokenizerSpec spec;
  spec.model = ModelKind::kMergeStrings;
  spec.form = VocabForm::kBytes;
  spec.ignore_merges = true;
  spec.pre_tokenizer = ByteLevelSteps(kLlama3Split, false);
  spec.decoder.push_back({.type = OpType::kDecodeByteLevel});

  VocabBuilder builder(where, static_cast<size_t>(std::count(bytes.begin(), bytes.end(), '\n')));
  std::string token;
  std::string letters;
  int64_t next_id = 0;
  for (size_t line_number = 1; !bytes.empty(); ++line_number) {
    const std::string_view line = TakeLine(&bytes);
    if (line.empty()) continue;
    int64_t rank = 0;
    if (!ParseRankLine(line, &token, &rank)) return BadLine("expected 'base64 rank'", line_number, where);
    letters.clear();
    AppendByteLetters(token, &letters);
    LATHE_RETURN_IF_ERROR(builder.Add(rank, letters, kTokenModel, -static_cast<float>(rank)));
    next_id = std::max(next_id, rank + 1);
  }
  LATHE_RETURN_IF_ERROR(ApplyConfig(config, &builder, &spec));
  LATHE_RETURN_IF_ERROR(AddLlama3Specials(static_cast<int32_t>(next_id), &builder));
  if (spec.bos_id < 0) spec.bos_id = builder.Find("<|begin_of_text|>");
  if (spec.eos_id < 0) spec.eos_id = builder.Find("<|end_of_text|>");
  SetBosEos(config.add_bos_token.value_or(true), config.add_eos_token.value_or(false), &spec);
  builder.Finish(&spec);
  return spec;
}

Expected<TokenizerSpec> SpecFromVocabMerges(std::string_view vocab_json, std::string_view merges,
                                            std::string_view where, const TokenizerConfig& config) {
  LATHE_ASSIGN_OR_RETURN(const Split split, SplitOfClass(config.tokenizer_class, where));
  LATHE_ASSIGN_OR_RETURN(const ParsedTokenizerJson vocab, ParseVocabJson(vocab_json, where));
  TokenizerSpec spec;
  spec.model = ModelKind::kMergePairs;
  spec.form = VocabForm::kBytes;
  if (split == Split::kQwen2) spec.normalizer.push_back({.type = OpType::kNfc});
  spec.pre_tokenizer = ByteLevelSteps(split == Split::kQwen2 ? kQwen2Split : kGpt2Split,
                                      config.add_prefix_space.value_or(false));
  spec.decoder.push_back({.type = OpType::kDecodeByteLevel});

  VocabBuilder builder(where, vocab.names.size());
  for (size_t i = 0; i < vocab.names.size(); ++i)
    LATHE_RETURN_IF_ERROR(builder.Add(vocab.ids[i], vocab.names[i], kTokenModel));
  TokenArena lines;
  while (!merges.empty()) {
    const std::string_view line = TakeLine(&merges);
    if (!line.empty() && !line.starts_with("#version")) lines.Append(line);
  }
  LATHE_RETURN_IF_ERROR(ResolveMerges(lines, {}, builder, where, &spec));
  LATHE_RETURN_IF_ERROR(AddEndOfText(&builder, &spec));
  if (split == Split::kGpt2) spec.bos_id = spec.eos_id;
  LATHE_RETURN_IF_ERROR(ApplyConfig(config, &builder, &spec));
  SetBosEos(config.add_bos_token, config.add_eos_token, &spec);
  builder.Finish(&spec);
  return spec;
}

}  // namespace lathe::text
