// Sets of Unicode scalar values, and the UTF-8 byte sequences that spell them.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace lathe::grammar {

struct CodeRange {
  uint32_t lo = 0;
  uint32_t hi = 0;  // inclusive
  bool operator==(const CodeRange&) const = default;
};

inline constexpr uint32_t kMaxCodePoint = 0x10FFFF;

// Ascending, disjoint, not adjacent ranges without surrogates. A value.
class CodeSet {
 public:
  CodeSet() = default;
  // Any ranges, in any order; surrogates are left out.
  explicit CodeSet(std::vector<CodeRange> ranges);
  static CodeSet All() { return CodeSet({{0, kMaxCodePoint}}); }
  static CodeSet Digits();      // [0-9]
  static CodeSet WordChars();   // [0-9A-Za-z_]
  static CodeSet WhiteSpace();  // [ \t\n\r\f\v]

  bool empty() const { return ranges_.empty(); }
  const std::vector<CodeRange>& ranges() const { return ranges_; }
  bool Has(uint32_t c) const;
  CodeSet Not() const;
  CodeSet And(const CodeSet& other) const;
  CodeSet Or(const CodeSet& other) const;

 private:
  std::vector<CodeRange> ranges_;
};

// A sequence of byte ranges: the strings b0..bn with lo[i] <= bi <= hi[i].
struct ByteRangeSequence {
  uint8_t length = 0;
  std::array<uint8_t, 4> lo{};
  std::array<uint8_t, 4> hi{};
};

// Appends sequences that together match the UTF-8 forms of [range.lo, range.hi] (no surrogates) and nothing
// else.
void AppendUtf8Sequences(CodeRange range, std::vector<ByteRangeSequence>* out);

}  // namespace lathe::grammar
