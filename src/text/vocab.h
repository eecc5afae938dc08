// Look-ups in a TokenizerSpec's vocabulary: strings to ids and back.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/tokenizer_spec.h"

namespace lathe::text {

// Hash table from strings of an arena to their ids. Open addressing, half full at most.
class StringIndex {
 public:
  void Reserve(size_t count);
  // False when an equal key is there already; *existing is then its id. Reserve must have made room.
  bool Insert(const TokenArena& arena, std::string_view key, int32_t id, int32_t* existing);
  int32_t Find(const TokenArena& arena, std::string_view key) const;

 private:
  struct Slot {
    uint32_t tag = 0;
    int32_t id = -1;
  };
  std::vector<Slot> slots_;
};

// Refers to the spec it was made from, which must outlive it and stay as it is. Thread-safe once created.
class Vocab {
 public:
  // kCorrupt when two tokens that the model may produce have the same string.
  static Expected<Vocab> Create(const TokenizerSpec& spec);

  int32_t size() const { return static_cast<int32_t>(spec_->tokens.size()); }
  // The token that the model may produce for exactly these bytes (VocabForm::kBytes) or this text; or -1.
  int32_t FindModel(std::string_view key) const { return model_index_.Find(spec_->tokens, key); }
  // By spelling, any token: model, added, control, byte piece. -1 when there is none.
  int32_t FindByName(std::string_view name) const;
  // Spelling: as the vocabulary file writes it (stand-in letters for bytes). Empty for an id not in use.
  std::string Name(int32_t id) const;
  // The bytes that a byte-level decoder makes of it.
  void AppendBytes(int32_t id, std::string* out) const;

  bool InRange(int32_t id) const { return id >= 0 && id < size(); }
  bool Has(int32_t id, uint8_t flag) const {
    return (spec_->token_flags[static_cast<size_t>(id)] & flag) != 0;
  }
  std::string_view raw(int32_t id) const { return spec_->tokens[static_cast<size_t>(id)]; }
  // Id of the byte piece <0xNN>, or -1.
  int32_t byte_piece(uint8_t byte) const { return byte_pieces_[byte]; }
  size_t longest() const { return longest_; }  // bytes of the longest model token

 private:
  const TokenizerSpec* spec_ = nullptr;
  StringIndex model_index_;
  StringIndex name_index_;  // what model_index_ does not hold
  std::array<int32_t, 256> byte_pieces_{};
  size_t longest_ = 0;
};

}  // namespace lathe::text
