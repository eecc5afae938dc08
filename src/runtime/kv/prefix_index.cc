#include "runtime/kv/prefix_index.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "base/hash.h"
#include "base/rng.h"

namespace lathe {

uint64_t PrefixIndex::DefaultHash(int32_t parent, uint32_t salt, std::span<const int32_t> tokens) {
  const uint64_t seed = SplitMix64((static_cast<uint64_t>(static_cast<uint32_t>(parent)) << 32) | salt);
  return Hash64(std::as_bytes(tokens), seed);
}

PrefixIndex::PrefixIndex(int n_pages, int page_size, HashFn hash) : page_size_(page_size), hash_(hash) {
  LATHE_CHECK_GE(n_pages, 0);
  LATHE_CHECK_GT(page_size, 0);
  entries_.resize(static_cast<size_t>(n_pages));
  tokens_.resize(static_cast<size_t>(n_pages) * static_cast<size_t>(page_size));
  buckets_.assign(std::bit_ceil(std::max<size_t>(static_cast<size_t>(n_pages), 1) * 2), -1);
}

uint32_t PrefixIndex::AcquireSalt(std::string_view salt) {
  const auto [it, added] = salt_ids_.try_emplace(std::string(salt), 0);
  if (added) {
    if (free_salts_.empty()) {
      it->second = static_cast<uint32_t>(salts_.size());
      salts_.emplace_back();
    } else {
      it->second = free_salts_.back();
      free_salts_.pop_back();
    }
    salts_[it->second].text = it->first;
  }
  ++salts_[it->second].holders;
  return it->second;
}

uint32_t PrefixIndex::FindSalt(std::string_view salt) const {
  const auto it = salt_ids_.find(std::string(salt));
  return it == salt_ids_.end() ? kNoSalt : it->second;
}

void PrefixIndex::ReleaseSalt(uint32_t salt) {
  Salt& s = salts_[salt];
  LATHE_CHECK_GT(s.holders, 0);
  if (--s.holders > 0) return;
  salt_ids_.erase(s.text);
  s.text.clear();
  free_salts_.push_back(salt);
}

int32_t PrefixIndex::Find(int32_t parent, uint32_t salt, std::span<const int32_t> tokens) const {
  LATHE_CHECK_EQ(tokens.size(), static_cast<size_t>(page_size_));
  const uint64_t hash = hash_(parent, salt, tokens);
  int32_t page = buckets_[hash & (buckets_.size() - 1)];
  for (; page >= 0; page = At(page).chain_next) {
    const Entry& e = At(page);
    if (e.hash == hash && e.parent == parent && e.salt == salt && std::ranges::equal(Tokens(page), tokens)) {
      break;
    }
  }
  return page;
}

void PrefixIndex::Insert(int32_t page, int32_t parent, uint32_t salt, std::span<const int32_t> tokens) {
  Entry& e = At(page);
  LATHE_CHECK(!e.indexed);
  LATHE_CHECK_EQ(tokens.size(), static_cast<size_t>(page_size_));
  e = Entry{.hash = hash_(parent, salt, tokens), .parent = parent, .salt = salt, .indexed = true};
  if (parent >= 0) {
    LATHE_CHECK(At(parent).indexed && At(parent).salt == salt);
    ++At(parent).n_children;
  }
  std::ranges::copy(tokens, tokens_.begin() + static_cast<ptrdiff_t>(page) * page_size_);
  int32_t& head = buckets_[e.hash & (buckets_.size() - 1)];
  e.chain_next = head;
  head = page;
  ++salts_[salt].holders;
  ++n_entries_;
}

void PrefixIndex::SetUnused(int32_t page) {
  Entry& e = At(page);
  LATHE_CHECK(e.indexed && !e.unused);
  e.unused = true;
  e.older = newest_;
  e.newer = -1;
  (newest_ >= 0 ? At(newest_).newer : oldest_) = page;
  newest_ = page;
  ++n_unused_;
}

void PrefixIndex::Unlink(int32_t page) {
  Entry& e = At(page);
  (e.older >= 0 ? At(e.older).newer : oldest_) = e.newer;
  (e.newer >= 0 ? At(e.newer).older : newest_) = e.older;
  e.older = e.newer = -1;
  e.unused = false;
  --n_unused_;
}

void PrefixIndex::SetUsed(int32_t page) {
  LATHE_CHECK(At(page).indexed && At(page).unused);
  Unlink(page);
}

int32_t PrefixIndex::EvictOldest() {
  const int32_t page = oldest_;
  if (page < 0) return -1;
  Unlink(page);
  Remove(page);
  return page;
}

bool PrefixIndex::Forget(int32_t page) {
  LATHE_CHECK(At(page).indexed && !At(page).unused);
  if (At(page).n_children > 0) return false;
  Remove(page);
  return true;
}

void PrefixIndex::Remove(int32_t page) {
  Entry& e = At(page);
  LATHE_CHECK_EQ(e.n_children, 0);
  int32_t* link = &buckets_[e.hash & (buckets_.size() - 1)];
  while (*link != page) link = &At(*link).chain_next;
  *link = e.chain_next;
  if (e.parent >= 0) --At(e.parent).n_children;
  ReleaseSalt(e.salt);
  e = Entry{};
  --n_entries_;
}

void PrefixIndex::CheckInvariants() const {
  const int n_pages = static_cast<int>(entries_.size());
  int indexed = 0, unused = 0, chained = 0;
  std::vector<int32_t> children(entries_.size(), 0);
  std::vector<int64_t> salt_entries(salts_.size(), 0);
  for (int page = 0; page < n_pages; ++page) {
    const Entry& e = At(page);
    if (!e.indexed) {
      LATHE_CHECK(!e.unused);
      continue;
    }
    ++indexed;
    unused += e.unused;
    ++salt_entries[e.salt];
    LATHE_CHECK_EQ(Find(e.parent, e.salt, Tokens(page)), page);
    if (e.parent < 0) continue;
    LATHE_CHECK(At(e.parent).indexed && At(e.parent).salt == e.salt);
    LATHE_CHECK(e.unused || !At(e.parent).unused);
    ++children[static_cast<size_t>(e.parent)];
  }
  for (int32_t head : buckets_) {
    for (int32_t page = head; page >= 0; page = At(page).chain_next) {
      LATHE_CHECK(At(page).indexed);
      ++chained;
    }
  }
  LATHE_CHECK_EQ(indexed, n_entries_);
  LATHE_CHECK_EQ(chained, n_entries_);
  LATHE_CHECK_EQ(unused, n_unused_);
  for (int page = 0; page < n_pages; ++page) {
    LATHE_CHECK_EQ(children[static_cast<size_t>(page)], At(page).n_children);
  }
  for (size_t salt = 0; salt < salts_.size(); ++salt)
    LATHE_CHECK_GE(salts_[salt].holders, salt_entries[salt]);
  // Walking from the oldest, every entry met must be a leaf among those not met yet.
  for (int32_t page = oldest_, last = -1; page >= 0; last = page, page = At(page).newer) {
    LATHE_CHECK(At(page).unused);
    LATHE_CHECK_EQ(At(page).older, last);
    LATHE_CHECK_EQ(children[static_cast<size_t>(page)], 0);
    if (At(page).parent >= 0) --children[static_cast<size_t>(At(page).parent)];
    --unused;
  }
  LATHE_CHECK_EQ(unused, 0);
}

}  // namespace lathe
