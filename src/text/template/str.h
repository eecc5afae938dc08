// Strings of a template: UTF-8 text that knows, byte for byte, which part the template wrote and which part
// came with the request ("user"). Every operation that builds a string builds it with a StrBuilder, which
// carries the marks along; this is what keeps special tokens typed by a user from becoming control tokens.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "text/template/budget.h"

namespace lathe::tmpl {

// A run of bytes [end of the previous span, end) of one origin.
struct Span {
  size_t end;
  bool user;
};

// Immutable once built.
class Str {
 public:
  Str(std::string text, bool user, Budget* budget = nullptr);

  const std::string& text() const { return text_; }
  size_t size() const { return text_.size(); }
  // Length in code points, which is what templates count.
  size_t chars() const { return chars_; }
  bool empty() const { return text_.empty(); }
  // Is any byte from the user?
  bool any_user() const { return user_ || !spans_.empty(); }
  // Declared to be HTML ("|safe", "|escape"): joined with other text, the other text gets escaped.
  bool markup() const { return markup_; }

  // Byte offset of code point number `index` (clamped to the end).
  size_t ByteOffset(size_t index) const;
  // Number of code points before byte `offset`.
  size_t CharIndex(size_t offset) const;

  // Calls visit(begin, end, user) for the runs that make up bytes [begin, end).
  template <typename Visit>
  void ForEachSpan(size_t begin, size_t end, Visit visit) const {
    if (begin >= end) return;
    if (spans_.empty()) {
      visit(begin, end, user_);
      return;
    }
    for (size_t i = FirstSpan(begin); i < spans_.size() && begin < end; ++i) {
      const size_t stop = spans_[i].end < end ? spans_[i].end : end;
      visit(begin, stop, spans_[i].user);
      begin = stop;
    }
  }
  bool UserAt(size_t offset) const { return spans_.empty() ? user_ : spans_[FirstSpan(offset)].user; }

 private:
  friend class StrBuilder;
  size_t FirstSpan(size_t offset) const;

  std::string text_;
  std::vector<Span> spans_;  // empty when all of one origin, `user_`
  bool user_ = false;
  bool markup_ = false;
  size_t chars_ = 0;
  Charge charge_;
};

// Collects pieces and their origin. Stops growing (and says so) at `max_bytes`.
class StrBuilder {
 public:
  explicit StrBuilder(size_t max_bytes) : max_bytes_(max_bytes) {}

  void Append(std::string_view text, bool user);
  void Append(const Str& s) { Append(s, 0, s.size()); }
  // Bytes [begin, end) of `s` with their origins.
  void Append(const Str& s, size_t begin, size_t end);
  void Fill(size_t count, std::string_view piece, bool user);

  // The string will be markup.
  void SetMarkup(bool markup) { markup_ = markup; }

  // Marks all bytes from `begin` on as the user's if any of them is.
  void Unify(size_t begin);

  size_t size() const { return text_.size(); }
  bool overflow() const { return overflow_; }
  size_t max_bytes() const { return max_bytes_; }
  const std::string& text() const { return text_; }
  const std::vector<Span>& spans() const { return spans_; }
  std::string TakeText() { return std::move(text_); }
  Str Build(Budget* budget) &&;

 private:
  bool Room(size_t bytes);
  void Mark(bool user);

  size_t max_bytes_;
  bool overflow_ = false;
  bool markup_ = false;
  std::string text_;
  std::vector<Span> spans_;  // cover text_; neighbours differ
};

}  // namespace lathe::tmpl
