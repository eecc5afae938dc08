// Rule bodies as expressions: what the front ends (regular expressions, EBNF, JSON schemas) build.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/grammar/budget.h"
#include "text/grammar/code_set.h"
#include "text/grammar/fa.h"

namespace lathe::grammar {

using ExprId = uint32_t;
using RuleId = uint32_t;
inline constexpr uint32_t kUnbounded = std::numeric_limits<uint32_t>::max();

// How characters are spelt. kJson: inside a JSON string, as themselves where JSON allows that, else by the
// one shortest escape.
enum class Spelling : uint8_t { kPlain, kJson };

// Expressions and rules of one grammar. Rule 0 is the root. Nesting is bounded by those who build it.
class ExprPool {
 public:
  enum class Kind : uint8_t {
    kEmpty,
    kNever,
    kString,
    kClass,
    kSeq,
    kAlt,
    kRepeat,
    kRule,
    kToken,
    kDfa,
    kGraph
  };
  struct Expr {
    Kind kind = Kind::kEmpty;
    Spelling spelling = Spelling::kPlain;
    uint32_t a =
        0;  // kString, kSeq, kAlt: begin; kClass, kDfa, kGraph: index; kRepeat: body; kRule, kToken: which
    uint32_t b = 0;  // kString, kSeq, kAlt: count; kRepeat: min
    uint32_t c = 0;  // kRepeat: max
  };

  explicit ExprPool(Budget* budget) : budget_(budget) {}

  ExprId Empty() { return Add({.kind = Kind::kEmpty}); }
  ExprId Never() { return Add({.kind = Kind::kNever}); }
  ExprId String(std::string_view bytes);
  // Code points; a kJson set is spelt with escapes where needed.
  ExprId Class(CodeSet set, Spelling spelling);
  ExprId Seq(std::span<const ExprId> items) { return Group(Kind::kSeq, items); }
  ExprId Seq(std::initializer_list<ExprId> items) { return Seq(std::span(items.begin(), items.size())); }
  ExprId Alt(std::span<const ExprId> items) { return Group(Kind::kAlt, items); }
  ExprId Alt(std::initializer_list<ExprId> items) { return Alt(std::span(items.begin(), items.size())); }
  ExprId Repeat(ExprId body, uint32_t min, uint32_t max);
  ExprId Optional(ExprId body) { return Repeat(body, 0, 1); }
  ExprId Rule(RuleId rule) { return Add({.kind = Kind::kRule, .a = rule}); }
  ExprId Token(int32_t id) { return Add({.kind = Kind::kToken, .a = static_cast<uint32_t>(id)}); }
  // The language of an automaton over code points.
  ExprId OfDfa(Dfa dfa, Spelling spelling);

  // Paths from node 0 to an accepting one, each edge an expression.
  struct Graph {
    struct Edge {
      uint32_t from, to;
      ExprId over;
    };
    uint32_t nodes = 1;
    std::vector<Edge> edges;
    std::vector<uint32_t> accept;

    uint32_t AddNode() { return nodes++; }
  };
  ExprId OfGraph(Graph graph);

  // A rule without a body yet; its name shows up in messages only.
  RuleId AddRule(std::string name);
  void SetBody(RuleId rule, ExprId body) { bodies_[rule] = body; }
  bool HasBody(RuleId rule) const { return bodies_[rule] != kNoBody; }
  // AddRule and SetBody.
  ExprId AsRule(std::string name, ExprId body);

  uint32_t rules() const { return static_cast<uint32_t>(bodies_.size()); }
  const std::string& name(RuleId rule) const { return names_[rule]; }
  ExprId body(RuleId rule) const { return bodies_[rule]; }
  const Expr& at(ExprId id) const { return exprs_[id]; }
  std::string_view StringOf(const Expr& e) const { return std::string_view(bytes_).substr(e.a, e.b); }
  std::span<const ExprId> KidsOf(const Expr& e) const { return {kids_.data() + e.a, e.b}; }
  const CodeSet& SetOf(const Expr& e) const { return sets_[e.a]; }
  const Dfa& DfaOf(const Expr& e) const { return dfas_[e.a]; }
  const Graph& GraphOf(const Expr& e) const { return *graphs_[e.a]; }

  // The first refusal of the budget or of the number of rules met while building; ok so far otherwise.
  const Status& status() const { return status_; }
  Budget* budget() { return budget_; }

 private:
  static constexpr ExprId kNoBody = UINT32_MAX;
  ExprId Add(Expr e, size_t extra_bytes = 0);
  ExprId Group(Kind kind, std::span<const ExprId> items);

  Budget* budget_;
  Status status_;
  std::vector<Expr> exprs_;
  std::string bytes_;
  std::vector<ExprId> kids_;
  std::vector<CodeSet> sets_;
  std::vector<Dfa> dfas_;
  std::vector<std::unique_ptr<const Graph>> graphs_;  // stay where they are while the pool grows
  std::vector<std::string> names_;
  std::vector<ExprId> bodies_;
};

// The automaton of an expression without calls and tokens, over code points.
Expected<Dfa> CodePointDfa(ExprPool* pool, ExprId id);

// The automaton of an expression over bytes, tokens and calls. A repetition too large to write out becomes a
// counted rule, of which the caller learns through `counted`.
struct CountedRule {
  RuleId rule;  // without a body of its own
  RuleId body;
  uint32_t min;
  uint32_t max;
};
Expected<Dfa> ByteDfa(ExprPool* pool, ExprId id, std::vector<CountedRule>* counted);

}  // namespace lathe::grammar
