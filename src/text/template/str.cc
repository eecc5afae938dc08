#include "text/template/str.h"

#include <algorithm>
#include <utility>

#include "text/template/unicode.h"

namespace lathe::tmpl {
namespace {

// What a string object costs beyond its bytes.
constexpr size_t kStrOverhead = sizeof(Str) + 32;
// Spans a builder may hold whatever its limit; beyond, one for every 8 bytes of the limit.
constexpr size_t kFreeSpans = 1024;

}  // namespace

Str::Str(std::string text, bool user, Budget* budget)
    : text_(std::move(text)),
      user_(user),
      chars_(CountChars(text_)),
      charge_(budget, text_.size() + kStrOverhead) {}

size_t Str::ByteOffset(size_t index) const {
  if (index >= chars_) return text_.size();
  if (chars_ == text_.size()) return index;
  size_t pos = 0;
  for (size_t i = 0; i < index; ++i) DecodeUtf8(text_, &pos);
  return pos;
}

size_t Str::CharIndex(size_t offset) const {
  if (chars_ == text_.size()) return offset;
  return CountChars(std::string_view(text_).substr(0, offset));
}

size_t Str::FirstSpan(size_t offset) const {
  const auto it = std::upper_bound(spans_.begin(), spans_.end(), offset,
                                   [](size_t key, const Span& span) { return key < span.end; });
  return static_cast<size_t>(it - spans_.begin());
}

bool StrBuilder::Room(size_t bytes) {
  if (overflow_ || bytes > max_bytes_ - std::min(max_bytes_, text_.size()) ||
      spans_.size() > kFreeSpans + max_bytes_ / 8) {
    overflow_ = true;
    return false;
  }
  return true;
}

void StrBuilder::Mark(bool user) {
  if (!spans_.empty() && spans_.back().user == user)
    spans_.back().end = text_.size();
  else
    spans_.push_back({text_.size(), user});
}

void StrBuilder::Append(std::string_view text, bool user) {
  if (text.empty() || !Room(text.size())) return;
  text_.append(text);
  Mark(user);
}

void StrBuilder::Append(const Str& s, size_t begin, size_t end) {
  if (begin >= end || !Room(end - begin)) return;
  s.ForEachSpan(begin, end, [&](size_t from, size_t to, bool user) {
    text_.append(s.text(), from, to - from);
    Mark(user);
  });
}

void StrBuilder::Fill(size_t count, std::string_view piece, bool user) {
  if (count == 0 || piece.empty()) return;
  if (count > max_bytes_ / piece.size() || !Room(count * piece.size())) {
    overflow_ = true;
    return;
  }
  for (size_t i = 0; i < count; ++i) text_.append(piece);
  Mark(user);
}

void StrBuilder::Unify(size_t begin) {
  bool user = false;
  for (size_t i = spans_.size(); i > 0; --i) {
    if (spans_[i - 1].end <= begin) break;
    user = user || spans_[i - 1].user;
  }
  if (!user) return;
  while (!spans_.empty() && spans_.back().end > begin) {
    const size_t start = spans_.size() > 1 ? spans_[spans_.size() - 2].end : 0;
    if (start >= begin) {
      spans_.pop_back();
    } else {
      spans_.back().end = begin;  // keeps its origin for the part before
      break;
    }
  }
  Mark(true);
}

Str StrBuilder::Build(Budget* budget) && {
  const bool user = spans_.size() == 1 && spans_.front().user;
  Str out(std::move(text_), user, budget);
  out.markup_ = markup_;
  if (spans_.size() > 1) {
    out.charge_ = Charge(budget, out.text_.size() + kStrOverhead + spans_.size() * sizeof(Span));
    out.spans_ = std::move(spans_);
  }
  return out;
}

}  // namespace lathe::tmpl
