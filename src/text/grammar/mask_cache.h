// Which tokens a state allows, remembered.
//
// Of a token that is tried from a state, one of three things is true: it fits within the rule of the state,
// it fits nowhere, or the rule ends inside it and who called the rule decides. The first kind is a set of
// tokens that depends on the state alone. For the last kind the walk over the vocabulary's tree stops at the
// nodes where the rule ends: its exits. What a caller's state allows behind these exits is again a set of
// tokens and exits of the same form, depending on (exits, state) alone. So a mask is the union of a few
// remembered sets, one for each frame of the stack that a token can reach, and the tree is walked once for
// each (exits, state).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/grammar/grammar_vocab.h"
#include "text/grammar/stacks.h"

namespace lathe::grammar {

// Refers to automaton and vocabulary, which must outlive it. Whoever calls Fill holds lock() for the whole of
// a mask: exits are numbers of this cache, and it may be emptied between masks.
class MaskCache {
 public:
  // Exits are numbered; these two are fixed.
  static constexpr uint32_t kNoExits = 0;
  static constexpr uint32_t kRootExit = 1;  // the root of the tree: the start of every token

  MaskCache(const Automaton& automaton, const GrammarVocab& vocab, size_t max_bytes);

  std::unique_lock<std::mutex> Lock();

  // Sets the bits of the tokens that start with the bytes of one of `exits` and go on from `at` within its
  // rule. Returns the exits of those that leave the rule.
  uint32_t Fill(uint32_t exits, CountedState at, std::span<uint32_t> words);

  size_t bytes() const { return bytes_; }
  size_t entries() const;

 private:
  struct Entry {
    std::vector<uint32_t> dense;                        // (words), or empty and
    std::vector<std::pair<uint32_t, uint32_t>> sparse;  // (index, bits)
    uint32_t exits = kNoExits;
  };
  struct Key {
    uint32_t exits;
    CountedState at;
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    size_t operator()(const Key& k) const {
      uint64_t h = (uint64_t{k.exits} << 32 | k.at.state) * 0x9E3779B97F4A7C15ull;
      h = (h ^ (h >> 29) ^ k.at.count) * 0xBF58476D1CE4E5B9ull;
      return static_cast<size_t>(h ^ (h >> 32));
    }
  };
  struct ListHash {
    size_t operator()(const std::vector<uint32_t>& v) const;
  };
  struct Level {        // the configurations at one depth of a walk
    size_t begin, end;  // in configs_
    Stacks::Mark mark;
  };

  void Clear();
  CountedState Canonical(CountedState at) const;
  Entry Find(uint32_t exits, CountedState at);
  GrammarVocab::Part TakePlain(CountedState at);
  void TakeAll(std::span<const uint32_t> words);
  void Walk(const GrammarVocab::Tree& tree, uint32_t from, CountedState at);
  void WalkSpecial(CountedState at);
  bool FitsAnyPlain(CountedState at) const;
  uint32_t PlainNext(uint32_t state) const;
  bool PlainNever(uint32_t state) const;
  uint32_t InternExits();

  const Automaton& automaton_;
  const GrammarVocab& vocab_;
  const size_t max_bytes_;
  mutable std::mutex mutex_;
  std::unordered_map<Key, Entry, KeyHash> entries_;
  std::unordered_map<std::vector<uint32_t>, uint32_t, ListHash> exit_ids_;
  std::vector<const std::vector<uint32_t>*>
      exits_;                      // [id] ascending nodes of the whole tree; keys of exit_ids_
  std::atomic<size_t> bytes_ = 0;  // written under the lock, read without
  // Of the walk in progress.
  Stacks stacks_;
  std::vector<Config> configs_;  // of all depths, one behind the other
  std::vector<Level> levels_;
  std::vector<uint32_t> bits_;
  std::vector<uint32_t> found_exits_;
  std::vector<ByteRangeSequence> plain_sequences_;
  uint64_t work_limit_ = 0;
};

}  // namespace lathe::grammar
