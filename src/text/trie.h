// Prefix tree over byte strings: which of a set of strings start at a position, longest last.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace lathe::text {

// Immutable once filled; then any number of threads may walk it.
class Trie {
 public:
  static constexpr int32_t kNone = -1;

  Trie() { root_.fill(kNone); }

  // Maps `key` (not empty) to `value` >= 0; the first insertion of a key wins.
  void Insert(std::string_view key, int32_t value);
  bool empty() const { return values_.empty(); }

  // Child of the root, or of `node`, over `byte`; kNone when there is none.
  int32_t First(char byte) const { return root_[static_cast<uint8_t>(byte)]; }
  int32_t Next(int32_t node, char byte) const;
  // The value of the string that ends at `node`, or kNone.
  int32_t Value(int32_t node) const { return values_[static_cast<size_t>(node)]; }

  struct Match {
    int32_t value = kNone;
    size_t length = 0;
  };
  // The longest key that `text` has at `pos`.
  Match Longest(std::string_view text, size_t pos) const;

 private:
  struct Edge {
    uint64_t key = 0;  // (node << 8 | byte) + 1; 0: free
    int32_t child = kNone;
  };
  int32_t AddNode();
  void AddEdge(int32_t node, uint8_t byte, int32_t child);
  void Grow();

  std::array<int32_t, 256> root_;
  std::vector<int32_t> values_;
  std::vector<Edge> edges_;  // open addressing, a power of two
  size_t edge_count_ = 0;
};

}  // namespace lathe::text
