// Which content is known: of which tokens, after which prefix, there are keys and values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace lathe {

// An entry is the content of one full page, wherever that lies; the owner (KvManager) knows where. Its
// identity is (salt, parent entry, its exact tokens): the hash only finds the bucket, and since a parent
// cannot leave before its children, the number of the parent's entry stands for the whole prefix. So two
// prefixes are never confused, whatever the hash does.
//
// An entry is in use, cached (on the device, used by nobody) or offloaded (in host memory). Cached and
// offloaded ones are kept in the order they became so. The owner releases a sequence from its tail, never
// uses a page without using its parent, and offloads the oldest cached one; hence a child always stands
// before its parent in an order, or in the order that leaves first, and the front of the offloaded ones, or
// of the cached ones where none is offloaded, is always a leaf: least recently used leaf first, at constant
// cost.
//
// Not thread-safe. Memory is taken once, in the constructor, but for the strings of live salts.
class PrefixIndex {
 public:
  // parent: entry or -1 at the start of a sequence. tokens: (page_size).
  using HashFn = uint64_t (*)(int32_t parent, uint32_t salt, std::span<const int32_t> tokens);
  static uint64_t DefaultHash(int32_t parent, uint32_t salt, std::span<const int32_t> tokens);

  enum class State : uint8_t { kFree, kUsed, kCached, kOffloaded };

  // Room for `capacity` entries.
  PrefixIndex(int capacity, int page_size, HashFn hash = &DefaultHash);

  // Salts are compared once, as bytes, and then stand as small numbers; a number is not given to another
  // salt while anybody (a sequence or an entry) holds it. FindSalt: kNoSalt when nobody does.
  static constexpr uint32_t kNoSalt = 0xffffffffu;
  uint32_t AcquireSalt(std::string_view salt);
  uint32_t FindSalt(std::string_view salt) const;
  void HoldSalt(uint32_t salt) { ++salts_[salt].holders; }
  void ReleaseSalt(uint32_t salt);

  // The entry of these tokens after `parent`, or -1.
  int32_t Find(int32_t parent, uint32_t salt, std::span<const int32_t> tokens) const;
  // A new entry, in use. Its identity must not be there; the parent must be, in use.
  int32_t Insert(int32_t parent, uint32_t salt, std::span<const int32_t> tokens);
  // Forgets an entry on which none stands.
  void Remove(int32_t entry);

  State state(int32_t entry) const { return At(entry).state; }
  // Makes an entry kUsed, kCached or kOffloaded, of the last two the newest.
  void SetState(int32_t entry, State state);
  // The oldest cached or offloaded entry, and the next younger one; -1: none.
  int32_t Oldest(State state) const { return OrderOf(state).oldest; }
  int32_t Newer(int32_t entry) const { return At(entry).newer; }
  bool has_children(int32_t entry) const { return At(entry).n_children > 0; }

  int n_entries() const { return n_entries_; }
  int n_cached() const { return cached_.size; }
  int n_offloaded() const { return offloaded_.size; }
  int n_salts() const { return static_cast<int>(salt_ids_.size()); }

  // Aborts when chains, counts or orders contradict each other.
  void CheckInvariants() const;

 private:
  struct Entry {
    uint64_t hash = 0;
    int32_t parent = -1;
    uint32_t salt = kNoSalt;
    int32_t n_children = 0;
    int32_t chain_next = -1;         // same bucket
    int32_t older = -1, newer = -1;  // in the order of its state
    State state = State::kFree;
  };
  struct Order {
    int32_t oldest = -1, newest = -1;
    int size = 0;
  };
  struct Salt {
    std::string text;
    int64_t holders = 0;
  };

  Entry& At(int32_t entry) { return entries_[static_cast<size_t>(entry)]; }
  const Entry& At(int32_t entry) const { return entries_[static_cast<size_t>(entry)]; }
  const Order& OrderOf(State state) const { return state == State::kCached ? cached_ : offloaded_; }
  std::span<const int32_t> Tokens(int32_t entry) const {
    return {tokens_.data() + static_cast<size_t>(entry) * static_cast<size_t>(page_size_),
            static_cast<size_t>(page_size_)};
  }
  void Link(int32_t entry, Order* order);
  void Unlink(int32_t entry);
  void CheckOrders() const;

  const int page_size_;
  const HashFn hash_;
  std::vector<Entry> entries_;    // (capacity)
  std::vector<int32_t> tokens_;   // (capacity, page_size)
  std::vector<int32_t> free_;     // entries; a stack
  std::vector<int32_t> buckets_;  // first entry of each chain; a power of two of them
  Order cached_, offloaded_;
  int n_entries_ = 0;
  std::unordered_map<std::string, uint32_t> salt_ids_;
  std::vector<Salt> salts_;
  std::vector<uint32_t> free_salts_;
};

}  // namespace lathe
