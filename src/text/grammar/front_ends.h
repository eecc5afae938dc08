// From the sources that users write to expressions. Each returns the expression of the whole output, or a
// refusal.
#pragma once

#include <string_view>

#include "base/json.h"
#include "text/grammar/expr.h"
#include "text/grammar/grammar_vocab.h"

namespace lathe::grammar {

// Which part of a text the pattern must match. kSearch: somewhere in it, as in JSON schemas.
enum class RegexMatch : uint8_t { kWhole, kSearch };

// A regular expression; docs/grammars.md has the dialect. kUnsupported names what no automaton can do.
Expected<ExprId> ParseRegex(std::string_view pattern, RegexMatch match, Spelling spelling, ExprPool* pool);

// The rules of an EBNF grammar; the expression calls `root`.
Expected<ExprId> ParseEbnf(std::string_view source, const GrammarVocab& vocab, ExprPool* pool);

// Any JSON object.
ExprId JsonObjectExpr(ExprPool* pool);

// The values that a schema allows. `where` names it in messages.
Expected<ExprId> SchemaExpr(std::string_view source, std::string_view where, ExprPool* pool);

}  // namespace lathe::grammar
