#include "text/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "text/byte_level.h"
#include "text/utf8.h"

namespace lathe::text {
namespace {

// Collects what a split makes of one range: matches and what lies between them, joined by its behaviour.
class Splitter {
 public:
  Splitter(SplitBehavior behavior, std::vector<ByteRange>* out)
      : behavior_(behavior), out_(out), first_(out->size()) {}

  void Add(ByteRange range, bool is_match) {
    switch (behavior_) {
      case SplitBehavior::kIsolated: out_->push_back(range); break;
      case SplitBehavior::kRemoved:
        if (!is_match) out_->push_back(range);
        break;
      case SplitBehavior::kContiguous: Join(range, is_match == previous_); break;
      case SplitBehavior::kMergedWithPrevious: Join(range, is_match && !previous_); break;
      // A match takes what follows it, unless that is a match itself.
      case SplitBehavior::kMergedWithNext: Join(range, !is_match && previous_); break;
    }
    previous_ = is_match;
  }

 private:
  void Join(ByteRange range, bool with_last) {
    if (with_last && out_->size() > first_)
      out_->back().end = range.end;
    else
      out_->push_back(range);
  }

  SplitBehavior behavior_;
  std::vector<ByteRange>* out_;
  size_t first_;
  bool previous_ = false;
};

// Rewrites every range by `write(range, index, &text)` into a new text.
template <typename Write>
void Rewrite(PreTokens* out, const Write& write) {
  std::string text;
  text.reserve(out->text.size() * 2);
  for (size_t i = 0; i < out->ranges.size(); ++i) {
    ByteRange& range = out->ranges[i];
    const size_t begin = text.size();
    write(out->text.substr(range.begin, range.end - range.begin), range, i, &text);
    range = {begin, text.size()};
  }
  out->owned = std::move(text);
  out->text = out->owned;
}

void Metaspace(const PipelineOp& op, bool first_text, PreTokens* out) {
  const auto scheme = static_cast<PrependScheme>(op.mode);
  Rewrite(out, [&](std::string_view piece, const ByteRange& range, size_t, std::string* text) {
    const bool at_start = first_text && range.begin == 0;
    const bool prepend = scheme == PrependScheme::kAlways || (scheme == PrependScheme::kFirst && at_start);
    if (prepend && !piece.starts_with(' ') && !piece.starts_with(op.a)) *text += op.a;
    for (const char c : piece) {
      if (c == ' ')
        *text += op.a;
      else
        *text += c;
    }
  });
}

}  // namespace

Expected<PreTokenizer> PreTokenizer::Create(const TokenizerSpec& spec) {
  PreTokenizer result;
  for (const PipelineOp& op : spec.pre_tokenizer) {
    Step step{.op = op, .regex = {}};
    if (op.type == OpType::kSplit) {
      LATHE_ASSIGN_OR_RETURN(step.regex, Regex::Compile(op.a, {.literal = (op.flags & kLiteral) != 0}));
    }
    result.steps_.push_back(std::move(step));
  }
  return result;
}

void PreTokenizer::Run(std::string_view text, bool first, PreTokens* out) const {
  out->text = text;
  out->ranges.assign(1, {0, text.size()});
  bool letters = false;  // the text is spelt in stand-in letters
  for (size_t i = 0; i < steps_.size(); ++i) {
    const Step& step = steps_[i];
    switch (step.op.type) {
      case OpType::kSplit: Split(step, out); break;
      case OpType::kPrefixSpace:
        Rewrite(out, [](std::string_view piece, const ByteRange&, size_t, std::string* t) {
          if (!piece.starts_with(' ')) *t += ' ';
          *t += piece;
        });
        break;
      case OpType::kMetaspace: Metaspace(step.op, first, out); break;
      case OpType::kByteLevel:
        // Steps after this one see letters; when there are none, the bytes stay as they are.
        if (i + 1 == steps_.size()) break;
        Rewrite(out, [](std::string_view piece, const ByteRange&, size_t, std::string* t) {
          AppendByteLetters(piece, t);
        });
        letters = true;
        break;
      default: break;
    }
  }
  if (!letters) return;
  Rewrite(out, [](std::string_view piece, const ByteRange&, size_t, std::string* t) {
    if (!AppendLetterBytes(piece, t)) *t += piece;
  });
}

void PreTokenizer::Split(const Step& step, PreTokens* out) const {
  const bool invert = (step.op.flags & kInvert) != 0;
  std::vector<ByteRange>& result = out->scratch_ranges;
  result.clear();
  for (const ByteRange& range : out->ranges) {
    out->matches.clear();
    step.regex->FindAll(out->text, range.begin, range.end, &out->matches);
    Splitter splitter(static_cast<SplitBehavior>(step.op.mode), &result);
    size_t pos = range.begin;
    for (const ByteRange& match : out->matches) {
      if (match.begin > pos) splitter.Add({pos, match.begin}, invert);
      splitter.Add(match, !invert);
      pos = match.end;
    }
    if (pos < range.end) splitter.Add({pos, range.end}, invert);
  }
  std::erase_if(result, [](const ByteRange& r) { return r.begin == r.end; });
  std::swap(out->ranges, result);
}

}  // namespace lathe::text
