#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cstdlib>

#include "base/file.h"
#include "text/grammar/test_support.h"
#include "text/tokenizer.h"

namespace lathe::grammar_test {
namespace {

std::string SharedDir() {
  const char* env = std::getenv("LATHE_SHARED");
  return env != nullptr ? env : std::string(LATHE_SOURCE_DIR) + "/../shared";
}

std::shared_ptr<const GrammarVocab> FromDir(const std::string& dir, const char* eos) {
  const auto tokenizer = Tokenizer::LoadDir(dir);
  if (!tokenizer.ok()) return nullptr;
  std::vector<TokenId> ids;
  if (const TokenId id = tokenizer->IdOf(eos); id >= 0) ids.push_back(id);
  return std::make_shared<GrammarVocab>(GrammarVocab::FromTokenizer(*tokenizer, ids));
}

// Smaller: rather takes the text to its end.
int Reluctance(char c) {
  switch (c) {
    case '}':
    case ']': return 0;
    case '"': return 1;
    case ':': return 2;
    case ',': return 8;
    case '{':
    case '[':
    case '\\': return 9;
    case ' ':
    case '\n':
    case '\t': return 10;
    default: return 3;
  }
}

}  // namespace

TestVocab MakeVocab(const std::vector<std::string>& tokens) {
  TestVocab v;
  for (int b = 0; b < 256; ++b) v.bytes.emplace_back(1, static_cast<char>(b));
  v.bytes.insert(v.bytes.end(), tokens.begin(), tokens.end());
  v.eos = static_cast<TokenId>(v.bytes.size());
  v.x = v.eos + 1;
  v.y = v.eos + 2;
  v.bytes.resize(v.bytes.size() + 3);
  v.vocab = std::make_shared<GrammarVocab>(
      GrammarVocab::FromStrings(v.bytes, std::array{v.eos}, {{"<x>", v.x}, {"<y>", v.y}}));
  return v;
}

std::shared_ptr<const GrammarVocab> TalesVocab() {
  static const auto vocab = FromDir(std::string(LATHE_SOURCE_DIR) + "/models/tales-16m", "<|eot_id|>");
  return vocab;
}

std::shared_ptr<const GrammarVocab> Llama3Vocab() {
  static const auto vocab = FromDir(SharedDir() + "/tokenizers/llama3", "<|eot_id|>");
  if (vocab == nullptr) std::puts("no Llama 3 tokenizer here: that part is left out");
  return vocab;
}

std::shared_ptr<const GrammarVocab> QwenVocab() {
  static const auto vocab = FromDir(SharedDir() + "/tokenizers/qwen2", "<|im_end|>");
  if (vocab == nullptr) std::puts("no Qwen 2 tokenizer here: that part is left out");
  return vocab;
}

OutputFormat Regex(std::string source) {
  OutputFormat f;
  f.kind = OutputFormat::Kind::kRegex;
  f.source = std::move(source);
  return f;
}

OutputFormat Ebnf(std::string source) {
  OutputFormat f = Regex(std::move(source));
  f.kind = OutputFormat::Kind::kGrammar;
  return f;
}

OutputFormat Schema(std::string source) {
  OutputFormat f = Regex(std::move(source));
  f.kind = OutputFormat::Kind::kJsonSchema;
  return f;
}

OutputFormat JsonObjectFormat() { return {}; }

std::shared_ptr<const Grammar> Compiled(const OutputFormat& format, std::shared_ptr<const GrammarVocab> vocab,
                                        const GrammarLimits& limits) {
  auto grammar = CompileGrammar(format, std::move(vocab), limits);
  EXPECT_TRUE(grammar.ok()) << grammar.status().message() << "\n" << format.source;
  return grammar.ok() ? *grammar : nullptr;
}

bool Matches(const std::shared_ptr<const Grammar>& grammar, std::string_view text) {
  GrammarMatcher matcher(grammar);
  for (const char c : text) {
    if (!matcher.Accept(static_cast<uint8_t>(c))) return false;
  }
  return matcher.CanEnd();
}

Generated Generate(const std::shared_ptr<const Grammar>& grammar, Rng* rng, int hurry, int max_tokens) {
  const GrammarVocab& vocab = grammar->vocab();
  GrammarMatcher matcher(grammar);
  std::vector<uint32_t> words(static_cast<size_t>((vocab.size() + 31) / 32));
  Generated out;
  std::vector<TokenId> allowed;
  for (; out.tokens < max_tokens; ++out.tokens) {
    if (!matcher.FillMask(words)) {
      out.stuck = true;
      return out;
    }
    allowed.clear();
    for (size_t w = 0; w < words.size(); ++w) {
      for (uint32_t bits = words[w]; bits != 0; bits &= bits - 1) {
        allowed.push_back(static_cast<TokenId>(w * 32) + std::countr_zero(bits));
      }
    }
    TokenId id = allowed[rng->Below(allowed.size())];
    const bool may_end = matcher.CanEnd();
    if (may_end && (out.tokens >= hurry || allowed.size() == 1 || rng->Below(4) == 0)) {
      id = vocab.eos_ids()[0];
    } else if (out.tokens >= hurry) {
      int best = 100;
      for (const TokenId candidate : allowed) {
        const auto bytes = vocab.Bytes(candidate);
        if (bytes.size() != 1) continue;
        const int r = Reluctance(bytes[0]) * 2 + static_cast<int>(rng->Below(2));
        if (r < best) {
          best = r;
          id = candidate;
        }
      }
    }
    EXPECT_TRUE(matcher.Accept(id)) << "the mask allowed token " << id << " behind " << out.text;
    if (matcher.ended()) {
      out.ended = true;
      return out;
    }
    out.text += vocab.Bytes(id);
  }
  return out;
}

}  // namespace lathe::grammar_test
