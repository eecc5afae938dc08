// What masks cost. The bounds asserted are far above what was measured (docs/lab-notes.md), so that a busy
// machine does not fail them and a lost cache does.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/clock.h"
#include "text/grammar/test_support.h"

namespace lathe::grammar_test {
namespace {

struct Times {
  double compile = 0;
  std::vector<double> first, again;  // of each mask, the first text and later ones

  static double At(std::vector<double> v, double q) {
    if (v.empty()) return 0;
    std::sort(v.begin(), v.end());
    return v[static_cast<size_t>(q * static_cast<double>(v.size() - 1))] * 1e6;
  }
};

Times Measure(const OutputFormat& format, const std::shared_ptr<const GrammarVocab>& vocab) {
  Times t;
  const double begin = NowSeconds();
  const auto grammar = Compiled(format, vocab);
  t.compile = NowSeconds() - begin;
  Rng rng(3);
  std::vector<uint32_t> words(static_cast<size_t>((vocab->size() + 31) / 32));
  for (int text = 0; text < 40; ++text) {
    GrammarMatcher matcher(grammar);
    for (int i = 0; i < 60 && !matcher.ended(); ++i) {
      const double start = NowSeconds();
      if (!matcher.FillMask(words)) break;
      (text == 0 ? t.first : t.again).push_back(NowSeconds() - start);
      // Any allowed token from a random place on.
      TokenId id = static_cast<TokenId>(rng.Below(static_cast<uint64_t>(vocab->size())));
      while ((words[static_cast<size_t>(id) / 32] >> (id % 32) & 1) == 0) id = (id + 1) % vocab->size();
      EXPECT_TRUE(matcher.Accept(id));
    }
  }
  return t;
}

TEST(Speed, Masks) {
  const std::pair<const char*, OutputFormat> formats[] = {
      {"json object", JsonObjectFormat()},
      {"schema",
       Schema(
           R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},
        "tags":{"type":"array","items":{"enum":["red","green","blue"]}},"address":{"type":"object","properties":{"street":{"type":"string","maxLength":64},
        "zip":{"type":"string","pattern":"^[0-9]{5}$"}},"required":["street"],"additionalProperties":false}},"required":["name","age"],"additionalProperties":false})")},
      {"string <= 64", Schema(R"({"type":"string","maxLength":64})")},
      {"string <= 20000", Schema(R"({"type":"string","maxLength":20000})")},
      {"regex", Regex("[A-Z][a-z]+( [a-z]+){3,12}\\.")},
      {"arithmetic", Ebnf("root ::= root [-+*/] term | term\nterm ::= [0-9]+ | \"(\" root \")\"")},
  };
  const std::pair<const char*, std::shared_ptr<const GrammarVocab>> vocabs[] = {
      {"tales", TalesVocab()}, {"llama3", Llama3Vocab()}, {"qwen2", QwenVocab()}};
  for (const auto& [vocab_name, vocab] : vocabs) {
    if (vocab == nullptr) continue;
    for (const auto& [name, format] : formats) {
      const Times t = Measure(format, vocab);
      std::printf(
          "%-7s %-16s compile %6.2f ms | first text: median %7.1f max %8.1f us | later: median %6.1f p99 "
          "%7.1f us\n",
          vocab_name, name, t.compile * 1e3, Times::At(t.first, 0.5), Times::At(t.first, 1),
          Times::At(t.again, 0.5), Times::At(t.again, 0.99));
      EXPECT_LT(Times::At(t.again, 0.5), 1000);
    }
  }
}

}  // namespace
}  // namespace lathe::grammar_test
