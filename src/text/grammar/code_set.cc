#include "text/grammar/code_set.h"

#include <algorithm>

namespace lathe::grammar {
namespace {

constexpr uint32_t kSurrogateBegin = 0xD800, kSurrogateEnd = 0xDFFF;

uint8_t EncodeUtf8(uint32_t c, std::array<uint8_t, 4>* out) {
  auto& b = *out;
  const auto tail = [c](int shift) { return static_cast<uint8_t>(0x80 | ((c >> shift) & 0x3F)); };
  if (c < 0x80) {
    b[0] = static_cast<uint8_t>(c);
    return 1;
  }
  if (c < 0x800) {
    b[0] = static_cast<uint8_t>(0xC0 | (c >> 6));
    b[1] = tail(0);
    return 2;
  }
  if (c < 0x10000) {
    b[0] = static_cast<uint8_t>(0xE0 | (c >> 12));
    b[1] = tail(6);
    b[2] = tail(0);
    return 3;
  }
  b[0] = static_cast<uint8_t>(0xF0 | (c >> 18));
  b[1] = tail(12);
  b[2] = tail(6);
  b[3] = tail(0);
  return 4;
}

}  // namespace

CodeSet::CodeSet(std::vector<CodeRange> ranges) {
  std::vector<CodeRange> cut;
  for (const CodeRange& r : ranges) {
    const uint32_t hi = std::min(r.hi, kMaxCodePoint);
    if (r.lo > hi) continue;
    if (r.lo < kSurrogateBegin) cut.push_back({r.lo, std::min(hi, kSurrogateBegin - 1)});
    if (hi > kSurrogateEnd) cut.push_back({std::max(r.lo, kSurrogateEnd + 1), hi});
  }
  std::sort(cut.begin(), cut.end(), [](const CodeRange& a, const CodeRange& b) { return a.lo < b.lo; });
  for (const CodeRange& r : cut) {
    if (!ranges_.empty() && r.lo <= ranges_.back().hi + 1) {
      ranges_.back().hi = std::max(ranges_.back().hi, r.hi);
    } else {
      ranges_.push_back(r);
    }
  }
}

CodeSet CodeSet::Digits() { return CodeSet({{'0', '9'}}); }
CodeSet CodeSet::WordChars() { return CodeSet({{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}); }
CodeSet CodeSet::WhiteSpace() { return CodeSet({{'\t', '\r'}, {' ', ' '}}); }

bool CodeSet::Has(uint32_t c) const {
  return std::any_of(ranges_.begin(), ranges_.end(),
                     [c](const CodeRange& r) { return r.lo <= c && c <= r.hi; });
}

CodeSet CodeSet::Not() const {
  std::vector<CodeRange> out;
  uint32_t next = 0;
  for (const CodeRange& r : ranges_) {
    if (r.lo > next) out.push_back({next, r.lo - 1});
    next = r.hi + 1;
  }
  if (next <= kMaxCodePoint) out.push_back({next, kMaxCodePoint});
  return CodeSet(std::move(out));
}

CodeSet CodeSet::And(const CodeSet& other) const { return Not().Or(other.Not()).Not(); }

CodeSet CodeSet::Or(const CodeSet& other) const {
  std::vector<CodeRange> all = ranges_;
  all.insert(all.end(), other.ranges_.begin(), other.ranges_.end());
  return CodeSet(std::move(all));
}

void AppendUtf8Sequences(CodeRange range, std::vector<ByteRangeSequence>* out) {
  // Cut until both ends have equal length and all bytes behind the first that differs span 80..BF.
  std::vector<CodeRange> work = {range};
  while (!work.empty()) {
    CodeRange r = work.back();
    work.pop_back();
    const auto cut_after = [&](uint32_t c) {  // [lo, c] now, (c, hi] later
      work.push_back({c + 1, r.hi});
      r.hi = c;
    };
    for (const uint32_t last : {0x7Fu, 0x7FFu, 0xFFFFu}) {
      if (r.lo <= last && last < r.hi) cut_after(last);
    }
    for (uint32_t low_bits = 6; low_bits <= 18 && r.hi >= 0x80; low_bits += 6) {
      const uint32_t mask = (1u << low_bits) - 1;
      if ((r.lo & ~mask) == (r.hi & ~mask)) break;
      if ((r.lo & mask) != 0) {
        cut_after(r.lo | mask);
        break;  // what is left shares everything above; lower bits were aligned or are cut in this round
      }
      if ((r.hi & mask) != mask) cut_after((r.hi & ~mask) - 1);
    }
    ByteRangeSequence sequence;
    sequence.length = EncodeUtf8(r.lo, &sequence.lo);
    EncodeUtf8(r.hi, &sequence.hi);
    out->push_back(sequence);
  }
}

}  // namespace lathe::grammar
