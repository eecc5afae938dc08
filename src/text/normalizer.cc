#include "text/normalizer.h"

#include "text/unicode.h"
#include "text/utf8.h"

namespace lathe::text {
namespace {

std::string ReplaceAll(std::string_view text, const Regex& regex, std::string_view by) {
  std::vector<ByteRange> matches;
  regex.FindAll(text, 0, text.size(), &matches);
  std::string out;
  out.reserve(text.size());
  size_t copied = 0;
  for (const ByteRange& match : matches) {
    out += text.substr(copied, match.begin - copied);
    out += by;
    copied = match.end;
  }
  out += text.substr(copied);
  return out;
}

// As the Hugging Face implementation has it, which differs from SentencePiece's own: a short grapheme cluster
// is replaced whole by what stands for the shortest key it starts with, anything else character by character.
std::string MapCharacters(std::string_view text, const CharsMap& map) {
  constexpr size_t kLongestWhole = 5;
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const size_t end = GraphemeEnd(text, pos);
    std::string_view by;
    if (end - pos <= kLongestWhole && map.ShortestMatch(text.substr(pos, end - pos), &by)) {
      out += by;
      pos = end;
      continue;
    }
    while (pos < end) {
      const std::string_view c = text.substr(pos, Utf8Length(text[pos]));
      out += map.ShortestMatch(c, &by) ? by : c;
      pos += c.size();
    }
  }
  return out;
}

}  // namespace

Expected<Normalizer> Normalizer::Create(const TokenizerSpec& spec) {
  Normalizer normalizer;
  for (const PipelineOp& op : spec.normalizer) {
    Step step{.op = op, .regex = {}, .chars_map = {}};
    if (op.type == OpType::kReplace) {
      LATHE_ASSIGN_OR_RETURN(step.regex, Regex::Compile(op.a, {.literal = (op.flags & kLiteral) != 0}));
    } else if (op.type == OpType::kCharsMap || (op.type == OpType::kSentencePiece && !op.a.empty())) {
      LATHE_ASSIGN_OR_RETURN(step.chars_map, CharsMap::Parse(op.a));
      step.op.a.clear();
    }
    normalizer.steps_.push_back(std::move(step));
  }
  for (size_t id = 0; id < spec.tokens.size(); ++id)
    if (spec.form == VocabForm::kText && (spec.token_flags[id] & kTokenUserDefined) != 0)
      normalizer.user_defined_.Insert(spec.tokens[id], static_cast<int32_t>(id));
  return normalizer;
}

std::string_view Normalizer::Apply(std::string_view text, bool first, std::string* buffer) const {
  for (const Step& step : steps_) {
    *buffer = Run(step, text, first);
    text = *buffer;
  }
  return text;
}

std::string Normalizer::Run(const Step& step, std::string_view text, bool first) const {
  const PipelineOp& op = step.op;
  switch (op.type) {
    case OpType::kNfc: return Normalize(text, NormalForm::kNfc);
    case OpType::kNfd: return Normalize(text, NormalForm::kNfd);
    case OpType::kNfkc: return Normalize(text, NormalForm::kNfkc);
    case OpType::kNfkd: return Normalize(text, NormalForm::kNfkd);
    case OpType::kLowercase: return Lowercase(text);
    case OpType::kStripAccents: return StripAccents(text);
    case OpType::kStrip:
      return std::string(StripWhitespace(text, (op.flags & kStripLeft) != 0, (op.flags & kStripRight) != 0));
    case OpType::kPrepend: return text.empty() ? std::string() : op.a + std::string(text);
    case OpType::kReplace: return ReplaceAll(text, *step.regex, op.b);
    case OpType::kCharsMap: return MapCharacters(text, *step.chars_map);
    case OpType::kSentencePiece: return SentencePiece(step, text, first);
    default: return std::string(text);
  }
}

// SentencePiece's normaliser: map characters, squeeze and strip spaces, mark them, and put one in front.
std::string Normalizer::SentencePiece(const Step& step, std::string_view text, bool first) const {
  const uint32_t flags = step.op.flags;
  const bool squeeze = (flags & kSpRemoveExtraSpaces) != 0;
  const bool suffix = (flags & kSpSpaceAsSuffix) != 0;
  const bool dummy = (flags & kSpDummyPrefix) != 0 && (first || (flags & kSpPrefixFirstOnly) == 0);
  const std::string_view space = (flags & kSpEscapeSpaces) != 0 ? kSpaceMark : std::string_view(" ");
  // The normal form of what stands at `pos`, and how far it reaches.
  const auto next = [&](size_t pos, std::string_view* normal) {
    size_t length = user_defined_.Longest(text, pos).length;
    if (length == 0 && step.chars_map)
      length = step.chars_map->LongestMatch(text, pos, normal);
    else
      *normal = text.substr(pos, length);
    if (length == 0) {
      length = Utf8Length(text[pos]);
      *normal = text.substr(pos, length);
    }
    return length;
  };
  size_t pos = 0;
  std::string_view normal;
  while (squeeze && pos < text.size()) {
    const size_t length = next(pos, &normal);
    if (normal != " ") break;
    pos += length;
  }
  std::string out;
  if (pos == text.size()) return out;
  out.reserve(text.size() - pos + text.size() / 4 + space.size());
  if (dummy && !suffix) out += space;
  bool after_space = squeeze;
  while (pos < text.size()) {
    pos += next(pos, &normal);
    while (after_space && normal.starts_with(' ')) normal.remove_prefix(1);
    if (normal.empty()) continue;
    for (const char c : normal) {
      if (c == ' ')
        out += space;
      else
        out += c;
    }
    after_space = squeeze && normal.ends_with(' ');
  }
  while (squeeze && out.ends_with(space)) out.resize(out.size() - space.size());
  if (dummy && suffix) out += space;
  return out;
}

}  // namespace lathe::text
