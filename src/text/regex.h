// Regular expressions of tokenizers, over PCRE2 in UTF mode with Unicode properties, compiled by its JIT.
//
// Tokenizer files are written for Oniguruma (and Rust's engines). The dialects agree on what the known
// splits use except for the meaning of \s, \w, \h and \uHHHH, which are rewritten, and for nested classes
// and class intersections, which are refused rather than misread.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace lathe::text {

struct ByteRange {
  size_t begin = 0;
  size_t end = 0;
};

struct RegexOptions {
  bool literal = false;  // the pattern is a plain string
  bool use_jit = true;   // false: the interpreter (for tests; the matches are the same)
};

// Immutable after Compile; may be used by any number of threads at once.
class Regex {
 public:
  // kUnsupported: a construct outside the dialect above; kInvalidArgument: not a regular expression. Both
  // show the pattern and the place.
  static Expected<Regex> Compile(std::string_view pattern, const RegexOptions& options = {});
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  // Appends to `matches` the matches in subject[from, to), left to right and not overlapping; an empty match
  // right behind another match is not one. `subject` is valid UTF-8; look-around sees the subject only
  // inside the range. A pattern that exceeds its step limit matches nothing from there on.
  void FindAll(std::string_view subject, size_t from, size_t to, std::vector<ByteRange>* matches) const;

 private:
  struct Compiled;
  explicit Regex(std::unique_ptr<Compiled> compiled);
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace lathe::text
