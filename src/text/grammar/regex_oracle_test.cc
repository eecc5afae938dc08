// Regular expressions against PCRE2 on random strings; the cache of compiled grammars.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <gtest/gtest.h>
#include <pcre2.h>

#include <thread>

#include "text/grammar/grammar_cache.h"
#include "text/grammar/test_support.h"

namespace lathe::grammar_test {
namespace {

// Some patterns are too large, which then shows soon.
GrammarLimits Patient() {
  GrammarLimits limits;
  limits.seconds = 0.3;
  return limits;
}

std::string RandomPattern(Rng* rng, int depth) {
  static const char* const kAtoms[] = {"a",      "b",   "c",   "é",      ".",     "[ab]", "[^a]",
                                       "[^\\d]", "\\d", "\\w", "[a-c1]", "\\x62", "1",    "\\."};
  std::string out;
  for (uint64_t n = 1 + rng->Below(4); n > 0; --n) {
    std::string item;
    if (depth > 0 && rng->Below(3) == 0) {
      item = (rng->Below(2) == 0 ? "(" : "(?:") + RandomPattern(rng, depth - 1);
      for (uint64_t k = rng->Below(3); k > 0; --k)
        item += "|" + (rng->Below(8) == 0 ? "" : RandomPattern(rng, depth - 1));
      item += ")";
    } else if (rng->Below(30) == 0) {
      out += rng->Below(2) == 0 ? "^" : "$";
      continue;
    } else {
      item = kAtoms[rng->Below(std::size(kAtoms))];
    }
    static const char* const kSuffixes[] = {"*", "+", "?", "{2}", "{1,3}", "{2,}", "*?", "{0,2}?"};
    if (rng->Below(3) == 0) item += kSuffixes[rng->Below(std::size(kSuffixes))];
    out += item;
  }
  return out;
}

std::string RandomText(Rng* rng) {
  static const char* const kPieces[] = {"a", "b", "c", "1", "é", "\n", ".", "aa", "bc", "🌍"};
  std::string out;
  for (uint64_t n = rng->Below(9); n > 0; --n)
    out += kPieces[rng->Below(std::size(kPieces) - (rng->Below(3) == 0 ? 0 : 5))];
  return out;
}

class Pcre {
 public:
  explicit Pcre(const std::string& pattern) {
    int code = 0;
    PCRE2_SIZE at = 0;
    // "$" is the very end, "." leaves out what ours does.
    const std::string whole = "(*ANYCRLF)" + pattern;
    code_ = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(whole.c_str()), whole.size(),
                          PCRE2_UTF | PCRE2_DOLLAR_ENDONLY, &code, &at, nullptr);
    if (code_ != nullptr) data_ = pcre2_match_data_create_from_pattern(code_, nullptr);
  }
  ~Pcre() {
    pcre2_match_data_free(data_);
    pcre2_code_free(code_);
  }
  Pcre(const Pcre&) = delete;
  Pcre& operator=(const Pcre&) = delete;
  bool ok() const { return code_ != nullptr; }
  bool Matches(const std::string& text, uint32_t options) const {
    return pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, options, data_,
                       nullptr) >= 0;
  }

 private:
  pcre2_code* code_ = nullptr;
  pcre2_match_data* data_ = nullptr;
};

TEST(RegexOracle, WholeMatches) {
  const TestVocab v = MakeVocab({});
  Rng rng(17);
  int patterns = 0, agreed_in = 0;
  for (int i = 0; i < 400; ++i) {
    const std::string pattern = RandomPattern(&rng, 2);
    const Pcre pcre("^(?:" + pattern + ")$");
    ASSERT_TRUE(pcre.ok()) << pattern;
    const auto grammar = CompileGrammar(Regex(pattern), v.vocab, Patient());
    if (!grammar.ok()) {
      // Too large is an answer too; anchors inside can leave nothing.
      if (grammar.status().code() == StatusCode::kResourceExhausted) continue;
      ASSERT_NE(grammar.status().message().find("no text"), std::string::npos)
          << pattern << grammar.status().message();
    }
    ++patterns;
    for (int t = 0; t < 30; ++t) {
      const std::string text = RandomText(&rng);
      const bool ours = grammar.ok() && Matches(*grammar, text);
      ASSERT_EQ(ours, pcre.Matches(text, 0)) << pattern << "\non: " << text;
      agreed_in += ours;
    }
    if (!grammar.ok()) continue;
    for (int t = 0; t < 3; ++t) {
      const Generated g = Generate(*grammar, &rng, 8, 400);
      ASSERT_FALSE(g.stuck) << pattern;
      if (g.ended) {
        ASSERT_TRUE(pcre.Matches(g.text, 0)) << pattern << "\nmade: " << g.text;
      }
    }
  }
  std::printf("%d patterns; %d texts in the language\n", patterns, agreed_in);
  EXPECT_GT(agreed_in, 300);
}

TEST(RegexOracle, SearchInStrings) {
  const TestVocab v = MakeVocab({});
  Rng rng(23);
  for (int i = 0; i < 400; ++i) {
    const std::string pattern = RandomPattern(&rng, 1);
    const Pcre pcre(pattern);
    std::string escaped;
    for (const char c : pattern) escaped += c == '\\' || c == '"' ? std::string("\\") + c : std::string(1, c);
    const auto grammar = CompileGrammar(Schema("{\"pattern\":\"" + escaped + "\"}"), v.vocab, Patient());
    if (!grammar.ok()) {
      if (grammar.status().code() == StatusCode::kResourceExhausted) continue;
      ASSERT_NE(grammar.status().message().find("no text"), std::string::npos)
          << pattern << grammar.status().message();
    }
    for (int t = 0; t < 20; ++t) {
      std::string text = RandomText(&rng) + "b", quoted = "\"";
      for (const char c : text) quoted += c == '\n' ? std::string("\\n") : std::string(1, c);
      ASSERT_EQ(grammar.ok() && Matches(*grammar, quoted + "\""), pcre.Matches(text, 0))
          << pattern << "\non: " << quoted;
    }
  }
}

TEST(GrammarCache, KeepsWhatFitsAndTellsFormatsApart) {
  const TestVocab v = MakeVocab({});
  GrammarCache cache(v.vocab, size_t{1} << 19);
  const auto a = cache.Get(Regex("a+"));
  ASSERT_TRUE(a.ok());
  EXPECT_EQ(*cache.Get(Regex("a+")), *a);
  EXPECT_NE(*cache.Get(Ebnf("root ::= \"a\"")), *a);
  EXPECT_FALSE(cache.Get(Regex("a++")).ok());
  EXPECT_EQ(cache.hits(), 1u);
  EXPECT_EQ(cache.size(), 2u);
  OutputFormat one, two;
  one.kind = two.kind = OutputFormat::Kind::kChoice;
  one.choices = {"1:a", "b"};
  two.choices = {"1", "a1:b"};
  EXPECT_NE(*cache.Get(one), *cache.Get(two));
  for (int i = 0; i < 400; ++i) ASSERT_TRUE(cache.Get(Regex("[a-z]{" + std::to_string(i) + "}")).ok());
  EXPECT_LT(cache.size(), 400u);
  EXPECT_TRUE(Matches(*a, "aaa"));  // who holds one keeps it
  GrammarCache tiny(v.vocab, 1);
  ASSERT_TRUE(tiny.Get(Regex("a")).ok());
  ASSERT_TRUE(tiny.Get(Regex("b")).ok());
  EXPECT_EQ(tiny.size(), 1u);
}

TEST(GrammarCache, SharedByThreads) {
  const TestVocab v = MakeVocab({"ab", "}]", "\": "});
  GrammarCache cache(v.vocab, size_t{1} << 18);
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      Rng rng(t);
      for (int i = 0; i < 60; ++i) {
        const auto grammar = cache.Get(
            i % 3 == 0 ? JsonObjectFormat() : Regex("(a|b){1," + std::to_string(1 + rng.Below(40)) + "}c"));
        ASSERT_TRUE(grammar.ok());
        EXPECT_FALSE(Generate(*grammar, &rng, 10, 300).stuck);
      }
    });
  }
  for (auto& t : threads) t.join();
}

}  // namespace
}  // namespace lathe::grammar_test
