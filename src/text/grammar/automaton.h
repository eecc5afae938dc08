// A compiled grammar: one automaton for each rule, in flat arrays, with calls between them.
//
// A configuration of a text in progress is a state and the stack of states to return to. Every state and
// every call is such that some text leads from it to an end (dead ones have been cut off), so a configuration
// that can be reached can be completed.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "text/grammar/expr.h"

namespace lathe::grammar {

// 256 bytes, and one bit for "some special token".
class FirstSet {
 public:
  static constexpr uint32_t kToken = 256;
  void Set(uint32_t i) { words_[i / 64] |= uint64_t{1} << (i % 64); }
  bool Has(uint32_t i) const { return (words_[i / 64] >> (i % 64) & 1) != 0; }
  // True when that added something.
  bool Merge(const FirstSet& other) {
    uint64_t fresh = 0;
    for (size_t i = 0; i < words_.size(); ++i) {
      fresh |= other.words_[i] & ~words_[i];
      words_[i] |= other.words_[i];
    }
    return fresh != 0;
  }
  bool Empty() const { return words_ == decltype(words_){}; }

 private:
  std::array<uint64_t, 5> words_{};
};

struct Automaton {
  static constexpr uint32_t kNoState = UINT32_MAX;

  struct ByteEdge {
    uint8_t lo, hi;
    uint32_t to;
  };
  struct TokenEdge {
    int32_t token;
    uint32_t to;
  };
  struct Call {
    RuleId rule;
    uint32_t ret;  // where to go on behind it
  };
  struct State {
    uint32_t bytes = 0;  // begin of its edges, which end where those of the next state begin; likewise below
    uint32_t tokens = 0;
    uint32_t calls = 0;
    uint32_t counter = kNoState;  // which Counter; such a state has no edges
    bool accept = false;          // the rule may end here
    bool ends = false;            // ... or behind calls that match nothing
    bool trivial = false;         // accept and no way on
  };
  // The one state of a counted repetition: a count goes with it.
  struct Counter {
    RuleId body;
    uint32_t min, max;
  };
  struct Rule {
    uint32_t start = 0;
    bool nullable = false;
    FirstSet first;
  };

  std::vector<State> states;  // one more than there are
  std::vector<ByteEdge> bytes;
  std::vector<TokenEdge> tokens;
  std::vector<Call> calls;
  std::vector<Counter> counters;
  std::vector<Rule> rules;
  std::vector<int32_t> token_ids;  // special tokens in use, ascending

  uint32_t Next(uint32_t state, uint8_t byte) const {
    const uint32_t end = states[state + 1].bytes;
    for (uint32_t i = states[state].bytes; i < end; ++i) {
      if (byte < bytes[i].lo) return kNoState;
      if (byte <= bytes[i].hi) return bytes[i].to;
    }
    return kNoState;
  }
  // The state that one edge leads to over every byte of a range; kNoState also when several edges do.
  uint32_t NextOfAll(uint32_t state, uint8_t lo, uint8_t hi) const {
    for (uint32_t i = states[state].bytes; i < states[state + 1].bytes; ++i) {
      if (bytes[i].lo <= lo && hi <= bytes[i].hi) return bytes[i].to;
    }
    return kNoState;
  }
  std::span<const Call> CallsOf(uint32_t state) const {
    return {calls.data() + states[state].calls, states[state + 1].calls - states[state].calls};
  }
  std::span<const TokenEdge> TokensOf(uint32_t state) const {
    return {tokens.data() + states[state].tokens, states[state + 1].tokens - states[state].tokens};
  }
  size_t Bytes() const;
};

// From rule 0 of the pool. `usable`: bytes that the vocabulary can write one at a time; others are taken out
// of the language. kInvalidArgument when no text belongs to it.
Expected<Automaton> CompileRules(ExprPool* pool, const std::array<bool, 256>& usable);

}  // namespace lathe::grammar
