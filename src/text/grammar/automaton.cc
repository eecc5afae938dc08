#include "text/grammar/automaton.h"

#include <algorithm>

namespace lathe::grammar {
namespace {

// Rules still as automata over symbols, states numbered through; then cut, analysed and flattened.
class RuleCompiler {
 public:
  RuleCompiler(ExprPool* pool, const std::array<bool, 256>& usable) : pool_(pool), usable_(usable) {}

  Expected<Automaton> Run() {
    LATHE_RETURN_IF_ERROR(Build());
    LATHE_RETURN_IF_ERROR(FindLive());
    if (!live_[start_[0]]) {
      return Error(StatusCode::kInvalidArgument,
                   "the format allows no text at all; nothing can be generated for it");
    }
    LATHE_RETURN_IF_ERROR(Flatten());
    LATHE_RETURN_IF_ERROR(FindNullable());
    LATHE_RETURN_IF_ERROR(FindFirst());
    return std::move(out_);
  }

 private:
  // Rules that the root reaches get automata; making one may add counted rules and their bodies.
  Status Build() {
    std::vector<bool> wanted(1, true);
    std::vector<RuleId> work = {0};
    const auto want = [&](RuleId r) {
      if (wanted.size() < pool_->rules()) wanted.resize(pool_->rules());
      if (!wanted[r]) {
        wanted[r] = true;
        work.push_back(r);
      }
    };
    while (!work.empty()) {
      const RuleId rule = work.back();
      work.pop_back();
      dfas_.resize(std::max<size_t>(dfas_.size(), pool_->rules()));
      counter_of_.resize(std::max<size_t>(counter_of_.size(), pool_->rules()), Automaton::kNoState);
      if (counter_of_[rule] != Automaton::kNoState) {
        want(out_.counters[counter_of_[rule]].body);
        continue;
      }
      std::vector<CountedRule> counted;
      LATHE_ASSIGN_OR_RETURN(dfas_[rule], ByteDfa(pool_, pool_->body(rule), &counted));
      counter_of_.resize(std::max<size_t>(counter_of_.size(), pool_->rules()), Automaton::kNoState);
      for (const CountedRule& c : counted) {
        counter_of_[c.rule] = static_cast<uint32_t>(out_.counters.size());
        out_.counters.push_back({c.body, c.min, c.max});
      }
      for (const Dfa::Edge& e : dfas_[rule].edges) {
        if (e.lo >= kCallSymbol) want(e.lo - kCallSymbol);
      }
    }
    wanted.resize(pool_->rules());
    dfas_.resize(pool_->rules());
    counter_of_.resize(pool_->rules(), Automaton::kNoState);
    start_.resize(pool_->rules(), Automaton::kNoState);
    for (RuleId r = 0; r < pool_->rules(); ++r) {
      if (!wanted[r]) continue;
      start_[r] = static_cast<uint32_t>(rule_of_.size());
      const uint32_t n = counter_of_[r] == Automaton::kNoState ? dfas_[r].states() : 1;
      rule_of_.resize(rule_of_.size() + n, r);
    }
    return Status::Ok();
  }

  // A state is live when it accepts, or a byte or token leads to a live state, or a call of a rule whose
  // start is live returns to a live state.
  Status FindLive() {
    struct Condition {
      uint32_t state, other;  // live together ...
    };
    std::vector<std::vector<Condition>> waits(rule_of_.size());  // ... with the state it waits for
    live_.resize(rule_of_.size());
    std::vector<uint32_t> work;
    const auto set = [&](uint32_t s) {
      if (!live_[s]) {
        live_[s] = true;
        work.push_back(s);
      }
    };
    for (uint32_t s = 0; s < rule_of_.size(); ++s) {
      const RuleId r = rule_of_[s];
      if (counter_of_[r] != Automaton::kNoState) {
        const auto& c = out_.counters[counter_of_[r]];
        if (c.min == 0) set(s);
        waits[start_[c.body]].push_back({s, start_[c.body]});
        continue;
      }
      const uint32_t local = s - start_[r];
      if (dfas_[r].accept[local]) set(s);
      for (const Dfa::Edge& e : dfas_[r].EdgesOf(local)) {
        const uint32_t to = start_[r] + e.to;
        LATHE_RETURN_IF_ERROR(pool_->budget()->Take(sizeof(Condition)));
        if (e.lo >= kCallSymbol) {
          const uint32_t callee = start_[e.lo - kCallSymbol];
          waits[to].push_back({s, callee});
          waits[callee].push_back({s, to});
        } else if (e.lo >= kTokenSymbol || AnyUsable(e)) {
          waits[to].push_back({s, to});
        }
      }
    }
    while (!work.empty()) {
      const uint32_t s = work.back();
      work.pop_back();
      for (const Condition& c : waits[s]) {
        if (live_[c.other]) set(c.state);
      }
    }
    return Status::Ok();
  }

  bool AnyUsable(const Dfa::Edge& e) const {
    return std::any_of(usable_.begin() + e.lo, usable_.begin() + e.hi + 1, [](bool b) { return b; });
  }

  Status Flatten() {
    new_id_.assign(rule_of_.size(), Automaton::kNoState);
    uint32_t n = 0;
    for (uint32_t s = 0; s < rule_of_.size(); ++s) {
      if (live_[s]) new_id_[s] = n++;
    }
    LATHE_RETURN_IF_ERROR(pool_->budget()->Take((n + 1) * sizeof(Automaton::State)));
    for (uint32_t s = 0; s < rule_of_.size(); ++s) {
      if (!live_[s]) continue;
      const RuleId r = rule_of_[s];
      Automaton::State state = Begin();
      if (counter_of_[r] != Automaton::kNoState) {
        state.counter = counter_of_[r];
        Automaton::Counter& counter = out_.counters[state.counter];
        if (!live_[start_[counter.body]]) counter.max = 0;
      } else {
        const uint32_t local = s - start_[r];
        state.accept = dfas_[r].accept[local];
        for (const Dfa::Edge& e : dfas_[r].EdgesOf(local)) {
          LATHE_RETURN_IF_ERROR(AddEdge(e, start_[r] + e.to));
        }
        state.trivial = state.accept && state.bytes == out_.bytes.size() &&
                        state.tokens == out_.tokens.size() && state.calls == out_.calls.size();
      }
      out_.states.push_back(state);
    }
    out_.states.push_back(Begin());
    // Rules that are never called keep a number, and any state for a start.
    out_.rules.resize(pool_->rules());
    for (RuleId r = 0; r < pool_->rules(); ++r) {
      if (start_[r] != Automaton::kNoState && live_[start_[r]]) out_.rules[r].start = new_id_[start_[r]];
    }
    std::sort(out_.token_ids.begin(), out_.token_ids.end());
    out_.token_ids.erase(std::unique(out_.token_ids.begin(), out_.token_ids.end()), out_.token_ids.end());
    return Status::Ok();
  }

  Automaton::State Begin() const {
    Automaton::State state;
    state.bytes = static_cast<uint32_t>(out_.bytes.size());
    state.tokens = static_cast<uint32_t>(out_.tokens.size());
    state.calls = static_cast<uint32_t>(out_.calls.size());
    return state;
  }

  Status AddEdge(const Dfa::Edge& e, uint32_t target) {
    const uint32_t to = new_id_[target];
    if (to == Automaton::kNoState) return Status::Ok();
    LATHE_RETURN_IF_ERROR(pool_->budget()->Take(sizeof(Automaton::ByteEdge)));
    if (e.lo >= kCallSymbol) {
      const RuleId callee = e.lo - kCallSymbol;
      if (live_[start_[callee]]) out_.calls.push_back({callee, to});
    } else if (e.lo >= kTokenSymbol) {
      for (uint32_t t = e.lo; t <= e.hi; ++t) {
        out_.tokens.push_back({static_cast<int32_t>(t - kTokenSymbol), to});
        out_.token_ids.push_back(out_.tokens.back().token);
      }
    } else {
      for (uint32_t b = e.lo; b <= e.hi; ++b) {
        if (!usable_[b]) continue;
        const uint32_t first = b;
        while (b < e.hi && usable_[b + 1]) ++b;
        out_.bytes.push_back({static_cast<uint8_t>(first), static_cast<uint8_t>(b), to});
      }
    }
    return Status::Ok();
  }

  // Whether the rule may end at `state` without another byte, by what is known so far.
  bool Ends(uint32_t state) {
    std::vector<uint32_t> work = {state}, seen = work;
    while (!work.empty()) {
      const uint32_t s = work.back();
      work.pop_back();
      if (Accepts(s) || out_.states[s].ends) return true;
      for (const auto& call : out_.CallsOf(s)) {
        if (out_.rules[call.rule].nullable && std::find(seen.begin(), seen.end(), call.ret) == seen.end()) {
          work.push_back(call.ret);
          seen.push_back(call.ret);
        }
      }
    }
    return false;
  }

  bool Accepts(uint32_t s) const {
    const auto& state = out_.states[s];
    return state.counter == Automaton::kNoState ? state.accept : out_.counters[state.counter].min == 0;
  }

  Status FindNullable() {
    for (bool changed = true; changed;) {
      changed = false;
      // Backwards: rules are mostly numbered before those they call.
      for (size_t i = out_.rules.size(); i-- > 0;) {
        Automaton::Rule& rule = out_.rules[i];
        if (rule.nullable || !IsCalled(static_cast<RuleId>(i))) continue;
        LATHE_RETURN_IF_ERROR(pool_->budget()->Take(0));
        const uint32_t counter = out_.states[rule.start].counter;
        if (Ends(rule.start) ||
            (counter != Automaton::kNoState && out_.rules[out_.counters[counter].body].nullable)) {
          rule.nullable = changed = true;
          if (counter != Automaton::kNoState) out_.counters[counter].min = 0;
        }
      }
    }
    for (uint32_t s = 0; s + 1 < out_.states.size(); ++s) out_.states[s].ends = Ends(s);
    return Status::Ok();
  }

  bool IsCalled(RuleId r) const { return start_[r] != Automaton::kNoState && live_[start_[r]]; }

  Status FindFirst() {
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t i = out_.rules.size(); i-- > 0;) {
        if (!IsCalled(static_cast<RuleId>(i))) continue;
        LATHE_RETURN_IF_ERROR(pool_->budget()->Take(0));
        changed |= out_.rules[i].first.Merge(FirstOf(out_.rules[i].start));
      }
    }
    return Status::Ok();
  }

  FirstSet FirstOf(uint32_t start) const {
    FirstSet first;
    if (const uint32_t counter = out_.states[start].counter; counter != Automaton::kNoState) {
      return out_.rules[out_.counters[counter].body].first;
    }
    std::vector<uint32_t> work = {start}, seen = work;
    while (!work.empty()) {
      const uint32_t s = work.back();
      work.pop_back();
      for (uint32_t i = out_.states[s].bytes; i < out_.states[s + 1].bytes; ++i) {
        for (uint32_t b = out_.bytes[i].lo; b <= out_.bytes[i].hi; ++b) first.Set(b);
      }
      if (!out_.TokensOf(s).empty()) first.Set(FirstSet::kToken);
      for (const auto& call : out_.CallsOf(s)) {
        first.Merge(out_.rules[call.rule].first);
        if (out_.rules[call.rule].nullable && std::find(seen.begin(), seen.end(), call.ret) == seen.end()) {
          work.push_back(call.ret);
          seen.push_back(call.ret);
        }
      }
    }
    return first;
  }

  ExprPool* pool_;
  const std::array<bool, 256>& usable_;
  Automaton out_;
  std::vector<Dfa> dfas_;             // [rule]
  std::vector<uint32_t> counter_of_;  // [rule]
  std::vector<uint32_t> start_;       // [rule] before cutting
  std::vector<RuleId> rule_of_;       // [state before cutting]
  std::vector<bool> live_;
  std::vector<uint32_t> new_id_;
};

}  // namespace

size_t Automaton::Bytes() const {
  return states.size() * sizeof(State) + bytes.size() * sizeof(ByteEdge) + tokens.size() * sizeof(TokenEdge) +
         calls.size() * sizeof(Call) + counters.size() * sizeof(Counter) + rules.size() * sizeof(Rule);
}

Expected<Automaton> CompileRules(ExprPool* pool, const std::array<bool, 256>& usable) {
  return RuleCompiler(pool, usable).Run();
}

}  // namespace lathe::grammar
