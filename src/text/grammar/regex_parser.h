// The reader of regular expressions; EBNF shares its character classes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/grammar/expr.h"

namespace lathe::grammar {

// Reads one pattern.
class RegexParser {
 public:
  RegexParser(std::string_view pattern, Spelling spelling, ExprPool* pool)
      : text_(pattern), spelling_(spelling), pool_(pool) {}

  // Anchors come out as tokens, to be resolved by who called.
  static constexpr int32_t kBeginToken = 0, kEndToken = 1;
  Expected<ExprId> Parse();
  int begin_anchors() const { return begin_anchors_; }
  int end_anchors() const { return end_anchors_; }

  // The set of the class "[...]" that stands at *pos in text; *pos is left behind it.
  static Expected<CodeSet> ParseClass(std::string_view text, size_t* pos);

 private:
  Expected<ExprId> ParseAlternatives(int depth);
  Expected<ExprId> ParseSequence(int depth);
  Expected<ExprId> ParseAtom(int depth);
  Expected<ExprId> ParseGroup(int depth);
  Expected<ExprId> ParseEscape();
  Expected<ExprId> ParseQuantifiers(ExprId atom);
  Status Fault(StatusCode code, size_t at, const std::string& what) const;
  bool AtEnd() const { return pos_ >= text_.size(); }
  char Peek() const { return text_[pos_]; }

  std::string_view text_;
  Spelling spelling_;
  ExprPool* pool_;
  size_t pos_ = 0;
  int begin_anchors_ = 0, end_anchors_ = 0;
};

// The one character that the escape at *pos (of the backslash) stands for; *pos is left behind it.
Expected<char32_t> ReadEscapedCharacter(std::string_view text, size_t* pos);

// Reads "m}", "m,}", "m,n}" at *pos, behind the brace. False when it is something else; *fault is set when
// the numbers are out of range.
bool ParseBounds(std::string_view text, size_t* pos, uint32_t* min, uint32_t* max, Status* fault);

}  // namespace lathe::grammar
