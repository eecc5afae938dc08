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
    case '"': return 0;
    case '}':
    case ']': return 1;
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
  std::array<TokenId, 256> bytes;  // tokens of one byte
  bytes.fill(-1);
  for (TokenId id = 0; id < vocab.size(); ++id) {
    if (vocab.Bytes(id).size() == 1) bytes[static_cast<uint8_t>(vocab.Bytes(id)[0])] = id;
  }
  for (; out.tokens < max_tokens; ++out.tokens) {
    if (!matcher.FillMask(words)) {
      out.stuck = true;
      return out;
    }
    const auto may = [&](TokenId id) { return (words[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0; };
    const bool hurried = out.tokens >= hurry;
    TokenId id = -1;
    if (matcher.CanEnd() && (hurried || rng->Below(4) == 0)) {
      id = vocab.eos_ids()[0];
    } else if (hurried) {
      // The end of a string, then letters in turn (patterns want some), then what closes most.
      const TokenId letter =
          bytes['"'] >= 0 && may(bytes['"']) ? bytes['"'] : bytes["abc019x"[out.tokens % 7]];
      if (letter >= 0 && may(letter)) id = letter;
      for (int b = 0, best = 100; b < 256 && id != letter; ++b) {
        const int r = Reluctance(static_cast<char>(b)) * 2 + static_cast<int>(rng->Below(2));
        if (bytes[b] < 0 || !may(bytes[b]) || r >= best) continue;
        best = r;
        id = bytes[b];
      }
    }
    if (id < 0) {
      allowed.clear();
      for (size_t w = 0; w < words.size(); ++w) {
        for (uint32_t bits = words[w]; bits != 0; bits &= bits - 1) {
          allowed.push_back(static_cast<TokenId>(w * 32) + std::countr_zero(bits));
        }
      }
      id = allowed[rng->Below(allowed.size())];
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
