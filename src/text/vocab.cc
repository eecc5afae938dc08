#include "text/vocab.h"

#include <bit>
#include <cstring>
#include <span>

#include "base/hash.h"
#include "base/rng.h"
#include "text/byte_level.h"

namespace lathe::text {
namespace {

// Most keys are a few bytes: two overlapping loads and two multiplications.
uint64_t HashKey(std::string_view key) {
  const size_t n = key.size();
  uint64_t a = 0;
  uint64_t b = 0;
  if (n > 16) return Hash64(std::as_bytes(std::span(key)));
  if (n >= 8) {
    std::memcpy(&a, key.data(), 8);
    std::memcpy(&b, key.data() + n - 8, 8);
  } else if (n >= 4) {
    uint32_t low;
    uint32_t high;
    std::memcpy(&low, key.data(), 4);
    std::memcpy(&high, key.data() + n - 4, 4);
    a = low | (static_cast<uint64_t>(high) << 32);
  } else {
    for (size_t i = 0; i < n; ++i) a = (a << 8) | static_cast<uint8_t>(key[i]);
  }
  return SplitMix64(SplitMix64(a ^ (n << 56)) ^ b);
}

}  // namespace

void StringIndex::Reserve(size_t count) { slots_.assign(std::bit_ceil(2 * count + 2), Slot{}); }

bool StringIndex::Insert(const TokenArena& arena, std::string_view key, int32_t id, int32_t* existing) {
  const uint64_t hash = HashKey(key);
  const auto tag = static_cast<uint32_t>(hash >> 32);
  const size_t mask = slots_.size() - 1;
  size_t slot = hash & mask;
  for (; slots_[slot].id >= 0; slot = (slot + 1) & mask) {
    if (slots_[slot].tag == tag && arena[static_cast<size_t>(slots_[slot].id)] == key) {
      *existing = slots_[slot].id;
      return false;
    }
  }
  slots_[slot] = {tag, id};
  return true;
}

int32_t StringIndex::Find(const TokenArena& arena, std::string_view key) const {
  if (slots_.empty()) return -1;
  const uint64_t hash = HashKey(key);
  const auto tag = static_cast<uint32_t>(hash >> 32);
  const size_t mask = slots_.size() - 1;
  for (size_t slot = hash & mask; slots_[slot].id >= 0; slot = (slot + 1) & mask)
    if (slots_[slot].tag == tag && arena[static_cast<size_t>(slots_[slot].id)] == key) return slots_[slot].id;
  return -1;
}

Expected<Vocab> Vocab::Create(const TokenizerSpec& spec) {
  Vocab v;
  v.spec_ = &spec;
  v.byte_pieces_.fill(-1);
  const auto in_model = [&](size_t id) {
    return (spec.token_flags[id] & kTokenModel) != 0 && (spec.token_flags[id] & kTokenVerbatim) == 0;
  };
  size_t model_count = 0;
  for (size_t id = 0; id < spec.tokens.size(); ++id) model_count += in_model(id) ? 1 : 0;
  v.model_index_.Reserve(model_count);
  v.name_index_.Reserve(spec.tokens.size() - model_count);
  int32_t existing = -1;
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    const std::string_view token = spec.tokens[i];
    const auto id = static_cast<int32_t>(i);
    if ((spec.token_flags[i] & kTokenPresent) == 0) continue;
    if (spec.byte_fallback || (spec.token_flags[i] & kTokenByte) != 0) {
      const int byte = ByteOfPiece(token);
      if (byte >= 0) v.byte_pieces_[static_cast<size_t>(byte)] = id;
    }
    if (!in_model(i)) {
      // Two control tokens may share a spelling (padding rows do): the first one is found.
      v.name_index_.Insert(spec.tokens, token, id, &existing);
      continue;
    }
    v.longest_ = std::max(v.longest_, token.size());
    if (!v.model_index_.Insert(spec.tokens, token, id, &existing))
      return Error(StatusCode::kCorrupt, "tokenizer: tokens %d and %d are both '%.60s'", existing, id,
                   v.Name(id).c_str());
  }
  return v;
}

int32_t Vocab::FindByName(std::string_view name) const {
  int32_t id = -1;
  if (spec_->form == VocabForm::kText) {
    id = FindModel(name);
    return id >= 0 ? id : name_index_.Find(spec_->tokens, name);
  }
  std::string bytes;
  if (!AppendLetterBytes(name, &bytes)) return name_index_.Find(spec_->tokens, name);
  id = FindModel(bytes);
  if (id >= 0) return id;
  // A verbatim token of the same bytes has another spelling.
  id = name_index_.Find(spec_->tokens, bytes);
  return id >= 0 && Name(id) == name ? id : -1;
}

std::string Vocab::Name(int32_t id) const {
  if (!InRange(id)) return {};
  if (spec_->form == VocabForm::kText || Has(id, kTokenVerbatim)) return std::string(raw(id));
  std::string name;
  AppendByteLetters(raw(id), &name);
  return name;
}

void Vocab::AppendBytes(int32_t id, std::string* out) const {
  if (spec_->form == VocabForm::kBytes) {
    out->append(raw(id));
  } else if (!AppendLetterBytes(raw(id), out)) {
    out->append(raw(id));
  }
}

}  // namespace lathe::text
