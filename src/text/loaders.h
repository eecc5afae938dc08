// From the files that tokenizers come in to a TokenizerSpec. Tokenizer's static functions call these.
#pragma once

#include <string_view>

#include "base/json.h"
#include "base/status.h"
#include "text/tokenizer_config.h"
#include "text/tokenizer_spec.h"

namespace lathe::text {

Expected<TokenizerSpec> SpecFromJson(std::string_view json, std::string_view where,
                                     const TokenizerConfig& config);
Expected<TokenizerSpec> SpecFromSentencePiece(std::string_view bytes, std::string_view where,
                                              const TokenizerConfig& config);
Expected<TokenizerSpec> SpecFromTiktoken(std::string_view bytes, std::string_view where,
                                         const TokenizerConfig& config);
Expected<TokenizerSpec> SpecFromVocabMerges(std::string_view vocab_json, std::string_view merges,
                                            std::string_view where, const TokenizerConfig& config);

// Whether `bytes` look like tiktoken ranks ("base64 rank" lines) rather than a SentencePiece model.
bool LooksLikeTiktoken(std::string_view bytes);

// Looks up the parts and results of merges written "a b" (lines) or as pairs (parts). kCorrupt names a merge
// of tokens that are not in the vocabulary.
Status ResolveMerges(const TokenArena& lines, const TokenArena& parts, const VocabBuilder& builder,
                     std::string_view where, TokenizerSpec* spec);

// The pipeline sections of tokenizer.json (normalizer, pre_tokenizer, decoder) as steps; null gives none.
// kUnsupported names a component that lathe does not have.
Status ParseNormalizer(const Json& json, std::string_view where, std::vector<PipelineOp>* ops);
Status ParsePreTokenizer(const Json& json, std::string_view where, std::vector<PipelineOp>* ops);
Status ParseDecoder(const Json& json, std::string_view where, std::vector<PipelineOp>* ops);

// How deep Sequences of components may nest.
inline constexpr int kMaxNesting = 8;

// kUnsupported: "WHERE: WHAT 'TYPE' is not supported".
Status Unsupported(const char* what, const std::string& type, std::string_view where);

// Splits that the vendors' own code has, for formats that carry none.
extern const std::string_view kGpt2Split;
extern const std::string_view kQwen2Split;
extern const std::string_view kLlama3Split;

// Steps of a byte-level pre-tokeniser with an isolating split.
std::vector<PipelineOp> ByteLevelSteps(std::string_view split, bool add_prefix_space);

}  // namespace lathe::text
