#include "text/grammar/json_rules.h"

#include "text/grammar/front_ends.h"

namespace lathe::grammar {
namespace {

constexpr uint32_t kMaxIndent = 32;

}  // namespace

ExprId JsonRules::Shared(std::optional<RuleId>* rule, Make make) {
  if (!rule->has_value()) {
    *rule = pool_->AddRule("json");
    if (pool_->status().ok()) pool_->SetBody(**rule, (this->*make)());
  }
  return pool_->Rule(**rule);
}

ExprId JsonRules::Chars(std::string_view chars) {
  std::vector<CodeRange> ranges;
  for (const char c : chars) ranges.push_back({static_cast<uint8_t>(c), static_cast<uint8_t>(c)});
  return pool_->Class(CodeSet(std::move(ranges)), Spelling::kPlain);
}

ExprId JsonRules::Digits(uint32_t min, uint32_t max) {
  return pool_->Repeat(pool_->Class(CodeSet::Digits(), Spelling::kPlain), min, max);
}

ExprId JsonRules::MakeSpace() {
  const ExprId line = pool_->Seq({pool_->String("\n"), pool_->Repeat(Chars(" \t"), 0, kMaxIndent)});
  return pool_->Alt({pool_->Empty(), pool_->String(" "), line});
}

ExprId JsonRules::MakeValue() {
  return pool_->Alt({Object(), Array(), String(), Number(), Boolean(), Null()});
}

ExprId JsonRules::MakeObject() {
  const ExprId pair = pool_->Seq({String(), Colon(), Value()});
  const ExprId more = pool_->Repeat(pool_->Seq({Comma(), pair}), 0, kUnbounded);
  return Bracketed('{', pool_->Seq({pair, more}), '}', true);
}

ExprId JsonRules::MakeArray() {
  const ExprId more = pool_->Repeat(pool_->Seq({Comma(), Value()}), 0, kUnbounded);
  return Bracketed('[', pool_->Seq({Value(), more}), ']', true);
}

ExprId JsonRules::AnyCharacter() {
  const auto set = [&](std::initializer_list<CodeRange> ranges) {
    return pool_->Class(CodeSet(std::vector<CodeRange>(ranges)), Spelling::kPlain);
  };
  const ExprId plain = set({{0x20, 0x21}, {0x23, 0x5B}, {0x5D, kMaxCodePoint}});
  const ExprId hex = set({{'0', '9'}, {'a', 'f'}, {'A', 'F'}});
  const ExprId not_d = set({{'0', '9'}, {'a', 'c'}, {'A', 'C'}, {'e', 'f'}, {'E', 'F'}});
  const ExprId d = Chars("dD");
  const ExprId u = pool_->String("\\u");
  const ExprId code =
      pool_->Alt({pool_->Seq({not_d, hex, hex, hex}), pool_->Seq({d, set({{'0', '7'}}), hex, hex})});
  const ExprId pair = pool_->Seq({d, Chars("89abAB"), hex, hex, u, d, Chars("cdefCDEF"), hex, hex});
  return pool_->Alt({plain, pool_->Seq({pool_->String("\\"), Chars("\"\\/bfnrt")}),
                     pool_->Seq({u, pool_->Alt({code, pair})})});
}

ExprId JsonRules::MakeString() { return Quoted(pool_->Repeat(AnyCharacter(), 0, kUnbounded)); }

ExprId JsonRules::MakeInteger() {
  const ExprId number = pool_->Seq({pool_->Class(CodeSet({{'1', '9'}}), Spelling::kPlain), Digits(0, 17)});
  return pool_->Seq({pool_->Optional(pool_->String("-")), pool_->Alt({pool_->String("0"), number})});
}

ExprId JsonRules::MakeNumber() {
  const ExprId whole = pool_->Seq({pool_->Class(CodeSet({{'1', '9'}}), Spelling::kPlain), Digits(0, 15)});
  const ExprId fraction = pool_->Seq({pool_->String("."), Digits(1, 16)});
  const ExprId exponent = pool_->Seq({Chars("eE"), pool_->Optional(Chars("+-")), Digits(1, 2)});
  return pool_->Seq({pool_->Optional(pool_->String("-")), pool_->Alt({pool_->String("0"), whole}),
                     pool_->Optional(fraction), pool_->Optional(exponent)});
}

ExprId JsonRules::Bracketed(char open, ExprId content, char close, bool empty) {
  ExprId inside = pool_->Seq({Space(), content, Space()});
  if (empty) inside = pool_->Optional(inside);
  return pool_->Seq({pool_->String(std::string(1, open)), inside, pool_->String(std::string(1, close))});
}

ExprId JsonRules::Literal(const Json& value) {
  if (!value.is_structured() || value.empty()) return pool_->String(DumpJson(value));
  std::vector<ExprId> items;
  for (const auto& [key, item] : value.items()) {
    if (!items.empty()) items.push_back(Comma());
    if (value.is_object()) {
      items.push_back(pool_->String(DumpJson(Json(key))));
      items.push_back(Colon());
    }
    items.push_back(Literal(item));
  }
  const ExprId content = pool_->Seq(items);
  return value.is_object() ? Bracketed('{', content, '}', false) : Bracketed('[', content, ']', false);
}

ExprId JsonObjectExpr(ExprPool* pool) { return JsonRules(pool).Object(); }

}  // namespace lathe::grammar
