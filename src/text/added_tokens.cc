#include "text/added_tokens.h"

#include <algorithm>

#include "text/unicode.h"
#include "text/utf8.h"

namespace lathe::text {
namespace {

enum class Standing { kInControl, kInText, kStraddles };

Standing StandingOf(const std::vector<ByteRange>& control, size_t begin, size_t end) {
  // The first control range that ends behind `begin`.
  const auto it = std::upper_bound(control.begin(), control.end(), begin,
                                   [](size_t pos, const ByteRange& r) { return pos < r.end; });
  if (it == control.end() || it->begin >= end) return Standing::kInText;
  return it->begin <= begin && end <= it->end ? Standing::kInControl : Standing::kStraddles;
}

bool EndsWithWordChar(std::string_view text) {
  if (text.empty()) return false;
  size_t begin = text.size() - 1;
  while (begin > 0 && IsUtf8Continuation(text[begin])) --begin;
  return IsWordChar(NextUtf8(text, begin).code_point);
}

bool StartsWithWordChar(std::string_view text) {
  return !text.empty() && IsWordChar(NextUtf8(text, 0).code_point);
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  for (size_t i = 0; i < tokens_.size(); ++i) trie_.Insert(tokens_[i].content, static_cast<int32_t>(i));
}

// The token to take at `pos`; none: token -1, and *resume says where to look next.
AddedTokenMatcher::Candidate AddedTokenMatcher::Find(std::string_view text,
                                                     const std::vector<ByteRange>& control, size_t pos,
                                                     size_t* resume) const {
  *resume = pos + 1;
  Candidate longest;
  Candidate allowed;
  int32_t node = trie_.First(text[pos]);
  for (size_t end = pos + 1; node != Trie::kNone; ++end) {
    const int32_t index = trie_.Value(node);
    if (index != Trie::kNone) {
      longest = {index, end};
      const bool special = tokens_[static_cast<size_t>(index)].special;
      if (!special || StandingOf(control, pos, end) == Standing::kInControl) allowed = longest;
    }
    if (end >= text.size()) break;
    node = trie_.Next(node, text[end]);
  }
  if (longest.token < 0 || longest.token == allowed.token) return allowed;
  if (StandingOf(control, pos, longest.end) == Standing::kStraddles) return allowed;
  *resume = longest.end;
  return {};
}

void AddedTokenMatcher::Cut(std::string_view text, const std::vector<ByteRange>& control,
                            std::vector<TextOrToken>* out) const {
  size_t done = 0;  // everything before is in `out`
  for (size_t pos = 0; pos < text.size() && !trie_.empty();) {
    if (trie_.First(text[pos]) == Trie::kNone) {
      ++pos;
      continue;
    }
    size_t resume = 0;
    const Candidate found = Find(text, control, pos, &resume);
    if (found.token < 0) {
      pos = resume;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(found.token)];
    size_t begin = pos;
    size_t end = found.end;
    pos = found.end;
    if (token.single_word &&
        (EndsWithWordChar(text.substr(0, begin)) || StartsWithWordChar(text.substr(end))))
      continue;
    if (begin < done) continue;  // the previous token's rstrip took its first bytes
    if (token.lstrip) begin = done + StripWhitespace(text.substr(done, begin - done), false, true).size();
    if (token.rstrip) end = text.size() - StripWhitespace(text.substr(end), true, false).size();
    if (begin > done) out->push_back({{done, begin}, -1});
    out->push_back({{begin, end}, token.id});
    done = end;
  }
  if (done < text.size()) out->push_back({{done, text.size()}, -1});
}

std::vector<AddedToken> AddedTokensOf(const TokenizerSpec& spec, AddedKind kind) {
  std::vector<AddedToken> tokens;
  for (const AddedToken& token : spec.added) {
    const bool normalized = token.normalized && !token.special;
    if (normalized == (kind == AddedKind::kNormalized)) tokens.push_back(token);
  }
  return tokens;
}

}  // namespace lathe::text
