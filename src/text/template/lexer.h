// Template text to tokens, with the whitespace rules that chat templates are written for: the first newline
// behind a block is dropped, blanks before a block on its line are dropped, `-` and `+` override both.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/template/value.h"

namespace lathe::tmpl {

enum class TokenKind : uint8_t {
  kData,
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  uint32_t line = 1;
  std::string text;  // data, name, operator, or the string's value
  Int integer = 0;
  double real = 0;

  bool IsName(std::string_view name) const { return kind == TokenKind::kName && text == name; }
  bool IsOp(std::string_view op) const { return kind == TokenKind::kOperator && text == op; }
};

// Ends with one kEnd token. Errors: kInvalidArgument with the line.
Expected<std::vector<Token>> Tokenize(std::string_view source);

// For messages: 'end of block', 'foo', ...
std::string Describe(const Token& token);

}  // namespace lathe::tmpl
