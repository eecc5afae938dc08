#include "text/trie.h"

#include "base/rng.h"

namespace lathe::text {
namespace {

uint64_t EdgeKey(int32_t node, uint8_t byte) { return ((static_cast<uint64_t>(node) << 8) | byte) + 1; }

}  // namespace

int32_t Trie::AddNode() {
  values_.push_back(kNone);
  return static_cast<int32_t>(values_.size() - 1);
}

void Trie::Grow() {
  std::vector<Edge> old = std::move(edges_);
  edges_.assign(old.empty() ? 64 : old.size() * 2, Edge{});
  const size_t mask = edges_.size() - 1;
  for (const Edge& edge : old) {
    if (edge.key == 0) continue;
    size_t slot = SplitMix64(edge.key) & mask;
    while (edges_[slot].key != 0) slot = (slot + 1) & mask;
    edges_[slot] = edge;
  }
}

void Trie::AddEdge(int32_t node, uint8_t byte, int32_t child) {
  if ((edge_count_ + 1) * 2 > edges_.size()) Grow();
  const uint64_t key = EdgeKey(node, byte);
  const size_t mask = edges_.size() - 1;
  size_t slot = SplitMix64(key) & mask;
  while (edges_[slot].key != 0) slot = (slot + 1) & mask;
  edges_[slot] = {key, child};
  ++edge_count_;
}

int32_t Trie::Next(int32_t node, char byte) const {
  if (edges_.empty()) return kNone;
  const uint64_t key = EdgeKey(node, static_cast<uint8_t>(byte));
  const size_t mask = edges_.size() - 1;
  for (size_t slot = SplitMix64(key) & mask; edges_[slot].key != 0; slot = (slot + 1) & mask)
    if (edges_[slot].key == key) return edges_[slot].child;
  return kNone;
}

void Trie::Insert(std::string_view key, int32_t value) {
  if (key.empty()) return;
  int32_t node = First(key[0]);
  if (node == kNone) node = root_[static_cast<uint8_t>(key[0])] = AddNode();
  for (const char c : key.substr(1)) {
    int32_t child = Next(node, c);
    if (child == kNone) {
      child = AddNode();
      AddEdge(node, static_cast<uint8_t>(c), child);
    }
    node = child;
  }
  int32_t& slot = values_[static_cast<size_t>(node)];
  if (slot == kNone) slot = value;
}

Trie::Match Trie::Longest(std::string_view text, size_t pos) const {
  Match best;
  int32_t node = pos < text.size() ? First(text[pos]) : kNone;
  for (size_t length = 1; node != kNone; ++length) {
    if (Value(node) != kNone) best = {Value(node), length};
    if (pos + length >= text.size()) break;
    node = Next(node, text[pos + length]);
  }
  return best;
}

}  // namespace lathe::text
