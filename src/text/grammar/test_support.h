// What the tests of grammars share: vocabularies, matching of whole texts, generation through masks.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "text/grammar/grammar.h"

namespace lathe::grammar_test {

// Every byte, then `tokens`, then <eos> and the named tokens <x> and <y>.
struct TestVocab {
  std::vector<std::string> bytes;
  TokenId eos = 0, x = 0, y = 0;
  std::shared_ptr<const GrammarVocab> vocab;
};
TestVocab MakeVocab(const std::vector<std::string>& tokens);

// The vocabulary of the model in the repository; others from files that may be absent (null then).
std::shared_ptr<const GrammarVocab> TalesVocab();
std::shared_ptr<const GrammarVocab> Llama3Vocab();
std::shared_ptr<const GrammarVocab> QwenVocab();

OutputFormat Regex(std::string source);
OutputFormat Ebnf(std::string source);
OutputFormat Schema(std::string source);
OutputFormat JsonObjectFormat();

std::shared_ptr<const Grammar> Compiled(const OutputFormat& format, std::shared_ptr<const GrammarVocab> vocab,
                                        const GrammarLimits& limits = {});

// Whether the whole of `text`, byte by byte, belongs to the language. The vocabulary has every byte as a
// token.
bool Matches(const std::shared_ptr<const Grammar>& grammar, std::string_view text);

struct Generated {
  std::string text;
  bool ended = false;  // by an end-of-sequence token, within max_tokens
  bool stuck = false;  // an empty mask
  int tokens = 0;
};
// Random tokens among the allowed. hurry: after so many tokens, prefers the end and then structure.
Generated Generate(const std::shared_ptr<const Grammar>& grammar, Rng* rng, int hurry, int max_tokens);

}  // namespace lathe::grammar_test
