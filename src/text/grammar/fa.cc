#include "text/grammar/fa.h"

#include <algorithm>
#include <map>
#include <unordered_map>

namespace lathe::grammar {
namespace {

struct VectorHash {
  size_t operator()(const std::vector<uint32_t>& v) const {
    uint64_t h = 0x9E3779B97F4A7C15ull + v.size();
    for (const uint32_t x : v) {
      h = (h ^ x) * 0xFF51AFD7ED558CCDull;
      h ^= h >> 32;
    }
    return static_cast<size_t>(h);
  }
};

// Rows of values by key, as in a sparse matrix.
template <typename Item>
struct Rows {
  std::vector<uint32_t> begin;
  std::vector<Item> items;

  template <typename Source, typename Key, typename Value>
  Rows(uint32_t keys, const std::vector<Source>& source, Key key, Value value) : begin(keys + 1) {
    for (const Source& s : source) ++begin[key(s) + 1];
    for (uint32_t i = 0; i < keys; ++i) begin[i + 1] += begin[i];
    items.resize(source.size());
    std::vector<uint32_t> next(begin.begin(), begin.end() - 1);
    for (const Source& s : source) items[next[key(s)]++] = value(s);
  }
  std::span<const Item> operator[](uint32_t k) const {
    return {items.data() + begin[k], begin[k + 1] - begin[k]};
  }
};

class SubsetConstruction {
 public:
  SubsetConstruction(const Nfa& nfa, Budget* budget)
      : nfa_(nfa),
        budget_(budget),
        edges_(
            nfa.states(), nfa.edges(), [](const Nfa::Edge& e) { return e.from; },
            [](const Nfa::Edge& e) {
              return Dfa::Edge{e.lo, e.hi, e.to};
            }),
        empty_(
            nfa.states(), nfa.empty(), [](const auto& e) { return e.first; },
            [](const auto& e) { return e.second; }),
        stamp_(nfa.states()) {}

  Expected<Dfa> Run(bool* too_large) {
    const size_t most = too_large == nullptr ? SIZE_MAX : 2000 + size_t{8} * nfa_.states();
    LATHE_RETURN_IF_ERROR(budget_->Take(nfa_.edges().size() * 32 + nfa_.states() * size_t{16}));
    LATHE_ASSIGN_OR_RETURN(const uint32_t start, Subset({0}));
    (void)start;
    Dfa out;
    for (uint32_t s = 0; s < subsets_.size(); ++s) {
      LATHE_RETURN_IF_ERROR(Expand(s, &out));
      if (subsets_.size() > most) {
        *too_large = true;
        return Dfa();
      }
    }
    return out;
  }

 private:
  struct Bound {
    uint32_t at;  // symbol
    uint32_t to;  // NFA state
    bool begins;  // false: ended just before `at`
  };

  // Id of the closure of `states` under empty transitions; kept to states that matter.
  Expected<uint32_t> Subset(std::vector<uint32_t> states) {
    ++round_;
    std::vector<uint32_t> kept;
    for (const uint32_t s : states) stamp_[s] = round_;
    while (!states.empty()) {
      const uint32_t s = states.back();
      states.pop_back();
      if (!edges_[s].empty() || s == nfa_.accept()) kept.push_back(s);
      for (const uint32_t t : empty_[s]) {
        if (stamp_[t] != round_) {
          stamp_[t] = round_;
          states.push_back(t);
        }
      }
    }
    std::sort(kept.begin(), kept.end());
    const auto [it, fresh] = ids_.try_emplace(std::move(kept), static_cast<uint32_t>(subsets_.size()));
    if (fresh) {
      LATHE_RETURN_IF_ERROR(budget_->Take(it->first.size() * 4 + 96));
      subsets_.push_back(&it->first);
    }
    return it->second;
  }

  Status Expand(uint32_t s, Dfa* out) {
    const std::vector<uint32_t>& members = *subsets_[s];
    out->accept.push_back(std::binary_search(members.begin(), members.end(), nfa_.accept()));
    std::vector<Bound> bounds;
    for (const uint32_t m : members) {
      for (const Dfa::Edge& e : edges_[m]) {
        bounds.push_back({e.lo, e.to, true});
        bounds.push_back({e.hi + 1, e.to, false});
      }
    }
    std::sort(bounds.begin(), bounds.end(), [](const Bound& a, const Bound& b) { return a.at < b.at; });
    std::map<uint32_t, int> active;
    for (size_t i = 0; i < bounds.size();) {
      const uint32_t at = bounds[i].at;
      for (; i < bounds.size() && bounds[i].at == at; ++i) {
        int& count = active[bounds[i].to];
        count += bounds[i].begins ? 1 : -1;
        if (count == 0) active.erase(bounds[i].to);
      }
      if (active.empty()) continue;
      std::vector<uint32_t> targets;
      targets.reserve(active.size());
      for (const auto& [target, count] : active) targets.push_back(target);
      LATHE_RETURN_IF_ERROR(budget_->Take(sizeof(Dfa::Edge)));
      LATHE_ASSIGN_OR_RETURN(const uint32_t to, Subset(std::move(targets)));
      const uint32_t hi = bounds[i].at - 1;
      if (out->edges.size() > out->begin.back() && out->edges.back().to == to &&
          out->edges.back().hi + 1 == at && at < kTokenSymbol) {
        out->edges.back().hi = hi;
      } else {
        out->edges.push_back({at, hi, to});
      }
    }
    out->begin.push_back(static_cast<uint32_t>(out->edges.size()));
    return Status::Ok();
  }

  const Nfa& nfa_;
  Budget* budget_;
  Rows<Dfa::Edge> edges_;
  Rows<uint32_t> empty_;
  std::vector<uint32_t> stamp_;
  uint32_t round_ = 0;
  std::unordered_map<std::vector<uint32_t>, uint32_t, VectorHash> ids_;
  std::vector<const std::vector<uint32_t>*> subsets_;
};

// Which states can reach an accepting one.
std::vector<bool> LiveStates(const Dfa& dfa) {
  std::vector<std::pair<uint32_t, uint32_t>> reversed;
  reversed.reserve(dfa.edges.size());
  for (uint32_t s = 0; s < dfa.states(); ++s) {
    for (const Dfa::Edge& e : dfa.EdgesOf(s)) reversed.emplace_back(e.to, s);
  }
  const Rows<uint32_t> sources(
      dfa.states(), reversed, [](const auto& e) { return e.first; }, [](const auto& e) { return e.second; });
  std::vector<bool> live = dfa.accept;
  std::vector<uint32_t> work;
  for (uint32_t s = 0; s < dfa.states(); ++s) {
    if (live[s]) work.push_back(s);
  }
  while (!work.empty()) {
    const uint32_t s = work.back();
    work.pop_back();
    for (const uint32_t from : sources[s]) {
      if (!live[from]) {
        live[from] = true;
        work.push_back(from);
      }
    }
  }
  return live;
}

// Keeps the states that are live and merges those of one class, class_of[0] first. Edges of one class agree.
Dfa Quotient(const Dfa& dfa, const std::vector<uint32_t>& class_of, uint32_t classes,
             const std::vector<bool>& live) {
  Dfa out;
  if (!live[0]) {
    out.accept = {false};
    out.begin = {0, 0};
    return out;
  }
  constexpr uint32_t kNone = UINT32_MAX;
  std::vector<uint32_t> new_id(classes, kNone);
  std::vector<uint32_t> order;  // a representative of each new state
  new_id[class_of[0]] = 0;
  order.push_back(0);
  for (size_t i = 0; i < order.size(); ++i) {
    const uint32_t s = order[i];
    for (const Dfa::Edge& e : dfa.EdgesOf(s)) {
      if (!live[e.to]) continue;
      uint32_t& id = new_id[class_of[e.to]];
      if (id == kNone) {
        id = static_cast<uint32_t>(order.size());
        order.push_back(e.to);
      }
      if (out.edges.size() > out.begin.back() && out.edges.back().to == id &&
          out.edges.back().hi + 1 == e.lo && e.lo < kTokenSymbol) {
        out.edges.back().hi = e.hi;
      } else {
        out.edges.push_back({e.lo, e.hi, id});
      }
    }
    out.accept.push_back(dfa.accept[s]);
    out.begin.push_back(static_cast<uint32_t>(out.edges.size()));
  }
  return out;
}

// What a state does, as far as `class_of` tells states apart: calls visit(lo, hi, class) with neighbours
// joined.
template <typename Class, typename Visit>
void VisitMoves(const Dfa& dfa, uint32_t s, const std::vector<bool>& live, const std::vector<Class>& class_of,
                Visit visit) {
  const auto row = dfa.EdgesOf(s);
  for (size_t i = 0; i < row.size();) {
    if (!live[row[i].to]) {
      ++i;
      continue;
    }
    const uint32_t lo = row[i].lo;
    const Class to = class_of[row[i].to];
    uint32_t hi = row[i].hi;
    for (++i; i < row.size() && live[row[i].to] && class_of[row[i].to] == to && row[i].lo == hi + 1 &&
              lo < kTokenSymbol;
         ++i) {
      hi = row[i].hi;
    }
    visit(lo, hi, to);
  }
}

uint64_t Mix(uint64_t h, uint64_t x) {
  h = (h ^ x) * 0xFF51AFD7ED558CCDull;
  return h ^ (h >> 29);
}

// Whether members of each class do the same: what the refinement found by hashes is then so.
bool Agree(const Dfa& dfa, const std::vector<bool>& live, const std::vector<uint32_t>& class_of,
           uint32_t classes) {
  std::vector<uint32_t> first(classes, UINT32_MAX);
  std::vector<Dfa::Edge> a, b;
  const auto moves = [&](uint32_t s, std::vector<Dfa::Edge>* out) {
    out->clear();
    VisitMoves(dfa, s, live, class_of, [&](uint32_t lo, uint32_t hi, uint32_t to) {
      out->push_back({lo, hi, to});
    });
  };
  for (uint32_t s = 0; s < dfa.states(); ++s) {
    uint32_t& f = first[class_of[s]];
    if (f == UINT32_MAX) f = s;
    if (f == s || !live[s]) continue;
    moves(f, &a);
    moves(s, &b);
    if (a != b || dfa.accept[f] != dfa.accept[s] || !live[f]) return false;
  }
  return true;
}

// Moore's refinement, classes told apart by hashes and checked at the end. Gives up, with a correct but
// larger automaton, when many rounds have not finished (long chains refine by one state a round).
Dfa Minimize(const Dfa& dfa) {
  const std::vector<bool> live = LiveStates(dfa);
  const uint32_t n = dfa.states();
  std::vector<uint32_t> class_of(n);
  for (uint32_t s = 0; s < n; ++s) class_of[s] = s;
  constexpr int kRounds = 40;
  constexpr uint32_t kMaxStates = 20000;
  if (n > kMaxStates) return Quotient(dfa, class_of, n, live);
  std::vector<uint64_t> hash(n), next(n), sorted;
  for (uint32_t s = 0; s < n; ++s) hash[s] = live[s] ? (dfa.accept[s] ? 2 : 1) : 0;
  size_t classes = 0;
  for (int round = 0; round < kRounds; ++round) {
    for (uint32_t s = 0; s < n; ++s) {
      uint64_t h = Mix(0x9E3779B97F4A7C15ull, hash[s]);
      VisitMoves(dfa, s, live, hash, [&](uint32_t lo, uint32_t hi, uint64_t to) {
        h = Mix(Mix(h, uint64_t{lo} << 32 | hi), to);
      });
      next[s] = live[s] ? h : 0;
    }
    hash.swap(next);
    sorted = hash;
    std::sort(sorted.begin(), sorted.end());
    sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
    if (sorted.size() != classes) {
      classes = sorted.size();
      continue;
    }
    std::vector<uint32_t> found(n);
    for (uint32_t s = 0; s < n; ++s) {
      found[s] =
          static_cast<uint32_t>(std::lower_bound(sorted.begin(), sorted.end(), hash[s]) - sorted.begin());
    }
    if (Agree(dfa, live, found, static_cast<uint32_t>(classes))) class_of = std::move(found);
    break;
  }
  return Quotient(dfa, class_of, n, live);
}

}  // namespace

bool Dfa::Matches(std::span<const uint32_t> symbols) const {
  uint32_t s = 0;
  for (const uint32_t symbol : symbols) {
    const auto row = EdgesOf(s);
    const auto it = std::find_if(row.begin(), row.end(),
                                 [symbol](const Edge& e) { return e.lo <= symbol && symbol <= e.hi; });
    if (it == row.end()) return false;
    s = it->to;
  }
  return accept[s];
}

Expected<Dfa> Determinize(const Nfa& nfa, Budget* budget, bool* too_large) {
  LATHE_ASSIGN_OR_RETURN(const Dfa dfa, SubsetConstruction(nfa, budget).Run(too_large));
  if (too_large != nullptr && *too_large) return dfa;
  return Minimize(dfa);
}

Expected<Dfa> Combine(const Dfa& a, const Dfa& b, SetOp op, Budget* budget) {
  constexpr uint32_t kDead = UINT32_MAX;  // b has fallen off
  std::unordered_map<uint64_t, uint32_t> ids;
  std::vector<std::pair<uint32_t, uint32_t>> pairs;
  const auto id_of = [&](uint32_t x, uint32_t y) {
    const auto [it, fresh] = ids.try_emplace(uint64_t{x} << 32 | y, static_cast<uint32_t>(pairs.size()));
    if (fresh) pairs.emplace_back(x, y);
    return it->second;
  };
  id_of(0, 0);
  Dfa out;
  for (size_t i = 0; i < pairs.size(); ++i) {
    const auto [x, y] = pairs[i];
    const bool in_b = y != kDead && b.accept[y];
    out.accept.push_back(a.accept[x] && (op == SetOp::kAnd ? in_b : !in_b));
    const auto row = y == kDead ? std::span<const Dfa::Edge>() : b.EdgesOf(y);
    size_t j = 0;
    LATHE_RETURN_IF_ERROR(budget->Take(64));
    for (const Dfa::Edge& e : a.EdgesOf(x)) {
      for (uint32_t lo = e.lo; lo <= e.hi;) {
        while (j < row.size() && row[j].hi < lo) ++j;
        uint32_t hi = e.hi;
        uint32_t to = kDead;
        if (j < row.size() && row[j].lo <= lo) {
          hi = std::min(hi, row[j].hi);
          to = row[j].to;
        } else if (j < row.size()) {
          hi = std::min(hi, row[j].lo - 1);
        }
        if (to != kDead || op == SetOp::kWithout) {
          LATHE_RETURN_IF_ERROR(budget->Take(sizeof(Dfa::Edge)));
          out.edges.push_back({lo, hi, id_of(e.to, to)});
        }
        lo = hi + 1;
      }
    }
    out.begin.push_back(static_cast<uint32_t>(out.edges.size()));
  }
  return Minimize(out);
}

}  // namespace lathe::grammar
