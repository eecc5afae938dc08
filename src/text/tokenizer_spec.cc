#include "text/tokenizer_spec.h"

#include <algorithm>
#include <cmath>

#include "text/utf8.h"

namespace lathe::text {
namespace {

Status CheckOps(const std::vector<PipelineOp>& ops, uint8_t first, uint8_t last, uint8_t max_mode,
                const char* what) {
  for (const PipelineOp& op : ops) {
    const auto type = static_cast<uint8_t>(op.type);
    if (type < first || type > last || op.mode > max_mode)
      return Error(StatusCode::kCorrupt, "tokenizer: %s step of unknown type %d, mode %d", what, type,
                   op.mode);
    // A precompiled map is binary, and checked by its own reader.
    const bool binary = op.type == OpType::kCharsMap || op.type == OpType::kSentencePiece;
    if ((!binary && !IsValidUtf8(op.a)) || !IsValidUtf8(op.b))
      return Error(StatusCode::kCorrupt, "tokenizer: a %s step whose text is not UTF-8", what);
  }
  return Status::Ok();
}

Status CheckTokens(const TokenizerSpec& spec) {
  const size_t n = spec.tokens.size();
  if (n == 0) return Error(StatusCode::kCorrupt, "tokenizer: the vocabulary is empty");
  if (n > kMaxVocab)
    return Error(StatusCode::kCorrupt, "tokenizer: ids up to %zu, at most %zu are accepted", n - 1,
                 kMaxVocab);
  if (spec.token_flags.size() != n)
    return Error(StatusCode::kCorrupt, "tokenizer: flags for %zu of %zu tokens", spec.token_flags.size(), n);
  const bool scored = spec.model != ModelKind::kMergePairs;
  if (scored && spec.scores.size() != n)
    return Error(StatusCode::kCorrupt, "tokenizer: scores for %zu of %zu tokens", spec.scores.size(), n);
  for (size_t i = 0; i < n; ++i) {
    if (spec.tokens[i].size() > kMaxTokenBytes)
      return Error(StatusCode::kCorrupt, "tokenizer: token %zu has %zu bytes, at most %zu are accepted", i,
                   spec.tokens[i].size(), kMaxTokenBytes);
    if (spec.form == VocabForm::kText && !IsValidUtf8(spec.tokens[i]))
      return Error(StatusCode::kCorrupt, "tokenizer: token %zu is not UTF-8", i);
    if (scored && !std::isfinite(spec.scores[i]))
      return Error(StatusCode::kCorrupt, "tokenizer: the score of token %zu is not a finite number", i);
  }
  return Status::Ok();
}

Status CheckForm(const TokenizerSpec& spec) {
  const bool byte_level = std::any_of(spec.pre_tokenizer.begin(), spec.pre_tokenizer.end(),
                                      [](const PipelineOp& op) { return op.type == OpType::kByteLevel; });
  if (spec.form == VocabForm::kText && byte_level)
    return Error(StatusCode::kCorrupt, "tokenizer: byte-level pieces for a vocabulary of text");
  if (spec.form == VocabForm::kBytes && spec.model == ModelKind::kUnigram)
    return Error(StatusCode::kCorrupt, "tokenizer: a unigram model over bytes");
  const bool sentence_piece = std::any_of(spec.decoder.begin(), spec.decoder.end(), [](const PipelineOp& op) {
    return op.type == OpType::kDecodeSentencePiece;
  });
  if (spec.form == VocabForm::kBytes && sentence_piece)
    return Error(StatusCode::kCorrupt, "tokenizer: a SentencePiece decoder for a vocabulary of bytes");
  if (!IsValidUtf8(spec.subword_prefix) || !IsValidUtf8(spec.word_suffix))
    return Error(StatusCode::kCorrupt, "tokenizer: a subword prefix or word suffix that is not UTF-8");
  return Status::Ok();
}

}  // namespace

Status ValidateSpec(const TokenizerSpec& spec) {
  LATHE_RETURN_IF_ERROR(CheckTokens(spec));
  LATHE_RETURN_IF_ERROR(CheckForm(spec));
  const auto vocab = static_cast<int32_t>(spec.tokens.size());
  const auto in_range = [&](int32_t id) { return id >= 0 && id < vocab; };
  for (const int32_t id : {spec.unk_id, spec.bos_id, spec.eos_id, spec.pad_id})
    if (id != -1 && !in_range(id))
      return Error(StatusCode::kCorrupt, "tokenizer: special token id %d outside the vocabulary of %d", id,
                   vocab);
  for (const auto* ids : {&spec.prefix_ids, &spec.suffix_ids})
    for (const int32_t id : *ids)
      if (!in_range(id))
        return Error(StatusCode::kCorrupt, "tokenizer: post-processor id %d outside the vocabulary of %d", id,
                     vocab);
  for (size_t i = 0; i < spec.merges.size(); ++i) {
    const MergeRule& m = spec.merges[i];
    if (!in_range(m.left) || !in_range(m.right) || !in_range(m.result))
      return Error(StatusCode::kCorrupt, "tokenizer: merge %zu (%d + %d = %d) outside the vocabulary of %d",
                   i, m.left, m.right, m.result, vocab);
  }
  for (const AddedToken& token : spec.added) {
    if (!in_range(token.id))
      return Error(StatusCode::kCorrupt, "tokenizer: added token id %d outside the vocabulary of %d",
                   token.id, vocab);
    if (token.content.empty() || token.content.size() > kMaxTokenBytes)
      return Error(StatusCode::kCorrupt, "tokenizer: added token %d has %zu bytes, expected 1 to %zu",
                   token.id, token.content.size(), kMaxTokenBytes);
    if (!IsValidUtf8(token.content))
      return Error(StatusCode::kCorrupt, "tokenizer: added token %d is not UTF-8", token.id);
  }
  LATHE_RETURN_IF_ERROR(CheckOps(spec.normalizer, 1, 11, 0, "normaliser"));
  LATHE_RETURN_IF_ERROR(CheckOps(spec.pre_tokenizer, 32, 35, 4, "pre-tokeniser"));
  return CheckOps(spec.decoder, 64, 70, 2, "decoder");
}

}  // namespace lathe::text
