#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "base/check.h"
#include "base/rng.h"
#include "text/utf8.h"

namespace lathe::text {
namespace {

constexpr size_t kMaxPiece = size_t{1} << 30;
// Up to here scanning an array beats a heap.
constexpr size_t kSmall = 40;

bool HasInnerSpaceMark(std::string_view token) {
  size_t at = 0;
  while (token.substr(at).starts_with(kSpaceMark)) at += kSpaceMark.size();
  return token.find(kSpaceMark, at) != std::string_view::npos;
}

// Symbols in a row, no links: repeatedly merge the leftmost of the cheapest pairs.
template <typename Lookup>
void MergeSmall(std::vector<BpeSymbol>* symbols, const Lookup& lookup) {
  Bpe::Merge merges[kSmall];
  BpeSymbol* s = symbols->data();
  size_t n = symbols->size();
  for (size_t i = 0; i + 1 < n; ++i) merges[i] = lookup(s[i], s[i + 1]);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i)
      if (merges[i].rank < merges[best].rank) best = i;
    if (merges[best].rank == Bpe::kNoRank) break;
    s[best].id = merges[best].result;
    s[best].length += s[best + 1].length;
    std::copy(s + best + 2, s + n, s + best + 1);
    std::copy(merges + best + 1, merges + n - 1, merges + best);
    --n;
    if (best > 0) merges[best - 1] = lookup(s[best - 1], s[best]);
    if (best + 1 < n) merges[best] = lookup(s[best], s[best + 1]);
  }
  symbols->resize(n);
}

// std heaps keep the largest in front: the largest is the one to merge first.
bool MergesLater(const BpeCandidate& a, const BpeCandidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
}

template <typename Lookup>
void MergeWithHeap(std::vector<BpeSymbol>* symbols, std::vector<BpeCandidate>* heap, const Lookup& lookup) {
  std::vector<BpeSymbol>& all = *symbols;
  const auto at = [&](int32_t i) -> BpeSymbol& { return all[static_cast<size_t>(i)]; };
  heap->clear();
  const auto candidate = [&](int32_t left, int32_t right) {
    const BpeSymbol& l = at(left);
    const BpeSymbol& r = at(right);
    const Bpe::Merge m = lookup(l, r);
    if (m.rank == Bpe::kNoRank) return false;
    heap->push_back({m.rank, left, right, l.length, r.length, m.result});
    return true;
  };
  const auto n = static_cast<int32_t>(all.size());
  for (int32_t i = 0; i < n; ++i) {
    at(i).prev = i - 1;
    at(i).next = i + 1 < n ? i + 1 : -1;
  }
  for (int32_t i = 0; i + 1 < n; ++i) candidate(i, i + 1);
  std::make_heap(heap->begin(), heap->end(), MergesLater);
  while (!heap->empty()) {
    std::pop_heap(heap->begin(), heap->end(), MergesLater);
    const BpeCandidate top = heap->back();
    heap->pop_back();
    BpeSymbol& l = at(top.left);
    BpeSymbol& r = at(top.right);
    if (l.length != top.left_length || r.length != top.right_length || l.next != top.right) continue;
    l.id = top.result;
    l.length += r.length;
    l.next = r.next;
    r.length = 0;
    if (l.next >= 0) at(l.next).prev = top.left;
    if (l.prev >= 0 && candidate(l.prev, top.left)) std::push_heap(heap->begin(), heap->end(), MergesLater);
    if (l.next >= 0 && candidate(top.left, l.next)) std::push_heap(heap->begin(), heap->end(), MergesLater);
  }
  std::erase_if(all, [](const BpeSymbol& s) { return s.length == 0; });
}

}  // namespace

Expected<Bpe> Bpe::Create(const TokenizerSpec& spec, const Vocab& vocab) {
  Bpe bpe;
  bpe.spec_ = &spec;
  bpe.vocab_ = &vocab;
  const int units = spec.form == VocabForm::kBytes ? 256 : 128;
  bpe.unit_.fill(-1);
  for (int b = 0; b < units; ++b) {
    const char c = static_cast<char>(b);
    bpe.unit_[static_cast<size_t>(b)] = vocab.FindModel({&c, 1});
  }
  for (int32_t id = 0; id < vocab.size(); ++id) {
    if (vocab.Has(id, kTokenUserDefined)) bpe.user_defined_.Insert(vocab.raw(id), id);
    // Only SentencePiece has such tokens; elsewhere the mark (of a hostile file) means nothing.
    if (spec.model != ModelKind::kMergePairs && vocab.Has(id, kTokenUnused)) bpe.has_unused_ = true;
  }
  if (spec.model == ModelKind::kMergePairs) {
    bpe.BuildPairTable();
  } else {
    if (spec.form == VocabForm::kBytes)
      for (int b = 0; b < 256; ++b)
        if (bpe.unit_[static_cast<size_t>(b)] < 0)
          return Error(StatusCode::kCorrupt, "tokenizer: no token for byte 0x%02X; the ranks are incomplete",
                       b);
    bpe.BuildRanks();
  }
  bpe.DetectWordBoundaries();
  return bpe;
}

void Bpe::BuildPairTable() {
  pairs_.assign(std::bit_ceil(2 * spec_->merges.size() + 2), PairSlot{});
  const size_t mask = pairs_.size() - 1;
  for (size_t rank = 0; rank < spec_->merges.size(); ++rank) {
    const MergeRule& m = spec_->merges[rank];
    const uint64_t key = (static_cast<uint64_t>(m.left) << 32) | static_cast<uint32_t>(m.right);
    size_t slot = SplitMix64(key) & mask;
    while (pairs_[slot].left >= 0 && (pairs_[slot].left != m.left || pairs_[slot].right != m.right))
      slot = (slot + 1) & mask;
    pairs_[slot] = {m.left, m.right, static_cast<uint32_t>(rank),
                    m.result};  // of equal pairs the last counts
  }
}

void Bpe::BuildRanks() {
  std::vector<uint32_t> order(spec_->scores.size());
  std::iota(order.begin(), order.end(), 0u);
  const std::vector<float>& scores = spec_->scores;
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return scores[a] > scores[b]; });
  ranks_.resize(order.size());
  for (size_t i = 0; i < order.size(); ++i) {
    const bool tie = i > 0 && scores[order[i]] == scores[order[i - 1]];
    ranks_[order[i]] = tie ? ranks_[order[i - 1]] : static_cast<uint32_t>(i);
  }
}

void Bpe::DetectWordBoundaries() {
  if (spec_->form != VocabForm::kText || !spec_->subword_prefix.empty() || !spec_->word_suffix.empty())
    return;
  if (vocab_->FindModel(kSpaceMark) < 0) return;
  if (spec_->model == ModelKind::kMergePairs) {
    splits_at_space_mark_ = std::none_of(spec_->merges.begin(), spec_->merges.end(), [&](const MergeRule& m) {
      return HasInnerSpaceMark(vocab_->raw(m.result));
    });
    return;
  }
  for (int32_t id = 0; id < vocab_->size(); ++id)
    if (vocab_->Has(id, kTokenModel) && HasInnerSpaceMark(vocab_->raw(id))) return;
  splits_at_space_mark_ = true;
}

Bpe::Merge Bpe::PairMerge(int32_t left, int32_t right) const {
  const uint64_t key = (static_cast<uint64_t>(left) << 32) | static_cast<uint32_t>(right);
  const size_t mask = pairs_.size() - 1;
  for (size_t slot = SplitMix64(key) & mask; pairs_[slot].left >= 0; slot = (slot + 1) & mask)
    if (pairs_[slot].left == left && pairs_[slot].right == right)
      return {pairs_[slot].rank, pairs_[slot].result};
  return {};
}

Bpe::Merge Bpe::StringMerge(std::string_view joined) const {
  if (joined.size() > vocab_->longest()) return {};
  const int32_t id = vocab_->FindModel(joined);
  if (id < 0) return {};
  return {ranks_[static_cast<size_t>(id)], id};
}

void Bpe::Encode(std::string_view piece, BpeScratch* scratch, std::vector<int32_t>* ids) const {
  while (piece.size() > kMaxPiece) {
    size_t cut = kMaxPiece;
    while (IsUtf8Continuation(piece[cut])) --cut;
    Encode(piece.substr(0, cut), scratch, ids);
    piece.remove_prefix(cut);
  }
  if (!splits_at_space_mark_) return EncodeWord(piece, scratch, ids);
  while (!piece.empty()) {
    size_t end = 0;
    while (piece.substr(end).starts_with(kSpaceMark)) end += kSpaceMark.size();
    end = std::min(piece.find(kSpaceMark, end), piece.size());
    EncodeWord(piece.substr(0, end), scratch, ids);
    piece.remove_prefix(end);
  }
}

void Bpe::EncodeWord(std::string_view word, BpeScratch* scratch, std::vector<int32_t>* ids) const {
  if (word.size() <= vocab_->longest()) {
    const int32_t id = vocab_->FindModel(word);
    // A control token's own spelling is text: it is that token only where ordinary merging makes it so.
    if (id >= 0 &&
        (vocab_->Has(id, kTokenWhole) || (spec_->ignore_merges && !vocab_->Has(id, kTokenSpecial)))) {
      ids->push_back(id);
      return;
    }
  }
  EncodeByMerging(word, scratch, ids);
}

void Bpe::EncodeByMerging(std::string_view piece, BpeScratch* scratch, std::vector<int32_t>* ids) const {
  LATHE_CHECK_LE(piece.size(), kMaxPiece);
  std::vector<BpeSymbol>& symbols = scratch->symbols;
  symbols.clear();
  if (spec_->form == VocabForm::kBytes) {
    InitBytes(piece, &symbols);
  } else if (spec_->model == ModelKind::kMergePairs) {
    InitChars(piece, &symbols);
  } else {
    InitPieces(piece, &symbols);
  }
  const auto merge = [&](const auto& lookup) {
    if (symbols.size() <= kSmall && !has_unused_) {
      MergeSmall(&symbols, lookup);
    } else {
      MergeWithHeap(&symbols, &scratch->heap, lookup);
    }
  };
  if (spec_->model == ModelKind::kMergePairs) {
    merge([&](const BpeSymbol& l, const BpeSymbol& r) { return PairMerge(l.id, r.id); });
  } else if (!has_unused_) {
    merge([&](const BpeSymbol& l, const BpeSymbol& r) {
      return l.frozen || r.frozen ? Merge{} : StringMerge(piece.substr(l.begin, l.length + r.length));
    });
  } else {
    scratch->unused_left.resize(static_cast<size_t>(vocab_->size()), 0);
    merge([&](const BpeSymbol& l, const BpeSymbol& r) {
      if (l.frozen || r.frozen) return Merge{};
      const Merge m = StringMerge(piece.substr(l.begin, l.length + r.length));
      if (m.result >= 0) scratch->unused_left[static_cast<size_t>(m.result)] = l.length;
      return m;
    });
  }
  Output(piece, scratch, ids);
}

void Bpe::InitBytes(std::string_view piece, std::vector<BpeSymbol>* symbols) const {
  symbols->reserve(piece.size());
  bool last_unknown = false;
  for (uint32_t i = 0; i < piece.size(); ++i) {
    const int32_t id = unit_[static_cast<uint8_t>(piece[i])];
    const bool unknown = id < 0;
    if (unknown && (spec_->unk_id < 0 || (last_unknown && spec_->fuse_unk))) {
      if (last_unknown) ++symbols->back().length;
      continue;
    }
    symbols->push_back({.begin = i, .length = 1, .id = unknown ? spec_->unk_id : id});
    last_unknown = unknown;
  }
}

int32_t Bpe::CharId(std::string_view c, bool first, bool last) const {
  const bool prefixed = !first && !spec_->subword_prefix.empty();
  const bool suffixed = last && !spec_->word_suffix.empty();
  if (!prefixed && !suffixed) return c.size() == 1 ? unit_[static_cast<uint8_t>(c[0])] : vocab_->FindModel(c);
  std::string key = prefixed ? spec_->subword_prefix : std::string();
  key += c;
  if (suffixed) key += spec_->word_suffix;
  return vocab_->FindModel(key);
}

// Characters of tokenizer.json's BPE. A character that is no token becomes its byte pieces, if all are there;
// else the unknown token (one for a run of them with fuse_unk); else nothing. The unknown token is held back
// until a known character follows, so byte pieces overtake it: that is how the reference behaves.
void Bpe::InitChars(std::string_view piece, std::vector<BpeSymbol>* symbols) const {
  symbols->reserve(piece.size());
  BpeSymbol unknown;  // length 0: none held back
  for (uint32_t i = 0; i < piece.size();) {
    const auto length = static_cast<uint32_t>(Utf8Length(piece[i]));
    const std::string_view c = piece.substr(i, length);
    const int32_t id = CharId(c, i == 0, i + length >= piece.size());
    if (id >= 0) {
      if (unknown.length > 0) symbols->push_back(std::exchange(unknown, {}));
      symbols->push_back({.begin = i, .length = length, .id = id});
    } else if (spec_->byte_fallback && std::all_of(c.begin(), c.end(), [&](char b) {
                 return vocab_->byte_piece(static_cast<uint8_t>(b)) >= 0;
               })) {
      for (uint32_t k = 0; k < length; ++k)
        symbols->push_back(
            {.begin = i + k, .length = 1, .id = vocab_->byte_piece(static_cast<uint8_t>(piece[i + k]))});
    } else if (spec_->unk_id >= 0) {
      if (unknown.length > 0 && spec_->fuse_unk) {
        unknown.length += length;
      } else {
        if (unknown.length > 0) symbols->push_back(unknown);
        unknown = {.begin = i, .length = length, .id = spec_->unk_id};
      }
    }
    i += length;
  }
  if (unknown.length > 0) symbols->push_back(unknown);
}

// Characters of SentencePiece: user-defined symbols first, whatever is no token stays id -1 and may still be
// part of one.
void Bpe::InitPieces(std::string_view piece, std::vector<BpeSymbol>* symbols) const {
  symbols->reserve(piece.size());
  for (uint32_t i = 0; i < piece.size();) {
    const Trie::Match match = user_defined_.Longest(piece, i);
    BpeSymbol symbol{
        .begin = i, .length = static_cast<uint32_t>(match.length), .id = match.value, .frozen = true};
    if (match.length == 0) {
      symbol.length = static_cast<uint32_t>(Utf8Length(piece[i]));
      const std::string_view c = piece.substr(i, symbol.length);
      symbol.id = c.size() == 1 ? unit_[static_cast<uint8_t>(c[0])] : vocab_->FindModel(c);
      symbol.frozen = false;
    }
    symbols->push_back(symbol);
    i += symbol.length;
  }
}

void Bpe::Output(std::string_view piece, BpeScratch* scratch, std::vector<int32_t>* ids) const {
  bool after_unknown = false;
  for (const BpeSymbol& symbol : scratch->symbols) {
    const std::string_view text = piece.substr(symbol.begin, symbol.length);
    if (symbol.id < 0) {
      OutputUnknown(text, after_unknown, ids);
    } else if (has_unused_ && vocab_->Has(symbol.id, kTokenUnused)) {
      OutputResegmented(text, scratch, ids);
    } else {
      ids->push_back(symbol.id);
    }
    after_unknown = symbol.id < 0;
  }
}

void Bpe::OutputUnknown(std::string_view text, bool after_unknown, std::vector<int32_t>* ids) const {
  const bool bytes = spec_->byte_fallback && std::all_of(text.begin(), text.end(), [&](char b) {
                       return vocab_->byte_piece(static_cast<uint8_t>(b)) >= 0;
                     });
  if (bytes) {
    for (const char b : text) ids->push_back(vocab_->byte_piece(static_cast<uint8_t>(b)));
  } else if (spec_->unk_id >= 0 && !(after_unknown && spec_->fuse_unk)) {
    ids->push_back(spec_->unk_id);
  }
}

// An unused token is taken apart again the way it was last put together.
void Bpe::OutputResegmented(std::string_view text, BpeScratch* scratch, std::vector<int32_t>* ids) const {
  std::vector<std::string_view>& pending = scratch->pending;
  pending.assign(1, text);
  while (!pending.empty()) {
    const std::string_view part = pending.back();
    pending.pop_back();
    const int32_t id = vocab_->FindModel(part);
    if (id < 0) {
      OutputUnknown(part, false, ids);
      continue;
    }
    const uint32_t left = scratch->unused_left[static_cast<size_t>(id)];
    if (!vocab_->Has(id, kTokenUnused) || left == 0) {
      ids->push_back(id);
      continue;
    }
    pending.push_back(part.substr(left));
    pending.push_back(part.substr(0, left));
  }
}

}  // namespace lathe::text
