// Texts in progress: sets of configurations whose stacks share what they have in common.
//
// A configuration is a state and a node; a node stands for one call of a rule at one place of the text, and
// its edges lead to all who called it there (state to return to, node of the caller). So ambiguity, and
// recursion on the left as on the right, cost what the grammar and the text need and no more: this is
// Earley's algorithm with automata for rules (also known as GLL). A call with nothing behind it hands on its
// caller's edges, so lists written by right recursion do not grow the stack.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_set>
#include <vector>

#include "text/grammar/automaton.h"

namespace lathe::grammar {

// A state, and the count that goes with it in a counted repetition.
struct CountedState {
  uint32_t state = 0;
  uint32_t count = 0;
  bool operator==(const CountedState&) const = default;
};

struct Config {
  CountedState at;
  uint32_t node = 0;
  bool operator==(const Config&) const = default;
};

// An arena of nodes with the operations on it. Node 0 is the bottom: whoever returns from it has matched the
// whole. One thread; refers to the automaton, which must outlive it.
class Stacks {
 public:
  static constexpr uint32_t kBottom = 0;
  static constexpr uint32_t kNone = UINT32_MAX;
  // More configurations than this behind one symbol are dropped: the text is then held to a part of the
  // language (of which each can be completed), so a hostile grammar costs time in proportion and stays
  // correct. The other two bound what one step looks at.
  static constexpr size_t kMaxConfigs = 256;
  static constexpr size_t kMaxPending = 1 << 16;
  static constexpr size_t kMaxEdges = 4096;

  // ret.state kNone: nothing is left to do in the caller, its own edges count.
  struct Edge {
    CountedState ret;
    uint32_t parent = 0;
    uint32_t next = kNone;
  };

  explicit Stacks(const Automaton& automaton);

  // The configurations behind `symbol` (a byte, or kTokenSymbol + id), appended to `out` without repetition.
  void Step(std::span<const Config> in, uint32_t symbol, std::vector<Config>* out);

  // Whether the bottom can be left without another symbol: the text may end.
  bool CanEnd(std::span<const Config> in);
  // Whether a symbol can follow.
  bool CanGoOn(std::span<const Config> in);

  // Forgets all nodes but the first `nodes` and edges but the first `edges`.
  struct Mark {
    size_t nodes, edges;
  };
  Mark mark() const { return {nodes_.size(), edges_.size()}; }
  void Rewind(Mark mark) {
    nodes_.resize(mark.nodes);
    edges_.resize(mark.edges);
  }
  // Drops the nodes that no configuration can return to, when there are many; renumbers those in `configs`.
  void Compact(std::vector<Config>* configs);

  uint32_t FirstEdge(uint32_t node) const { return nodes_[node].first_edge; }
  const Edge& edge(uint32_t i) const { return edges_[i]; }
  // Configurations looked at so far: a measure of work.
  uint64_t work() const { return work_done_; }

 private:
  struct Node {
    RuleId rule = 0;
    uint32_t first_edge = kNone;
    uint32_t edges = 0;
  };
  // A set of configurations in order of arrival.
  class ConfigSet {
   public:
    void Clear() { items_.clear(); }
    void Rehash(size_t slots);
    void Add(const Config& c);
    const Config& operator[](size_t i) const { return items_[i]; }
    size_t size() const { return items_.size(); }
    const std::vector<Config>& items() const { return items_; }

   private:
    std::vector<Config> items_;
    std::vector<uint32_t> table_;  // index + 1, in use beyond a few items
  };

  bool Accepts(CountedState at) const {
    const auto& s = automaton_.states[at.state];
    return s.counter == Automaton::kNoState ? s.accept : at.count >= automaton_.counters[s.counter].min;
  }
  bool Ends(CountedState at) const {
    const auto& s = automaton_.states[at.state];
    return s.counter == Automaton::kNoState ? s.ends : at.count >= automaton_.counters[s.counter].min;
  }
  void Take(const Config& c, uint32_t symbol);
  void Call(const Config& caller, RuleId rule, CountedState ret, uint32_t symbol);
  void Return(uint32_t node);
  void BeginVisits();
  void Visit(uint32_t node);
  // False when the edge was noted before in this step.
  bool NoteEdge(uint32_t node, const Config& to);
  void AddEdge(uint32_t node, CountedState ret, uint32_t parent);

  const Automaton& automaton_;
  std::vector<Node> nodes_;
  std::vector<Edge> edges_;
  std::vector<uint32_t> node_of_rule_;  // [rule] valid when it names a node of this step and of that rule
  size_t fresh_ = 0;                    // nodes from here on are of this step
  size_t compact_at_ = 4096;
  ConfigSet pending_;
  ConfigSet results_;
  std::vector<uint32_t> walk_;  // nodes visited, in order
  std::vector<uint32_t> seen_;  // [node] the round that visited it
  uint32_t round_ = 0;
  uint64_t work_done_ = 0;
  uint64_t step_ = 0, noted_step_ = 0;
  std::unordered_set<uint64_t>
      noted_;  // edges of nodes with many, of this step, by hash: a collision drops one
};

}  // namespace lathe::grammar
