#include "text/unigram.h"

#include <algorithm>
#include <limits>

#include "text/utf8.h"

namespace lathe::text {
namespace {

constexpr size_t kMaxPieceBytes = 1024;
constexpr double kUnknownPenalty = 10.0;
constexpr double kUnreached = -std::numeric_limits<double>::infinity();

}  // namespace

Expected<Unigram> Unigram::Create(const TokenizerSpec& spec, const Vocab& vocab) {
  Unigram model;
  model.spec_ = &spec;
  model.vocab_ = &vocab;
  model.single_precision_ =
      std::any_of(spec.normalizer.begin(), spec.normalizer.end(),
                  [](const PipelineOp& op) { return op.type == OpType::kSentencePiece; });
  double min_score = std::numeric_limits<double>::infinity();
  model.max_score_ = kUnreached;
  for (int32_t id = 0; id < vocab.size(); ++id) {
    // A control token's spelling is text; an unused piece is never produced.
    if (!vocab.Has(id, kTokenModel) || vocab.Has(id, kTokenSpecial) || vocab.Has(id, kTokenUnused)) continue;
    if (vocab.raw(id).size() > kMaxPieceBytes)
      return Error(StatusCode::kUnsupported,
                   "tokenizer: unigram piece %d has %zu bytes, at most %zu are supported", id,
                   vocab.raw(id).size(), kMaxPieceBytes);
    const double score = spec.scores[static_cast<size_t>(id)];
    min_score = std::min(min_score, score);
    model.max_score_ = std::max(model.max_score_, score);
    model.trie_.Insert(vocab.raw(id), id);
  }
  if (model.trie_.empty()) return Error(StatusCode::kCorrupt, "tokenizer: the unigram model has no pieces");
  model.unknown_score_ = min_score - kUnknownPenalty;
  return model;
}

void Unigram::Encode(std::string_view text, std::vector<int32_t>* ids) const {
  const size_t n = text.size();
  std::vector<double> score(n + 1, kUnreached);
  std::vector<size_t> starts(n + 1, 0);  // where the best piece that ends here starts
  std::vector<int32_t> best(n + 1, -1);  // its id, -1 unknown
  score[0] = 0;
  const auto offer = [&](size_t from, size_t to, double gain, int32_t id) {
    const double sum = score[from] + gain;
    const double candidate = single_precision_ ? static_cast<float>(sum) : sum;
    if (candidate > score[to]) {
      score[to] = candidate;
      starts[to] = from;
      best[to] = id;
    }
  };
  for (size_t pos = 0; pos < n;) {
    const size_t char_length = Utf8Length(text[pos]);
    bool char_known = false;
    int32_t node = trie_.First(text[pos]);
    for (size_t length = 1; node != Trie::kNone; ++length) {
      const int32_t id = trie_.Value(node);
      if (id != Trie::kNone) {
        // User-defined symbols always win over what they are made of.
        const double gain = vocab_->Has(id, kTokenUserDefined)
                                ? static_cast<double>(length) * max_score_ - 0.1
                                : static_cast<double>(spec_->scores[static_cast<size_t>(id)]);
        offer(pos, pos + length, gain, id);
        char_known = char_known || length == char_length;
      }
      if (pos + length >= n) break;
      node = trie_.Next(node, text[pos + length]);
    }
    if (!char_known) offer(pos, pos + char_length, unknown_score_, -1);
    pos += char_length;
  }
  Output(text, starts, best, ids);
}

void Unigram::Output(std::string_view text, const std::vector<size_t>& starts,
                     const std::vector<int32_t>& best, std::vector<int32_t>* ids) const {
  std::vector<size_t> ends;
  for (size_t end = text.size(); end > 0; end = starts[end]) ends.push_back(end);
  std::reverse(ends.begin(), ends.end());
  bool after_unknown = false;
  for (const size_t end : ends) {
    const int32_t id = best[end];
    if (id >= 0) {
      ids->push_back(id);
    } else {
      const std::string_view piece = text.substr(starts[end], end - starts[end]);
      const bool bytes = spec_->byte_fallback && std::all_of(piece.begin(), piece.end(), [&](char b) {
                           return vocab_->byte_piece(static_cast<uint8_t>(b)) >= 0;
                         });
      if (bytes) {
        for (const char b : piece) ids->push_back(vocab_->byte_piece(static_cast<uint8_t>(b)));
      } else if (spec_->unk_id >= 0 && !(after_unknown && spec_->fuse_unk)) {
        ids->push_back(spec_->unk_id);
      }
    }
    after_unknown = id < 0;
  }
}

}  // namespace lathe::text
