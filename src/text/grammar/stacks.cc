#include "text/grammar/stacks.h"

#include <algorithm>

namespace lathe::grammar {
namespace {

uint64_t HashOf(const Config& c) {
  uint64_t h = (uint64_t{c.at.state} << 32 | c.node) * 0x9E3779B97F4A7C15ull;
  h = (h ^ (h >> 29) ^ c.at.count) * 0xBF58476D1CE4E5B9ull;
  return h ^ (h >> 32);
}

}  // namespace

void Stacks::ConfigSet::Rehash(size_t slots) {
  table_.assign(slots, 0);
  for (size_t i = 0; i < items_.size(); ++i) {
    size_t slot = HashOf(items_[i]) % slots;
    while (table_[slot] != 0) slot = (slot + 1) % slots;
    table_[slot] = static_cast<uint32_t>(i + 1);
  }
}

void Stacks::ConfigSet::Add(const Config& c) {
  constexpr size_t kLinear = 12;
  if (items_.size() < kLinear) {
    if (std::find(items_.begin(), items_.end(), c) == items_.end()) items_.push_back(c);
    return;
  }
  if (items_.size() == kLinear) Rehash(64);
  if (items_.size() * 2 > table_.size()) Rehash(table_.size() * 4);
  size_t slot = HashOf(c) % table_.size();
  for (; table_[slot] != 0; slot = (slot + 1) % table_.size()) {
    if (items_[table_[slot] - 1] == c) return;
  }
  if (items_.size() >= kMaxPending) return;
  items_.push_back(c);
  table_[slot] = static_cast<uint32_t>(items_.size());
}

Stacks::Stacks(const Automaton& automaton)
    : automaton_(automaton), nodes_(1), node_of_rule_(automaton.rules.size(), kNone) {}

void Stacks::Step(std::span<const Config> in, uint32_t symbol, std::vector<Config>* out) {
  ++work_done_;
  if (in.size() == 1 && symbol < 256) {
    // The common case by far: inside a string, a literal, a number.
    const Config c = in[0];
    const auto& s = automaton_.states[c.at.state];
    const auto& next = automaton_.states[c.at.state + 1];
    if (s.calls == next.calls && s.counter == Automaton::kNoState && (!s.accept || c.node == kBottom)) {
      const uint32_t to = automaton_.Next(c.at.state, static_cast<uint8_t>(symbol));
      if (to != Automaton::kNoState) out->push_back({{to, 0}, c.node});
      return;
    }
  }
  ++step_;
  fresh_ = nodes_.size();
  pending_.Clear();
  results_.Clear();
  for (const Config& c : in) pending_.Add(c);
  for (size_t i = 0; i < pending_.size(); ++i) {
    const Config c = pending_[i];
    Take(c, symbol);
  }
  work_done_ += pending_.size();
  const size_t kept = std::min(results_.size(), kMaxConfigs);
  out->insert(out->end(), results_.items().begin(),
              results_.items().begin() + static_cast<std::ptrdiff_t>(kept));
}

void Stacks::Take(const Config& c, uint32_t symbol) {
  const auto& s = automaton_.states[c.at.state];
  if (s.counter != Automaton::kNoState) {
    const auto& counter = automaton_.counters[s.counter];
    if (c.at.count < counter.max) {
      // Without an upper bound, counts beyond the lower one are alike.
      const uint32_t next =
          counter.max == kUnbounded ? std::min(c.at.count + 1, counter.min) : c.at.count + 1;
      // A body that matches nothing counts for nothing (its minimum is 0 then).
      Call(c, counter.body, {c.at.state, next}, symbol);
    }
  } else {
    if (symbol < 256) {
      const uint32_t to = automaton_.Next(c.at.state, static_cast<uint8_t>(symbol));
      if (to != Automaton::kNoState) results_.Add({{to, 0}, c.node});
    } else {
      for (const auto& e : automaton_.TokensOf(c.at.state)) {
        if (kTokenSymbol + static_cast<uint32_t>(e.token) == symbol) results_.Add({{e.to, 0}, c.node});
      }
    }
    for (const auto& call : automaton_.CallsOf(c.at.state)) {
      Call(c, call.rule, {call.ret, 0}, symbol);
      if (automaton_.rules[call.rule].nullable) pending_.Add({{call.ret, 0}, c.node});
    }
  }
  // A rule that has matched nothing so far is passed over where it was called.
  if (Accepts(c.at) && c.node < fresh_) Return(c.node);
}

void Stacks::Call(const Config& caller, RuleId rule, CountedState ret, uint32_t symbol) {
  const auto& callee = automaton_.rules[rule];
  if (!callee.first.Has(std::min(symbol, FirstSet::kToken))) return;
  uint32_t node = node_of_rule_[rule];
  if (node < fresh_ || node >= nodes_.size() || nodes_[node].rule != rule) {
    node = static_cast<uint32_t>(nodes_.size());
    nodes_.push_back({rule, kNone, 0});
    node_of_rule_[rule] = node;
    pending_.Add({{callee.start, 0}, node});
  }
  if (!automaton_.states[ret.state].trivial) {
    AddEdge(node, ret, caller.node);
  } else if (caller.node >= fresh_ || caller.node == kBottom) {
    if (caller.node != node) AddEdge(node, {kNone, 0}, caller.node);  // its edges are not all known yet
  } else {
    for (uint32_t e = nodes_[caller.node].first_edge; e != kNone; e = edges_[e].next) {
      AddEdge(node, edges_[e].ret, edges_[e].parent);
    }
  }
}

void Stacks::AddEdge(uint32_t node, CountedState ret, uint32_t parent) {
  constexpr uint32_t kFew = 8;
  Node& n = nodes_[node];
  if (n.edges >= kMaxEdges) return;
  if (n.edges <= kFew) {
    for (uint32_t e = n.first_edge; e != kNone; e = edges_[e].next) {
      if (edges_[e].ret == ret && edges_[e].parent == parent) return;
    }
  } else if (!NoteEdge(node, {ret, parent})) {
    return;
  }
  edges_.push_back({ret, parent, n.first_edge});
  n.first_edge = static_cast<uint32_t>(edges_.size() - 1);
  if (++n.edges == kFew + 1) {
    for (uint32_t e = n.first_edge; e != kNone; e = edges_[e].next) {
      NoteEdge(node, {edges_[e].ret, edges_[e].parent});
    }
  }
}

bool Stacks::NoteEdge(uint32_t node, const Config& to) {
  if (noted_step_ != step_) {
    noted_step_ = step_;
    noted_.clear();
  }
  return noted_.insert(HashOf(to) * 31 + node).second;
}

void Stacks::BeginVisits() {
  walk_.clear();
  seen_.resize(nodes_.size());
  if (++round_ == 0) {
    std::fill(seen_.begin(), seen_.end(), 0);
    round_ = 1;
  }
}

void Stacks::Visit(uint32_t node) {
  if (seen_[node] == round_) return;
  seen_[node] = round_;
  walk_.push_back(node);
}

void Stacks::Return(uint32_t node) {
  BeginVisits();
  Visit(node);
  for (size_t i = 0; i < walk_.size(); ++i) {
    for (uint32_t e = nodes_[walk_[i]].first_edge; e != kNone; e = edges_[e].next) {
      if (edges_[e].ret.state == kNone) {
        Visit(edges_[e].parent);
      } else {
        pending_.Add({edges_[e].ret, edges_[e].parent});
      }
    }
  }
}

bool Stacks::CanEnd(std::span<const Config> in) {
  BeginVisits();
  for (const Config& c : in) {
    if (Ends(c.at)) Visit(c.node);
  }
  for (size_t i = 0; i < walk_.size(); ++i) {
    if (walk_[i] == kBottom) return true;
    for (uint32_t e = nodes_[walk_[i]].first_edge; e != kNone; e = edges_[e].next) {
      if (edges_[e].ret.state == kNone || Ends(edges_[e].ret)) Visit(edges_[e].parent);
    }
  }
  return false;
}

bool Stacks::CanGoOn(std::span<const Config> in) {
  pending_.Clear();
  for (const Config& c : in) pending_.Add(c);
  fresh_ = nodes_.size();
  for (size_t i = 0; i < pending_.size(); ++i) {
    const Config c = pending_[i];
    const auto& s = automaton_.states[c.at.state];
    const auto& next = automaton_.states[c.at.state + 1];
    if (s.counter != Automaton::kNoState) {
      if (c.at.count < automaton_.counters[s.counter].max) return true;
    } else if (s.bytes != next.bytes || s.tokens != next.tokens) {
      return true;
    }
    for (const auto& call : automaton_.CallsOf(c.at.state)) {
      if (!automaton_.rules[call.rule].first.Empty()) return true;
      pending_.Add({{call.ret, 0}, c.node});  // live, and its text is empty
    }
    if (Accepts(c.at)) Return(c.node);
  }
  return false;
}

void Stacks::Compact(std::vector<Config>* configs) {
  if (nodes_.size() + edges_.size() < compact_at_) return;
  std::vector<uint32_t> new_id(nodes_.size(), kNone);
  std::vector<uint32_t> order = {kBottom};
  new_id[kBottom] = 0;
  const auto visit = [&](uint32_t node) {
    if (new_id[node] == kNone) {
      new_id[node] = static_cast<uint32_t>(order.size());
      order.push_back(node);
    }
    return new_id[node];
  };
  for (Config& c : *configs) c.node = visit(c.node);
  std::vector<Node> nodes;
  std::vector<Edge> edges;
  for (size_t i = 0; i < order.size(); ++i) {
    Node node{nodes_[order[i]].rule, kNone, nodes_[order[i]].edges};
    for (uint32_t e = nodes_[order[i]].first_edge; e != kNone; e = edges_[e].next) {
      edges.push_back({edges_[e].ret, visit(edges_[e].parent), node.first_edge});
      node.first_edge = static_cast<uint32_t>(edges.size() - 1);
    }
    nodes.push_back(node);
  }
  nodes_ = std::move(nodes);
  edges_ = std::move(edges);
  compact_at_ = std::max<size_t>(4096, 2 * (nodes_.size() + edges_.size()));
}

}  // namespace lathe::grammar
