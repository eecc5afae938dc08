// SentencePiece's precompiled normalisation: a map from strings to strings, stored as a double-array trie
// (the format of darts-clone) followed by the replacements.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace lathe::text {

// Immutable; thread-safe. Every access is bounds-checked: the bytes are foreign.
class CharsMap {
 public:
  // Layout: u32 size of the trie in bytes (little-endian), the trie, NUL-terminated replacements. kCorrupt
  // when the sizes contradict each other or a replacement is not UTF-8.
  static Expected<CharsMap> Parse(std::string_view blob);

  // The longest key of the map at `pos`: its length (0: none) and what stands for it.
  size_t LongestMatch(std::string_view text, size_t pos, std::string_view* replacement) const;

  // What stands for the shortest key that `text` starts with; false when there is none.
  bool ShortestMatch(std::string_view text, std::string_view* replacement) const;

 private:
  // Calls found(length, replacement) for each key at `pos`, shortest first, until it returns false.
  template <typename Found>
  void ForEachKey(std::string_view text, size_t pos, const Found& found) const;

  std::vector<uint32_t> units_;
  std::string replacements_;
};

}  // namespace lathe::text
