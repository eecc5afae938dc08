// Masks against an independent account of the language: small random grammars whose texts are listed by brute
// force.
#include <gtest/gtest.h>

#include <algorithm>
#include <bitset>

#include "text/grammar/test_support.h"

namespace lathe::grammar_test {
namespace {

constexpr uint32_t kLongest = 9;  // texts listed
constexpr int kRules = 4;

// A set of texts of 'a' and 'b', each a number: a one, then a bit for each letter.
class Texts {
 public:
  static uint32_t NumberOf(std::string_view text) {
    uint32_t n = 1;
    for (const char c : text) n = n * 2 + (c == 'b');
    return n;
  }
  static Texts Of(std::string_view text) {
    Texts out;
    if (text.size() <= kLongest) out.has_.set(NumberOf(text));
    return out;
  }
  bool Has(std::string_view text) const { return has_[NumberOf(text)]; }
  bool HasPrefix(std::string_view prefix) const {
    if (prefix.find_first_not_of("ab") != std::string_view::npos) return false;
    uint32_t lo = NumberOf(prefix), hi = lo + 1;
    for (size_t n = prefix.size(); n <= kLongest; ++n, lo *= 2, hi *= 2) {
      for (uint32_t i = lo; i < hi; ++i) {
        if (has_[i]) return true;
      }
    }
    return false;
  }
  bool empty() const { return has_.none(); }
  void Add(const Texts& other) { has_ |= other.has_; }
  bool operator==(const Texts&) const = default;

  static Texts Join(const Texts& a, const Texts& b) {
    Texts out;
    for (uint32_t la = 0; la <= kLongest; ++la) {
      for (uint32_t x = 1u << la; x < 2u << la; ++x) {
        if (!a.has_[x]) continue;
        for (uint32_t lb = 0; la + lb <= kLongest; ++lb) {
          for (uint32_t y = 1u << lb; y < 2u << lb; ++y) {
            if (b.has_[y]) out.has_.set((x << lb) + y - (1u << lb));
          }
        }
      }
    }
    return out;
  }

 private:
  std::bitset<2u << kLongest> has_;
};

// A random expression: prints as EBNF and lists its texts, given those of the rules.
struct Node {
  enum Kind { kText, kSeq, kAlt, kRepeat, kRule } kind = kText;
  std::string text;
  std::vector<Node> kids;
  int rule = 0, min = 0, max = 0;  // max -1: any number

  std::string Print() const {
    switch (kind) {
      case kText: return "\"" + text + "\"";
      case kRule: return "r" + std::to_string(rule);
      case kRepeat:
        return "(" + kids[0].Print() + "){" + std::to_string(min) + "," +
               (max < 0 ? "" : std::to_string(max)) + "}";
      default: break;
    }
    std::string out = "(";
    for (const Node& k : kids) out += (&k == kids.data() ? "" : kind == kAlt ? " | " : " ") + k.Print();
    return out + ")";
  }

  Texts List(const std::vector<Texts>& rules) const {
    switch (kind) {
      case kText: return Texts::Of(text);
      case kRule: return rules[static_cast<size_t>(rule)];
      case kAlt: {
        Texts out;
        for (const Node& k : kids) out.Add(k.List(rules));
        return out;
      }
      case kSeq: {
        Texts out = Texts::Of("");
        for (const Node& k : kids) out = Texts::Join(out, k.List(rules));
        return out;
      }
      case kRepeat: break;
    }
    const Texts body = kids[0].List(rules);
    Texts all, power = Texts::Of("");
    for (int n = 0; n <= (max < 0 ? static_cast<int>(kLongest) + min : max) && !power.empty(); ++n) {
      if (n >= min) all.Add(power);
      const Texts next = Texts::Join(power, body);
      if (n >= min && next == power) break;
      power = next;
    }
    return all;
  }
};

Node RandomNode(Rng* rng, int depth) {
  Node n;
  const uint64_t pick = rng->Below(depth <= 0 ? 3 : 8);
  if (pick < 2) {
    for (uint64_t i = rng->Below(3); i > 0; --i) n.text += static_cast<char>('a' + rng->Below(2));
  } else if (pick == 2) {
    n.kind = Node::kRule;
    n.rule = static_cast<int>(rng->Below(kRules));
  } else if (pick < 5) {
    n.kind = Node::kSeq;
    for (uint64_t i = 1 + rng->Below(3); i > 0; --i) n.kids.push_back(RandomNode(rng, depth - 1));
  } else if (pick < 7) {
    n.kind = Node::kAlt;
    for (uint64_t i = 2 + rng->Below(2); i > 0; --i) n.kids.push_back(RandomNode(rng, depth - 1));
  } else {
    n.kind = Node::kRepeat;
    n.kids.push_back(RandomNode(rng, depth - 1));
    n.min = static_cast<int>(rng->Below(3));
    n.max = rng->Below(2) == 0 ? -1 : n.min + static_cast<int>(rng->Below(3));
  }
  return n;
}

// Texts of up to kLongest bytes by the least fixed point.
std::vector<Texts> ListRules(const std::vector<Node>& rules) {
  std::vector<Texts> texts(rules.size());
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t r = 0; r < rules.size(); ++r) {
      Texts now = rules[r].List(texts);
      changed |= now != texts[r];
      texts[r] = std::move(now);
    }
  }
  return texts;
}

// Whether some text goes on from here: take the allowed single bytes until the end, those of the shortest way
// not being known.
bool CanFinish(GrammarMatcher matcher, const TestVocab& v) {
  std::vector<uint32_t> words(static_cast<size_t>((v.vocab->size() + 31) / 32));
  Rng rng(7);
  for (int i = 0; i < 100; ++i) {
    if (matcher.CanEnd()) return true;
    if (!matcher.FillMask(words)) return false;
    const bool a = (words['a' / 32] >> ('a' % 32) & 1) != 0, b = (words['b' / 32] >> ('b' % 32) & 1) != 0;
    if (!a && !b) return false;
    if (!matcher.Accept(a && (!b || rng.Below(2) == 0) ? 'a' : 'b')) return false;
  }
  return true;  // endless growth is possible in these grammars, but was never cut off
}

struct Counts {
  int grammars = 0, masks = 0, refused = 0;
};

void CheckMasks(const std::vector<Node>& rules, const TestVocab& v, Rng* rng, Counts* counts) {
  std::string source = "root ::= r0\n";
  for (int r = 0; r < kRules; ++r)
    source += "r" + std::to_string(r) + " ::= " + rules[static_cast<size_t>(r)].Print() + "\n";
  const Texts texts = ListRules(rules)[0];
  const auto compiled = CompileGrammar(Ebnf(source), v.vocab);
  if (!compiled.ok()) {
    ++counts->refused;
    EXPECT_TRUE(texts.empty()) << source << compiled.status().message();
    return;
  }
  ++counts->grammars;
  std::vector<uint32_t> words(static_cast<size_t>((v.vocab->size() + 31) / 32));
  for (int walk = 0; walk < 4; ++walk) {
    GrammarMatcher matcher(*compiled);
    std::string prefix;
    while (prefix.size() + 4 <= kLongest) {
      ++counts->masks;
      ASSERT_TRUE(matcher.FillMask(words)) << source << prefix;
      ASSERT_EQ(matcher.CanEnd(), texts.Has(prefix)) << source << prefix;
      std::vector<TokenId> allowed;
      for (TokenId id = 0; id < v.eos; ++id) {
        const std::string next = prefix + std::string(v.vocab->Bytes(id));
        const bool bit = (words[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0;
        if (texts.HasPrefix(next)) {
          ASSERT_TRUE(bit) << source << prefix << " + " << v.vocab->Bytes(id);
        }
        if (!bit) continue;
        allowed.push_back(id);
        if (!texts.HasPrefix(next)) {  // then only longer texts have it
          GrammarMatcher further = matcher;
          ASSERT_TRUE(further.Accept(id)) << source << prefix << " + " << v.vocab->Bytes(id);
          ASSERT_TRUE(CanFinish(further, v)) << source << next;
        }
      }
      ASSERT_EQ((words[static_cast<size_t>(v.eos) / 32] >> (v.eos % 32) & 1) != 0, matcher.CanEnd());
      ASSERT_EQ(allowed.empty(), matcher.MustEnd()) << source << prefix;
      if (allowed.empty()) break;
      const TokenId id = allowed[rng->Below(allowed.size())];
      ASSERT_TRUE(matcher.Accept(id)) << source << prefix;
      prefix += v.vocab->Bytes(id);
    }
  }
}

TEST(Mask, RandomGrammarsAgreeWithBruteForce) {
  const TestVocab v =
      MakeVocab({"ab", "ba", "aa", "bb", "aab", "aba", "bab", "abba", "bbbb", "abc", "a", "aaaa"});
  Rng rng(11);
  Counts counts;
  for (int i = 0; i < 1500 && !::testing::Test::HasFatalFailure(); ++i) {
    std::vector<Node> rules;
    for (int r = 0; r < kRules; ++r) rules.push_back(RandomNode(&rng, 3));
    CheckMasks(rules, v, &rng, &counts);
  }
  std::printf("%d grammars, %d masks; %d without any text\n", counts.grammars, counts.masks, counts.refused);
  EXPECT_GT(counts.grammars, 1000);
}

// A mask must be what trying every token one by one gives, over a vocabulary with real tokens.
void CheckAgainstTrying(const OutputFormat& format, const std::shared_ptr<const GrammarVocab>& vocab,
                        int tokens, Rng* rng) {
  const auto grammar = Compiled(format, vocab);
  ASSERT_NE(grammar, nullptr);
  GrammarMatcher matcher(grammar);
  std::vector<uint32_t> words(static_cast<size_t>((vocab->size() + 31) / 32));
  for (int i = 0; i < tokens; ++i) {
    ASSERT_TRUE(matcher.FillMask(words));
    std::vector<TokenId> allowed;
    for (TokenId id = 0; id < vocab->size(); ++id) {
      const bool bit = (words[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0;
      GrammarMatcher one = matcher;
      ASSERT_EQ(one.Accept(id), bit) << format.source << ": token '" << vocab->Bytes(id) << "' at " << i;
      if (bit && !one.ended()) allowed.push_back(id);
    }
    if (allowed.empty()) break;
    ASSERT_TRUE(matcher.Accept(allowed[rng->Below(allowed.size())]));
  }
}

TEST(Mask, AgreesWithTryingEveryToken) {
  const std::vector<OutputFormat> formats = {
      JsonObjectFormat(),
      Regex("([a-z]+ ){3,200}[^x]{5,}\\."),
      Regex(".{5,40}|[ab]{3}"),
      Schema(
          R"({"type":"object","properties":{"name":{"type":"string","maxLength":20},"t":{"type":"array","items":{"type":"number"}}},"required":["name"]})"),
      Schema(R"({"type":"string","minLength":30,"maxLength":3000})"),
      Schema(R"({"type":"string","pattern":"the"})"),
      Ebnf("root ::= [a-z ]{100,5000} root? \".\"\n"),
  };
  Rng rng(5);
  for (const OutputFormat& format : formats) {
    CheckAgainstTrying(format, TalesVocab(), 24, &rng);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace lathe::grammar_test
