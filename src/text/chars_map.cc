#include "text/chars_map.h"

#include <algorithm>

#include "text/utf8.h"

namespace lathe::text {
namespace {

uint32_t LoadU32(std::string_view bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i)
    value |= static_cast<uint32_t>(static_cast<uint8_t>(bytes[at + i])) << (8 * i);
  return value;
}

// Fields of one unit of the double array.
bool HasLeaf(uint32_t unit) { return ((unit >> 8) & 1) != 0; }
uint32_t Value(uint32_t unit) { return unit & 0x7FFFFFFFu; }
uint32_t Label(uint32_t unit) { return unit & 0x800000FFu; }
uint32_t Offset(uint32_t unit) { return (unit >> 10) << ((unit & 0x200u) >> 6); }

}  // namespace

Expected<CharsMap> CharsMap::Parse(std::string_view blob) {
  if (blob.size() < 4)
    return Error(StatusCode::kCorrupt,
                 "tokenizer: precompiled normalisation map of %zu bytes, expected at least 4", blob.size());
  const size_t trie_bytes = LoadU32(blob, 0);
  if (trie_bytes % 4 != 0 || trie_bytes == 0 || trie_bytes > blob.size() - 4)
    return Error(StatusCode::kCorrupt,
                 "tokenizer: precompiled normalisation map declares a trie of %zu bytes in a blob of %zu",
                 trie_bytes, blob.size());
  CharsMap map;
  map.units_.resize(trie_bytes / 4);
  for (size_t i = 0; i < map.units_.size(); ++i) map.units_[i] = LoadU32(blob, 4 + 4 * i);
  map.replacements_ = std::string(blob.substr(4 + trie_bytes));
  if (!IsValidUtf8(map.replacements_))
    return Error(StatusCode::kCorrupt,
                 "tokenizer: precompiled normalisation map holds replacements that are not UTF-8");
  return map;
}

template <typename Found>
void CharsMap::ForEachKey(std::string_view text, size_t pos, const Found& found) const {
  uint32_t node = Offset(units_[0]);
  for (size_t i = pos; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    node ^= byte;
    if (node >= units_.size() || Label(units_[node]) != byte) return;
    const bool leaf = HasLeaf(units_[node]);
    node ^= Offset(units_[node]);
    if (!leaf) continue;
    if (node >= units_.size()) return;
    const size_t at = Value(units_[node]);
    // A replacement begins on a code point, and a key ends on one.
    if (at >= replacements_.size() || IsUtf8Continuation(replacements_[at])) return;
    if (i + 1 < text.size() && IsUtf8Continuation(text[i + 1])) continue;
    const size_t end = std::min(replacements_.find('\0', at), replacements_.size());
    if (!found(i + 1 - pos, std::string_view(replacements_).substr(at, end - at))) return;
  }
}

size_t CharsMap::LongestMatch(std::string_view text, size_t pos, std::string_view* replacement) const {
  size_t best = 0;
  ForEachKey(text, pos, [&](size_t length, std::string_view by) {
    best = length;
    *replacement = by;
    return true;
  });
  return best;
}

bool CharsMap::ShortestMatch(std::string_view text, std::string_view* replacement) const {
  bool any = false;
  ForEachKey(text, 0, [&](size_t, std::string_view by) {
    any = true;
    *replacement = by;
    return false;
  });
  return any;
}

}  // namespace lathe::text
