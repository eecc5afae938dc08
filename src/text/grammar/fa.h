// Finite automata over intervals of symbols: what the body of one rule becomes.
//
// A symbol is a byte, a special token or the call of a rule (see the constants); where the text of a regular
// expression must be counted or intersected first, symbols are code points.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "text/grammar/budget.h"

namespace lathe::grammar {

inline constexpr uint32_t kTokenSymbol = 0x1000000;  // + token id
inline constexpr uint32_t kCallSymbol = 0x4000000;   // + rule

// With empty transitions, states numbered as they are added; state 0 is the start, one state accepts.
class Nfa {
 public:
  struct Edge {
    uint32_t from, lo, hi, to;
  };
  uint32_t AddState() { return states_++; }
  void AddEdge(uint32_t from, uint32_t lo, uint32_t hi, uint32_t to) { edges_.push_back({from, lo, hi, to}); }
  void AddEmpty(uint32_t from, uint32_t to) { empty_.emplace_back(from, to); }
  void set_accept(uint32_t state) { accept_ = state; }

  uint32_t states() const { return states_; }
  uint32_t accept() const { return accept_; }
  const std::vector<Edge>& edges() const { return edges_; }
  const std::vector<std::pair<uint32_t, uint32_t>>& empty() const { return empty_; }

 private:
  uint32_t states_ = 0;
  uint32_t accept_ = 0;
  std::vector<Edge> edges_;
  std::vector<std::pair<uint32_t, uint32_t>> empty_;
};

// Deterministic; state 0 is the start. Every state can reach an accepting one unless the language is empty,
// which is one state that does not accept.
struct Dfa {
  struct Edge {
    uint32_t lo, hi, to;
    bool operator==(const Edge&) const = default;
  };
  std::vector<uint32_t> begin = {0};  // (states + 1) into edges
  std::vector<Edge> edges;            // of one state: ascending, disjoint
  std::vector<bool> accept;

  uint32_t states() const { return static_cast<uint32_t>(accept.size()); }
  std::span<const Edge> EdgesOf(uint32_t state) const {
    return {edges.data() + begin[state], begin[state + 1] - begin[state]};
  }
  bool Never() const { return states() == 1 && !accept[0]; }
  bool Matches(std::span<const uint32_t> symbols) const;
};

// Subset construction, then the smallest equal automaton. kResourceExhausted over the budget. With
// `too_large`, gives up as soon as there are many more states than in `nfa`: sets it and returns any
// automaton.
Expected<Dfa> Determinize(const Nfa& nfa, Budget* budget, bool* too_large = nullptr);

enum class SetOp { kAnd, kWithout };
// Texts of a that are (kAnd) or are not (kWithout) texts of b.
Expected<Dfa> Combine(const Dfa& a, const Dfa& b, SetOp op, Budget* budget);

}  // namespace lathe::grammar
