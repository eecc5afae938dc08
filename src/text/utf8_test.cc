#include "text/utf8.h"

#include <gtest/gtest.h>

#include "base/rng.h"
#include "text/byte_level.h"
#include "text/unicode.h"

namespace lathe::text {
namespace {

struct LossyCase {
  std::string_view bytes;
  std::string_view text;
};

// From the Unicode standard's table of maximal subparts (U+FFFD substitution).
TEST(Utf8Test, ReplacesMaximalSubparts) {
  using namespace std::string_view_literals;
  const LossyCase cases[] = {
      {"plain é 中 😀", "plain é 中 😀"},
      {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA"},
      {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA"},
      {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA\uFFFD\uFFFDB"},
      {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", "\uFFFD\uFFFD\uFFFD\uFFFDA"},
      {"\xE4\xBD", "\uFFFD"},
      {"a\0b"sv, "a\0b"sv},
  };
  for (const LossyCase& c : cases) {
    EXPECT_EQ(ToValidUtf8(c.bytes), c.text);
    EXPECT_EQ(IsValidUtf8(c.bytes), c.bytes == c.text);
    EXPECT_TRUE(IsValidUtf8(c.text));
  }
}

TEST(Utf8Test, EveryScalarValueRoundTrips) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    std::string text;
    AppendUtf8(c, &text);
    const Utf8Step step = NextUtf8(text, 0);
    ASSERT_TRUE(step.valid) << static_cast<uint32_t>(c);
    ASSERT_EQ(step.length, text.size());
    ASSERT_EQ(Utf8Length(text[0]), text.size());
    ASSERT_EQ(step.code_point, c >= 0xD800 && c <= 0xDFFF ? 0xFFFD : c);
    for (size_t cut = 1; cut < text.size(); ++cut) {
      const Utf8Step part = NextUtf8(text.substr(0, cut), 0);
      ASSERT_TRUE(part.incomplete && part.length == cut);
    }
  }
}

TEST(Utf8Test, RandomBytesBecomeValid) {
  Rng rng(1);
  for (int i = 0; i < 2000; ++i) {
    std::string bytes;
    for (uint64_t n = rng.Below(40); n > 0; --n) bytes += static_cast<char>(rng.Below(256));
    EXPECT_TRUE(IsValidUtf8(ToValidUtf8(bytes)));
  }
}

TEST(ByteLevelTest, LettersAreABijection) {
  std::string all;
  for (int b = 0; b < 256; ++b) all += static_cast<char>(b);
  std::string letters;
  AppendByteLetters(all, &letters);
  EXPECT_TRUE(IsValidUtf8(letters));
  std::string back;
  ASSERT_TRUE(AppendLetterBytes(letters, &back));
  EXPECT_EQ(back, all);
  EXPECT_FALSE(AppendLetterBytes("a b", &back));
  EXPECT_EQ(back, all);
  letters.clear();
  AppendByteLetters(" \n", &letters);
  EXPECT_EQ(letters, "ĠĊ");
}

TEST(ByteLevelTest, BytePieces) {
  EXPECT_EQ(ByteOfPiece("<0x0A>"), 10);
  EXPECT_EQ(ByteOfPiece("<0xFF>"), 255);
  for (const char* bad : {"<0x0A", "<0xG0>", "0x0A>>", "<0x0AA>", ""}) EXPECT_EQ(ByteOfPiece(bad), -1) << bad;
}

TEST(UnicodeTest, NormalForms) {
  EXPECT_EQ(Normalize("e\u0301 \u1112\u1161\u11ab", NormalForm::kNfc), "é 한");
  EXPECT_EQ(Normalize("é 한", NormalForm::kNfd), "e\u0301 \u1112\u1161\u11ab");
  EXPECT_EQ(Normalize("ﬁ Ａ ①", NormalForm::kNfkc), "fi A 1");
  EXPECT_EQ(Normalize("a\u0301\u0323", NormalForm::kNfd), "a\u0323\u0301");
  EXPECT_EQ(Normalize("ascii only", NormalForm::kNfkd), "ascii only");
  EXPECT_EQ(Lowercase("ÀÉ İ ΑΣ"), "àé i\u0307 ασ");
  EXPECT_EQ(StripAccents("e\u0301a\u0323"), "ea");
  EXPECT_EQ(StripWhitespace(" \u3000x\u2003\n", true, true), "x");
  EXPECT_EQ(StripWhitespace(" x ", false, true), " x");
}

// 200,000 combining marks in falling order of class: quadratic reordering would take minutes.
TEST(UnicodeTest, LongRunsOfMarksAreNotQuadratic) {
  std::string text = "a";
  for (int i = 0; i < 100000; ++i) text += "\u0301";
  for (int i = 0; i < 100000; ++i) text += "\u0323";
  const std::string normal = Normalize(text, NormalForm::kNfd);
  EXPECT_EQ(normal.size(), text.size());
  EXPECT_EQ(normal.substr(0, 3), "a\u0323");
}

TEST(UnicodeTest, Classes) {
  for (const char32_t c : {U' ', U'\t', U'\u0085', U'\u00A0', U'\u2003', U'\u3000'})
    EXPECT_TRUE(IsWhitespace(c));
  for (const char32_t c : {U'a', U'\u180E', U'\u200B', U'\uFEFF'}) EXPECT_FALSE(IsWhitespace(c));
  for (const char32_t c : {U'a', U'_', U'9', U'é', U'\u0301', U'中', U'\u203F', U'\u24B6'})
    EXPECT_TRUE(IsWordChar(c));
  for (const char32_t c : {U'-', U' ', U'½', U'€', U'😀'}) EXPECT_FALSE(IsWordChar(c));
}

}  // namespace
}  // namespace lathe::text
