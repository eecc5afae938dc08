// Collects a vocabulary by spelling while a file is read, then lays it out as a TokenizerSpec wants it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/tokenizer_spec.h"
#include "text/vocab.h"

namespace lathe::text {

// Not thread-safe.
class VocabBuilder {
 public:
  // `where` names the source in messages and must outlive the builder; `expected`: about how many tokens.
  VocabBuilder(std::string_view where, size_t expected);

  // Adds a token under an id of its own. kCorrupt when the id is out of range, far beyond
  // the number of tokens, or taken; or the name is taken.
  Status Add(int64_t id, std::string_view name, uint8_t flags, float score = 0);

  // An added or control token: joins the token of that name if there is one (its id counts then), else is put
  // at its id, or behind the last one for id -1. kCorrupt when the id belongs to another name.
  Status AddAdded(AddedToken token);

  int32_t Find(std::string_view name) const;  // -1 when absent
  // The name at `id`, empty when there is none.
  std::string_view NameAt(int64_t id) const;
  void SetFlags(int32_t id, uint8_t flags);
  const std::vector<AddedToken>& added() const { return added_; }

  // Moves everything into the spec: tokens in the form of spec->form, flags, scores (unless the model merges
  // pairs), added tokens.
  void Finish(TokenizerSpec* spec);

 private:
  void Rehash(size_t count);
  Status Fault(const char* format, int64_t id, std::string_view name) const;

  std::string_view where_;
  TokenArena names_;  // in order of addition
  std::vector<uint8_t> flags_;
  std::vector<float> scores_;
  std::vector<int32_t> ids_;       // [entry] id
  std::vector<int32_t> entry_of_;  // [id] entry, -1: hole
  StringIndex index_;              // name to entry
  size_t capacity_ = 0;
  std::vector<AddedToken> added_;
};

}  // namespace lathe::text
