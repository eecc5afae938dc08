#include "runtime/sample/stop_checker.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace lathe {
namespace {

struct Outcome {
  std::string text;
  bool stopped = false;
};

// What the definition says, over the whole text at once.
Outcome Expected(const SamplingParams& p, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const auto& stop : p.stop) {
      if (std::string_view(text).substr(0, end).ends_with(stop)) longest = std::max(longest, stop.size());
    }
    if (longest > 0) return {text.substr(0, p.include_stop ? end : end - longest), true};
  }
  return {text, false};
}

// Length of the longest end of `text` that could be the start of a stop string.
size_t LongestStart(const SamplingParams& p, const std::string& text) {
  size_t longest = 0;
  for (const auto& stop : p.stop) {
    for (size_t n = 1; n < stop.size(); ++n) {
      if (text.ends_with(stop.substr(0, n))) longest = std::max(longest, n);
    }
  }
  return longest;
}

TEST(StopChecker, Cases) {
  struct Case {
    std::vector<std::string> stops;
    bool include;
    std::vector<std::string> pieces;
    std::vector<std::string> shown;  // by each piece
    bool stopped;
  };
  const Case cases[] = {
      {{}, false, {"a", "b"}, {"a", "b"}, false},
      {{"END"}, false, {"xE", "N", "Dy"}, {"x", "", ""}, true},
      {{"END"}, true, {"xE", "N", "Dy"}, {"x", "", "END"}, true},
      {{"END"}, false, {"xE", "EN", "Q"}, {"x", "E", "ENQ"}, false},
      {{"aab"}, false, {"aa", "a", "b"}, {"", "a", ""}, true},
      {{"bc", "abcd"}, false, {"ab", "c"}, {"", "a"}, true},  // the first to be complete
      {{"c", "abc"}, false, {"ab", "c"}, {"", ""}, true},     // ending together: the longest
      {{"\n\n"}, false, {"a\n", "b\n", "\nc"}, {"a", "\nb", ""}, true},
      {{"x"}, false, {"axb"}, {"a"}, true},
  };
  for (const Case& c : cases) {
    SamplingParams p;
    p.stop = c.stops;
    p.include_stop = c.include;
    StopChecker checker(&p);
    bool stopped = false;
    for (size_t i = 0; i < c.pieces.size(); ++i) {
      std::string out;
      stopped = checker.Feed(c.pieces[i], true, &out);
      EXPECT_EQ(out, c.shown[i]) << c.pieces[0] << " piece " << i;
    }
    EXPECT_EQ(stopped, c.stopped) << c.pieces[0];
  }
}

TEST(StopChecker, FlushGivesWhatWasHeld) {
  SamplingParams p;
  p.stop = {"stop!"};
  StopChecker checker(&p);
  std::string out;
  EXPECT_FALSE(checker.Feed("don't sto", true, &out));
  EXPECT_EQ(out, "don't ");
  checker.Flush(&out);
  EXPECT_EQ(out, "don't sto");
}

TEST(StopChecker, BeforeMinTokensAStopIsText) {
  SamplingParams p;
  p.stop = {"ab"};
  StopChecker checker(&p);
  std::string out;
  EXPECT_FALSE(checker.Feed("xab", false, &out));
  EXPECT_FALSE(checker.Feed("a", false, &out));
  EXPECT_EQ(out, "xab");
  EXPECT_TRUE(checker.Feed("b", true, &out));  // begun before, complete now
  EXPECT_EQ(out, "xab");
}

TEST(StopChecker, AnyCutGivesTheSameAndLeaksNothing) {
  Rng rng(3);
  int stopped_cases = 0;
  for (int round = 0; round < 20000; ++round) {
    const uint64_t letters = 1 + rng.Below(3);
    const auto word = [&](size_t n) {
      std::string s(n, ' ');
      for (auto& c : s) c = static_cast<char>('a' + rng.Below(letters));
      return s;
    };
    SamplingParams p;
    p.include_stop = rng.Below(2) == 0;
    for (uint64_t i = 0, n = 1 + rng.Below(4); i < n; ++i) p.stop.push_back(word(1 + rng.Below(6)));
    const std::string text = word(rng.Below(30));
    const Outcome expected = Expected(p, text);
    StopChecker checker(&p);
    std::string out;
    bool stopped = false;
    for (size_t at = 0; at < text.size() && !stopped;) {
      const size_t n = rng.Below(5);
      stopped = checker.Feed(text.substr(at, n), true, &out);
      at = std::min(text.size(), at + n);
      // What could begin a stop string is held, and nothing else is.
      if (!stopped) {
        ASSERT_EQ(at - out.size(), LongestStart(p, text.substr(0, at)));
      }
      ASSERT_TRUE(expected.text.starts_with(out));
    }
    if (!stopped) checker.Flush(&out);
    ASSERT_EQ(out, expected.text);
    ASSERT_EQ(stopped, expected.stopped);
    stopped_cases += stopped;
  }
  EXPECT_GT(stopped_cases, 5000);
  EXPECT_LT(stopped_cases, 19500);
}

}  // namespace
}  // namespace lathe
