#include "text/regex.h"

#include <gtest/gtest.h>

#include "base/rng.h"
#include "text/loaders.h"
#include "text/pre_tokenizer.h"
#include "text/regex_dialect.h"
#include "text/test_data.h"

namespace lathe::text {
namespace {

std::vector<std::string> Matches(const Regex& regex, std::string_view text) {
  std::vector<ByteRange> ranges;
  regex.FindAll(text, 0, text.size(), &ranges);
  std::vector<std::string> out;
  for (const ByteRange& r : ranges) out.emplace_back(text.substr(r.begin, r.end - r.begin));
  return out;
}

std::vector<std::string> Matches(std::string_view pattern, std::string_view text) {
  const Expected<Regex> regex = Regex::Compile(pattern);
  EXPECT_TRUE(regex.ok()) << regex.status().message();
  return regex.ok() ? Matches(*regex, text) : std::vector<std::string>();
}

TEST(RegexTest, MeansWhatOnigurumaMeans) {
  using Strings = std::vector<std::string>;
  EXPECT_EQ(Matches(R"(\s+)", "a\u180Eb \u00A0c"), Strings{" \u00A0"});
  EXPECT_EQ(Matches(R"([^\s]+)", "a\u180Eb c"), (Strings{"a\u180Eb", "c"}));
  EXPECT_EQ(Matches(R"(\w+)", "e\u0301½ x"), (Strings{"e\u0301½", "x"}));
  EXPECT_EQ(Matches(R"(\h+)", "12ABxy"), Strings{"12AB"});
  EXPECT_EQ(Matches(R"(\u00e9)", "café"), Strings{"é"});
  EXPECT_EQ(Matches(R"(x$)", "x\nx"), (Strings{"x", "x"}));
  EXPECT_EQ(Matches(R"((?=[A-Z]))", "aBcD"), (Strings{"", ""}));
  EXPECT_EQ(Matches(R"(a*)", "baac"), (Strings{"", "aa", ""}));
}

TEST(RegexTest, RefusesWhatItWouldMisread) {
  for (const char* pattern : {"[a[bc]]", "[a-z&&[^b]]", "(*NO_JIT)a", R"(\H)", "[]a]", R"(\u00)"}) {
    const Expected<Regex> regex = Regex::Compile(pattern);
    ASSERT_FALSE(regex.ok()) << pattern;
    EXPECT_EQ(regex.status().code(), StatusCode::kUnsupported) << pattern;
  }
  for (const char* pattern : {"(", "a{2,1}", "[z-a]", R"(\C)", R"(\p{Nothing})"}) {
    const Expected<Regex> regex = Regex::Compile(pattern);
    ASSERT_FALSE(regex.ok()) << pattern;
    EXPECT_EQ(regex.status().code(), StatusCode::kInvalidArgument) << pattern;
  }
  EXPECT_FALSE(Regex::Compile(std::string(100'000, 'a')).ok());
}

TEST(RegexTest, LiteralPatternsAreNotInterpreted) {
  const Expected<Regex> regex = Regex::Compile("a.*(", {.literal = true});
  ASSERT_TRUE(regex.ok());
  EXPECT_EQ(Matches(*regex, "xa.*(y").size(), 1u);
  EXPECT_EQ(Matches(*regex, "xaaa(y").size(), 0u);
}

TEST(RegexTest, InterpreterAndJitAgree) {
  for (const std::string_view pattern : {kGpt2Split, kQwen2Split, kLlama3Split}) {
    const Expected<Regex> jit = Regex::Compile(pattern);
    const Expected<Regex> slow = Regex::Compile(pattern, {.use_jit = false});
    ASSERT_TRUE(jit.ok() && slow.ok());
    for (const std::string& text : GoldenStrings()) EXPECT_EQ(Matches(*jit, text), Matches(*slow, text));
  }
}

TEST(RegexTest, RunawayPatternsEnd) {
  const Expected<Regex> regex = Regex::Compile("(a+)+b");
  ASSERT_TRUE(regex.ok());
  EXPECT_TRUE(Matches(*regex, std::string(200, 'a')).empty());
  EXPECT_TRUE(Matches("(a|aa)+$x", std::string(100'000, 'a')).empty());
}

TEST(RegexTest, LongRunsAreWithinTheStepLimit) {
  const std::string spaces(1 << 20, ' ');
  EXPECT_EQ(Matches(kLlama3Split, spaces).size(), 1u);
  EXPECT_EQ(Matches(kLlama3Split, spaces + "x").size(), 2u);
  EXPECT_EQ(Matches(kLlama3Split, std::string(1 << 20, 'x')).size(), 1u);
}

// ---- Behaviours of a split ----

struct SplitCase {
  SplitBehavior behavior;
  uint32_t flags;
  std::vector<std::string> pieces;
};

TEST(PreTokenizerTest, SplitBehaviors) {
  using Strings = std::vector<std::string>;
  const SplitCase cases[] = {
      {SplitBehavior::kIsolated, 0, Strings{"the", "-", "final", "-", "-", "countdown"}},
      {SplitBehavior::kRemoved, 0, Strings{"the", "final", "countdown"}},
      {SplitBehavior::kMergedWithPrevious, 0, Strings{"the-", "final-", "-", "countdown"}},
      {SplitBehavior::kMergedWithNext, 0, Strings{"the", "-final", "-", "-countdown"}},
      {SplitBehavior::kContiguous, 0, Strings{"the", "-", "final", "--", "countdown"}},
      {SplitBehavior::kRemoved, kInvert, Strings{"-", "-", "-"}},
  };
  for (const SplitCase& c : cases) {
    TokenizerSpec spec;
    PipelineOp op;
    op.type = OpType::kSplit;
    op.mode = static_cast<uint8_t>(c.behavior);
    op.flags = c.flags | kLiteral;
    op.a = "-";
    spec.pre_tokenizer.push_back(op);
    const Expected<PreTokenizer> pre = PreTokenizer::Create(spec);
    ASSERT_TRUE(pre.ok());
    PreTokens out;
    pre->Run("the-final--countdown", true, &out);
    Strings pieces;
    for (const ByteRange& r : out.ranges) pieces.emplace_back(out.text.substr(r.begin, r.end - r.begin));
    EXPECT_EQ(pieces, c.pieces) << static_cast<int>(c.behavior);
  }
}

}  // namespace
}  // namespace lathe::text
