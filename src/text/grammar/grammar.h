// Structured output: which tokens may come next so that the whole text belongs to a language.
//
// Wiring: one GrammarVocab for each engine; one GrammarCache, whose Get compiles a request's format off the
// step's path; one GrammarMatcher for each sequence, with FillMask before a token is chosen and Accept after
// it. When FillMask leaves only end-of-sequence bits the text is complete (MustEnd). Masks are of tokens
// whose completion exists, so a text never gets stuck; it ends early only at max_tokens. docs/grammars.md has
// the languages.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "lathe/request.h"
#include "lathe/types.h"
#include "text/grammar/grammar_vocab.h"
#include "text/grammar/limits.h"

namespace lathe {

// A compiled format. Immutable but for its cache of token sets, which is behind a lock: any number of threads
// and matchers may share it.
class Grammar {
 public:
  struct Impl;
  explicit Grammar(std::unique_ptr<Impl> impl);
  ~Grammar();
  Grammar(const Grammar&) = delete;
  Grammar& operator=(const Grammar&) = delete;

  const GrammarVocab& vocab() const;
  // Memory in use now; grows with the cached token sets, up to the compiled form + limits.bytes + one mask.
  size_t bytes() const;
  size_t cached_sets() const;
  const Impl& impl() const { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

// Compiles `format` for a vocabulary. Errors say what is wrong where: kInvalidArgument (syntax with line and
// column or offset, schema with JSON pointer, no text possible), kUnsupported (names the construct),
// kResourceExhausted (beyond `limits`).
Expected<std::shared_ptr<const Grammar>> CompileGrammar(const OutputFormat& format,
                                                        std::shared_ptr<const GrammarVocab> vocab,
                                                        const GrammarLimits& limits = {});

// The state of one text. One thread at a time; copies go on independently.
class GrammarMatcher {
 public:
  explicit GrammarMatcher(std::shared_ptr<const Grammar> grammar);
  ~GrammarMatcher();
  GrammarMatcher(const GrammarMatcher& other);
  GrammarMatcher& operator=(const GrammarMatcher& other);
  GrammarMatcher(GrammarMatcher&&) noexcept;
  GrammarMatcher& operator=(GrammarMatcher&&) noexcept;

  // words: (ceil(vocab / 32)), overwritten. Bit i % 32 of words[i / 32] is set when token i may come next;
  // those of end-of-sequence ids when the text may end here. False when nothing is allowed, which needs a
  // vocabulary without end-of-sequence ids, or a text that has ended.
  bool FillMask(std::span<uint32_t> words);
  // `id` came next. False, and nothing changes, when the mask would not have allowed it. An end-of-sequence
  // id ends the text: nothing is allowed after it.
  bool Accept(TokenId id);
  bool CanEnd() const;   // the text so far belongs to the language
  bool MustEnd() const;  // ... and no longer one does
  bool ended() const;    // an end-of-sequence id was accepted

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lathe
