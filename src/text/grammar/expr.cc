#include "text/grammar/expr.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "text/utf8.h"

namespace lathe::grammar {
namespace {

// Larger repetitions than this many states are counted at run time instead of written out.
constexpr uint64_t kMaxWrittenOut = 4096;
constexpr int kMaxNesting = 1000;

class NfaBuilder {
 public:
  // counted null: symbols are code points, and every repetition is written out.
  NfaBuilder(ExprPool* pool, std::vector<CountedRule>* counted, uint64_t max_written_out = kMaxWrittenOut)
      : pool_(pool), counted_(counted), max_written_out_(max_written_out) {}

  Expected<Nfa> Build(ExprId id) {
    const uint32_t start = nfa_.AddState();
    const uint32_t end = nfa_.AddState();
    nfa_.set_accept(end);
    LATHE_RETURN_IF_ERROR(Add(id, start, end, 0));
    return std::move(nfa_);
  }

 private:
  Status Add(ExprId id, uint32_t from, uint32_t to, int nesting) {
    LATHE_RETURN_IF_ERROR(pool_->budget()->Take(32));
    if (nesting > kMaxNesting) {
      return Error(StatusCode::kResourceExhausted, "the grammar nests groups more than %d deep", kMaxNesting);
    }
    const ExprPool::Expr e = pool_->at(id);  // a copy: the pool may grow
    switch (e.kind) {
      case ExprPool::Kind::kEmpty: nfa_.AddEmpty(from, to); return Status::Ok();
      case ExprPool::Kind::kNever: return Status::Ok();
      case ExprPool::Kind::kString: return AddString(std::string(pool_->StringOf(e)), from, to);
      case ExprPool::Kind::kClass:
        AddClass(pool_->SetOf(e), e.spelling, from, to);
        return pool_->budget()->Take(pool_->SetOf(e).ranges().size() * 64);
      case ExprPool::Kind::kSeq: return AddSeq(e, from, to, nesting);
      case ExprPool::Kind::kAlt:
        for (uint32_t i = 0; i < e.b; ++i) {
          LATHE_RETURN_IF_ERROR(Add(pool_->KidsOf(e)[i], from, to, nesting + 1));
        }
        return Status::Ok();
      case ExprPool::Kind::kRepeat: return AddRepeat(e, from, to, nesting);
      case ExprPool::Kind::kRule: nfa_.AddEdge(from, kCallSymbol + e.a, kCallSymbol + e.a, to); break;
      case ExprPool::Kind::kToken: nfa_.AddEdge(from, kTokenSymbol + e.a, kTokenSymbol + e.a, to); break;
      case ExprPool::Kind::kDfa: return AddDfa(e, from, to);
      case ExprPool::Kind::kGraph: return AddGraph(pool_->GraphOf(e), from, to, nesting);
    }
    return Status::Ok();
  }

  Status AddString(const std::string& bytes, uint32_t from, uint32_t to) {
    if (bytes.empty()) nfa_.AddEmpty(from, to);
    for (size_t i = 0; i < bytes.size();) {
      uint32_t symbol = static_cast<uint8_t>(bytes[i]);
      size_t length = 1;
      if (counted_ == nullptr) {
        const text::Utf8Step step = text::NextUtf8(bytes, i);
        symbol = static_cast<uint32_t>(step.code_point);
        length = step.length;
      }
      i += length;
      const uint32_t next = i >= bytes.size() ? to : nfa_.AddState();
      nfa_.AddEdge(from, symbol, symbol, next);
      from = next;
      LATHE_RETURN_IF_ERROR(pool_->budget()->Take(32));
    }
    return Status::Ok();
  }

  Status AddSeq(const ExprPool::Expr& e, uint32_t from, uint32_t to, int nesting) {
    if (e.b == 0) nfa_.AddEmpty(from, to);
    for (uint32_t i = 0; i < e.b; ++i) {
      const uint32_t next = i + 1 == e.b ? to : nfa_.AddState();
      LATHE_RETURN_IF_ERROR(Add(pool_->KidsOf(e)[i], from, next, nesting + 1));
      from = next;
    }
    return Status::Ok();
  }

  Status AddRepeat(const ExprPool::Expr& e, uint32_t from, uint32_t to, int nesting) {
    const uint64_t copies = e.c == kUnbounded ? uint64_t{e.b} + 1 : e.c;
    if (counted_ != nullptr && copies > 1 && copies * Size(e.a, 0) > max_written_out_) {
      ExprId body = e.a;
      if (pool_->at(body).kind != ExprPool::Kind::kRule) body = pool_->AsRule("repeated", body);
      const RuleId rule = pool_->AddRule("repetition");
      LATHE_RETURN_IF_ERROR(pool_->status());
      counted_->push_back({rule, pool_->at(body).a, e.b, e.c});
      nfa_.AddEdge(from, kCallSymbol + rule, kCallSymbol + rule, to);
      return Status::Ok();
    }
    if (counted_ != nullptr && Size(e.a, 0) > max_written_out_ &&
        pool_->at(e.a).kind != ExprPool::Kind::kRule) {
      const ExprId body = pool_->AsRule("repeated", e.a);
      LATHE_RETURN_IF_ERROR(pool_->status());
      return AddCopies(body, e.b, e.c, from, to, nesting);
    }
    return AddCopies(e.a, e.b, e.c, from, to, nesting);
  }

  Status AddCopies(ExprId body, uint32_t min, uint32_t max, uint32_t from, uint32_t to, int nesting) {
    uint32_t state = from;
    for (uint32_t i = 0; i < min; ++i) {
      const uint32_t next = nfa_.AddState();
      LATHE_RETURN_IF_ERROR(Add(body, state, next, nesting + 1));
      state = next;
    }
    if (max == kUnbounded) {
      const uint32_t loop = nfa_.AddState();  // of its own: others may lead into `state` and out of `to`
      nfa_.AddEmpty(state, loop);
      nfa_.AddEmpty(loop, to);
      return Add(body, loop, loop, nesting + 1);
    }
    nfa_.AddEmpty(state, to);
    for (uint32_t i = min; i < max; ++i) {
      const uint32_t next = nfa_.AddState();
      LATHE_RETURN_IF_ERROR(Add(body, state, next, nesting + 1));
      nfa_.AddEmpty(next, to);
      state = next;
    }
    return Status::Ok();
  }

  // A state that goes to `to` over [lo, hi] and does nothing else.
  uint32_t Before(uint32_t to, uint8_t lo, uint8_t hi) {
    const auto [it, fresh] = before_.try_emplace({to, lo, hi}, 0);
    if (fresh) {
      it->second = nfa_.AddState();
      nfa_.AddEdge(it->second, lo, hi, to);
    }
    return it->second;
  }

  void AddClass(const CodeSet& set, Spelling spelling, uint32_t from, uint32_t to) {
    if (counted_ == nullptr) {
      for (const CodeRange& r : set.ranges()) nfa_.AddEdge(from, r.lo, r.hi, to);
      return;
    }
    const CodeSet escaped({{0, 0x1F}, {'"', '"'}, {'\\', '\\'}});
    const bool json = spelling == Spelling::kJson;
    sequences_.clear();
    const CodeSet raw = json ? set.And(escaped.Not()) : set;
    for (const CodeRange& r : raw.ranges()) AppendUtf8Sequences(r, &sequences_);
    for (const ByteRangeSequence& s : sequences_) {
      uint32_t next = to;
      for (int i = s.length - 1; i > 0; --i) next = Before(next, s.lo[i], s.hi[i]);
      nfa_.AddEdge(from, s.lo[0], s.hi[0], next);
    }
    if (json) AddEscapes(set.And(escaped), from, to);
  }

  void AddEscapes(const CodeSet& set, uint32_t from, uint32_t to) {
    if (set.empty()) return;
    static constexpr std::pair<char, char> kShort[] = {{'"', '"'},  {'\\', '\\'}, {'\b', 'b'}, {'\f', 'f'},
                                                       {'\n', 'n'}, {'\r', 'r'},  {'\t', 't'}};
    const uint32_t escape = nfa_.AddState();
    nfa_.AddEdge(from, '\\', '\\', escape);
    for (const CodeRange& r : set.ranges()) {
      for (uint32_t c = r.lo; c <= r.hi; ++c) {
        const auto* const it = std::find_if(std::begin(kShort), std::end(kShort), [c](const auto& s) {
          return static_cast<uint8_t>(s.first) == c;
        });
        if (it != std::end(kShort)) {
          const auto letter = static_cast<uint8_t>(it->second);
          nfa_.AddEdge(escape, letter, letter, to);
          continue;
        }
        const auto low = static_cast<uint8_t>("0123456789abcdef"[c & 15]);
        const auto high = static_cast<uint8_t>('0' + (c >> 4));
        const uint32_t hex = Before(Before(Before(Before(to, low, low), high, high), '0', '0'), '0', '0');
        nfa_.AddEdge(escape, 'u', 'u', hex);
      }
    }
  }

  Status AddDfa(const ExprPool::Expr& e, uint32_t from, uint32_t to) {
    const Dfa& dfa = pool_->DfaOf(e);
    std::vector<uint32_t> states(dfa.states());
    for (uint32_t& s : states) s = nfa_.AddState();
    nfa_.AddEmpty(from, states[0]);
    std::map<uint32_t, std::vector<CodeRange>> by_target;
    for (uint32_t s = 0; s < dfa.states(); ++s) {
      if (dfa.accept[s]) nfa_.AddEmpty(states[s], to);
      by_target.clear();
      for (const Dfa::Edge& edge : dfa.EdgesOf(s)) by_target[edge.to].push_back({edge.lo, edge.hi});
      for (auto& [target, ranges] : by_target) {
        LATHE_RETURN_IF_ERROR(pool_->budget()->Take(ranges.size() * 64));
        if (counted_ == nullptr) {
          for (const CodeRange& r : ranges) nfa_.AddEdge(states[s], r.lo, r.hi, states[target]);
        } else {
          AddClass(CodeSet(std::move(ranges)), e.spelling, states[s], states[target]);
        }
      }
    }
    return Status::Ok();
  }

  Status AddGraph(const ExprPool::Graph& graph, uint32_t from, uint32_t to, int nesting) {
    LATHE_RETURN_IF_ERROR(pool_->budget()->Take(graph.nodes * size_t{8}));
    std::vector<uint32_t> states(graph.nodes);
    for (uint32_t& s : states) s = nfa_.AddState();
    nfa_.AddEmpty(from, states[0]);
    for (const uint32_t a : graph.accept) nfa_.AddEmpty(states[a], to);
    for (const auto& e : graph.edges) {
      LATHE_RETURN_IF_ERROR(Add(e.over, states[e.from], states[e.to], nesting + 1));
    }
    return Status::Ok();
  }

  // About how many states an expression takes when written out; saturates.
  uint64_t Size(ExprId id, int nesting) const {
    constexpr uint64_t kMuch = uint64_t{1} << 40;
    if (nesting > kMaxNesting) return kMuch;
    const ExprPool::Expr& e = pool_->at(id);
    uint64_t size = 1;
    switch (e.kind) {
      case ExprPool::Kind::kString: return e.b + uint64_t{1};
      case ExprPool::Kind::kClass: return pool_->SetOf(e).ranges().back().hi < 0x80 ? 1 : 8;
      case ExprPool::Kind::kSeq:
      case ExprPool::Kind::kAlt:
        for (uint32_t i = 0; i < e.b; ++i) size += Size(pool_->KidsOf(e)[i], nesting + 1);
        return std::min(size, kMuch);
      case ExprPool::Kind::kRepeat:
        size = Size(e.a, nesting + 1);
        // A counted rule of its own, when that is what it will be.
        size = size * (e.c == kUnbounded ? uint64_t{e.b} + 1 : e.c);
        return size > max_written_out_ ? 1 : size + 1;
      case ExprPool::Kind::kDfa: return pool_->DfaOf(e).edges.size() * 4 + 1;
      case ExprPool::Kind::kGraph:
        for (const auto& edge : pool_->GraphOf(e).edges) size += Size(edge.over, nesting + 1);
        return std::min(size, kMuch);
      default: return 1;
    }
  }

  ExprPool* pool_;
  std::vector<CountedRule>* counted_;
  uint64_t max_written_out_;
  Nfa nfa_;
  std::map<std::tuple<uint32_t, uint8_t, uint8_t>, uint32_t> before_;
  std::vector<ByteRangeSequence> sequences_;
};

}  // namespace

ExprId ExprPool::Add(Expr e, size_t extra_bytes) {
  if (Status s = budget_->Take(sizeof(Expr) + extra_bytes); !s.ok() && status_.ok()) status_ = std::move(s);
  exprs_.push_back(e);
  return static_cast<ExprId>(exprs_.size() - 1);
}

ExprId ExprPool::String(std::string_view bytes) {
  const auto begin = static_cast<uint32_t>(bytes_.size());
  bytes_ += bytes;
  return Add({.kind = Kind::kString, .a = begin, .b = static_cast<uint32_t>(bytes.size())}, bytes.size());
}

ExprId ExprPool::Class(CodeSet set, Spelling spelling) {
  if (set.empty()) return Never();
  const size_t bytes = set.ranges().size() * sizeof(CodeRange);
  sets_.push_back(std::move(set));
  return Add({.kind = Kind::kClass, .spelling = spelling, .a = static_cast<uint32_t>(sets_.size() - 1)},
             bytes);
}

ExprId ExprPool::Group(Kind kind, std::span<const ExprId> items) {
  if (items.size() == 1) return items[0];
  if (items.empty()) return kind == Kind::kSeq ? Empty() : Never();
  const auto begin = static_cast<uint32_t>(kids_.size());
  kids_.insert(kids_.end(), items.begin(), items.end());
  return Add({.kind = kind, .a = begin, .b = static_cast<uint32_t>(items.size())},
             items.size() * sizeof(ExprId));
}

ExprId ExprPool::Repeat(ExprId body, uint32_t min, uint32_t max) {
  if (max == 0) return Empty();
  if (min == 1 && max == 1) return body;
  return Add({.kind = Kind::kRepeat, .a = body, .b = min, .c = max});
}

ExprId ExprPool::OfDfa(Dfa dfa, Spelling spelling) {
  const size_t bytes = dfa.edges.size() * sizeof(Dfa::Edge);
  dfas_.push_back(std::move(dfa));
  return Add({.kind = Kind::kDfa, .spelling = spelling, .a = static_cast<uint32_t>(dfas_.size() - 1)}, bytes);
}

ExprId ExprPool::OfGraph(Graph graph) {
  const size_t bytes = graph.edges.size() * sizeof(Graph::Edge) + graph.accept.size() * 4;
  graphs_.push_back(std::make_unique<const Graph>(std::move(graph)));
  return Add({.kind = Kind::kGraph, .a = static_cast<uint32_t>(graphs_.size() - 1)}, bytes);
}

RuleId ExprPool::AddRule(std::string name) {
  const int limit = budget_->limits().rules;
  Status s = budget_->Take(64 + name.size());
  if (s.ok() && names_.size() >= static_cast<size_t>(limit)) {
    s = Error(StatusCode::kResourceExhausted, "the grammar needs more than the %d rules allowed", limit);
  }
  if (!s.ok()) {
    if (status_.ok()) status_ = std::move(s);
    if (!names_.empty()) return 0;  // the build fails anyway
  }
  names_.push_back(std::move(name));
  bodies_.push_back(kNoBody);
  return rules() - 1;
}

ExprId ExprPool::AsRule(std::string name, ExprId body) {
  const RuleId rule = AddRule(std::move(name));
  if (status_.ok()) SetBody(rule, body);
  return Rule(rule);
}

Expected<Dfa> CodePointDfa(ExprPool* pool, ExprId id) {
  LATHE_RETURN_IF_ERROR(pool->status());
  LATHE_ASSIGN_OR_RETURN(const Nfa nfa, NfaBuilder(pool, nullptr).Build(id));
  return Determinize(nfa, pool->budget());
}

Expected<Dfa> ByteDfa(ExprPool* pool, ExprId id, std::vector<CountedRule>* counted) {
  LATHE_RETURN_IF_ERROR(pool->status());
  LATHE_ASSIGN_OR_RETURN(const Nfa nfa, NfaBuilder(pool, counted).Build(id));
  bool too_large = false;
  LATHE_ASSIGN_OR_RETURN(Dfa dfa, Determinize(nfa, pool->budget(), &too_large));
  if (!too_large) return dfa;
  // Then what is repeated becomes rules of its own: the stacks keep apart what the states of one automaton
  // cannot.
  LATHE_ASSIGN_OR_RETURN(const Nfa smaller, NfaBuilder(pool, counted, 1).Build(id));
  return Determinize(smaller, pool->budget());
}

}  // namespace lathe::grammar
