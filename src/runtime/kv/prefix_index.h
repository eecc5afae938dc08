// Which page holds the keys and values of which tokens after which prefix.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace lathe {

// An entry is one full page. Its identity is (salt, parent page, its exact tokens): the hash only finds the
// bucket, and since a parent is itself an entry that cannot leave before its children, the page id of the
// parent stands for the whole prefix. So two prefixes are never confused, whatever the hash does.
//
// An entry is in use or unused; unused ones are kept in the order they became so and leave from the front.
// The owner (KvManager) releases a sequence from its tail and never uses a page without using its parent,
// hence a child always stands before its parent in that order and the front is always a leaf: least recently
// used leaf first, at constant cost.
//
// Not thread-safe. Memory is taken once, in the constructor, but for the strings of live salts.
class PrefixIndex {
 public:
  // parent: page id or -1 at the start of a sequence. tokens: (page_size).
  using HashFn = uint64_t (*)(int32_t parent, uint32_t salt, std::span<const int32_t> tokens);
  static uint64_t DefaultHash(int32_t parent, uint32_t salt, std::span<const int32_t> tokens);

  PrefixIndex(int n_pages, int page_size, HashFn hash = &DefaultHash);

  // Salts are compared once, as bytes, and then stand as small numbers; a number is not given to another
  // salt while anybody (a sequence or an entry) holds it. FindSalt: kNoSalt when nobody does.
  static constexpr uint32_t kNoSalt = 0xffffffffu;
  uint32_t AcquireSalt(std::string_view salt);
  uint32_t FindSalt(std::string_view salt) const;
  void HoldSalt(uint32_t salt) { ++salts_[salt].holders; }
  void ReleaseSalt(uint32_t salt);

  // The page of these tokens after `parent`, or -1.
  int32_t Find(int32_t parent, uint32_t salt, std::span<const int32_t> tokens) const;
  // Enters a page, in use. It must not be there, nor its identity; the parent must be.
  void Insert(int32_t page, int32_t parent, uint32_t salt, std::span<const int32_t> tokens);
  bool Contains(int32_t page) const { return entries_[static_cast<size_t>(page)].indexed; }

  void SetUnused(int32_t page);
  void SetUsed(int32_t page);
  // Forgets the front of the unused entries and returns its page; -1 when there is none.
  int32_t EvictOldest();
  // Forgets one entry in use, unless entries stand on it. True when it was forgotten.
  bool Forget(int32_t page);

  int n_entries() const { return n_entries_; }
  int n_unused() const { return n_unused_; }
  int n_salts() const { return static_cast<int>(salt_ids_.size()); }
  bool is_unused(int32_t page) const { return entries_[static_cast<size_t>(page)].unused; }

  // Aborts when chains, counts or the order of unused entries contradict each other.
  void CheckInvariants() const;

 private:
  struct Entry {
    uint64_t hash = 0;
    int32_t parent = -1;
    uint32_t salt = kNoSalt;
    int32_t n_children = 0;
    int32_t chain_next = -1;         // same bucket
    int32_t older = -1, newer = -1;  // unused order
    bool indexed = false;
    bool unused = false;
  };
  struct Salt {
    std::string text;
    int64_t holders = 0;
  };

  Entry& At(int32_t page) { return entries_[static_cast<size_t>(page)]; }
  const Entry& At(int32_t page) const { return entries_[static_cast<size_t>(page)]; }
  std::span<const int32_t> Tokens(int32_t page) const {
    return {tokens_.data() + static_cast<size_t>(page) * static_cast<size_t>(page_size_),
            static_cast<size_t>(page_size_)};
  }
  void Remove(int32_t page);
  void Unlink(int32_t page);

  const int page_size_;
  const HashFn hash_;
  std::vector<Entry> entries_;    // (n_pages)
  std::vector<int32_t> tokens_;   // (n_pages, page_size)
  std::vector<int32_t> buckets_;  // first page of each chain; a power of two of them
  int32_t oldest_ = -1, newest_ = -1;
  int n_entries_ = 0, n_unused_ = 0;
  std::unordered_map<std::string, uint32_t> salt_ids_;
  std::vector<Salt> salts_;
  std::vector<uint32_t> free_salts_;
};

}  // namespace lathe
