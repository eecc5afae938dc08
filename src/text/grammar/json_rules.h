// The pieces of JSON texts that every schema shares.
//
// White space. A model left free to write any writes it without end, so: nothing, one space, or one line
// break and at most 32 spaces or tabs, behind '{', '[' and ',' and before '}' and ']'; at most one space
// behind ':'; none elsewhere. Empty objects and arrays have none. Numbers. At most 18 digits for integers;
// else at most 16 digits before and behind the point and an exponent of at most two: every one can be read
// into a double.
#pragma once

#include <optional>
#include <string_view>

#include "base/json.h"
#include "text/grammar/expr.h"

namespace lathe::grammar {

// Rules of one pool, made when first asked for.
class JsonRules {
 public:
  explicit JsonRules(ExprPool* pool) : pool_(pool) {}

  ExprPool* pool() { return pool_; }
  ExprId Space() { return Shared(&space_, &JsonRules::MakeSpace); }
  ExprId Value() { return Shared(&value_, &JsonRules::MakeValue); }
  ExprId Object() { return Shared(&object_, &JsonRules::MakeObject); }
  ExprId Array() { return Shared(&array_, &JsonRules::MakeArray); }
  ExprId String() { return Shared(&string_, &JsonRules::MakeString); }
  ExprId Number() { return Shared(&number_, &JsonRules::MakeNumber); }
  ExprId Integer() { return Shared(&integer_, &JsonRules::MakeInteger); }
  ExprId Boolean() { return pool_->Alt({pool_->String("true"), pool_->String("false")}); }
  ExprId Null() { return pool_->String("null"); }

  // One character of a string in any of its spellings.
  ExprId AnyCharacter();
  ExprId Quoted(ExprId content) { return pool_->Seq({pool_->String("\""), content, pool_->String("\"")}); }
  // "," and the space behind it.
  ExprId Comma() { return pool_->Seq({pool_->String(","), Space()}); }
  ExprId Colon() { return pool_->Seq({pool_->String(":"), pool_->Optional(pool_->String(" "))}); }
  // Between brackets with space; empty: whether nothing may stand there.
  ExprId Bracketed(char open, ExprId content, char close, bool empty);
  // Exactly this value (its depth is bounded by the parser's limit).
  ExprId Literal(const Json& value);

 private:
  using Make = ExprId (JsonRules::*)();
  ExprId Shared(std::optional<RuleId>* rule, Make make);
  ExprId MakeSpace();
  ExprId MakeValue();
  ExprId MakeObject();
  ExprId MakeArray();
  ExprId MakeString();
  ExprId MakeNumber();
  ExprId MakeInteger();
  ExprId Digits(uint32_t min, uint32_t max);
  ExprId Chars(std::string_view chars);

  ExprPool* pool_;
  std::optional<RuleId> space_, value_, object_, array_, string_, number_, integer_;
};

}  // namespace lathe::grammar
