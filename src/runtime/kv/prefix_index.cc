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

PrefixIndex::PrefixIndex(int capacity, int page_size, HashFn hash) : page_size_(page_size), hash_(hash) {
  LATHE_CHECK_GE(capacity, 0);
  LATHE_CHECK_GT(page_size, 0);
  const auto n = static_cast<size_t>(capacity);
  entries_.resize(n);
  tokens_.resize(n * static_cast<size_t>(page_size));
  free_.reserve(n);
  for (int entry = capacity - 1; entry >= 0; --entry) free_.push_back(entry);
  buckets_.assign(std::bit_ceil(std::max<size_t>(n, 1) * 2), -1);
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
  int32_t entry = buckets_[hash & (buckets_.size() - 1)];
  for (; entry >= 0; entry = At(entry).chain_next) {
    const Entry& e = At(entry);
    if (e.hash == hash && e.parent == parent && e.salt == salt && std::ranges::equal(Tokens(entry), tokens)) {
      break;
    }
  }
  return entry;
}

int32_t PrefixIndex::Insert(int32_t parent, uint32_t salt, std::span<const int32_t> tokens) {
  LATHE_CHECK(!free_.empty());
  LATHE_CHECK_EQ(tokens.size(), static_cast<size_t>(page_size_));
  const int32_t entry = free_.back();
  free_.pop_back();
  Entry& e = At(entry);
  e = Entry{.hash = hash_(parent, salt, tokens), .parent = parent, .salt = salt, .state = State::kUsed};
  if (parent >= 0) {
    LATHE_CHECK(At(parent).state == State::kUsed && At(parent).salt == salt);
    ++At(parent).n_children;
  }
  std::ranges::copy(tokens, tokens_.begin() + static_cast<ptrdiff_t>(entry) * page_size_);
  int32_t& head = buckets_[e.hash & (buckets_.size() - 1)];
  e.chain_next = head;
  head = entry;
  ++salts_[salt].holders;
  ++n_entries_;
  return entry;
}

void PrefixIndex::Link(int32_t entry, Order* order) {
  Entry& e = At(entry);
  e.older = order->newest;
  e.newer = -1;
  (order->newest >= 0 ? At(order->newest).newer : order->oldest) = entry;
  order->newest = entry;
  ++order->size;
}

void PrefixIndex::Unlink(int32_t entry) {
  Entry& e = At(entry);
  if (e.state == State::kUsed) return;
  Order& order = e.state == State::kCached ? cached_ : offloaded_;
  (e.older >= 0 ? At(e.older).newer : order.oldest) = e.newer;
  (e.newer >= 0 ? At(e.newer).older : order.newest) = e.older;
  e.older = e.newer = -1;
  --order.size;
}

void PrefixIndex::SetState(int32_t entry, State state) {
  Entry& e = At(entry);
  LATHE_CHECK(e.state != State::kFree && state != State::kFree && e.state != state);
  Unlink(entry);
  e.state = state;
  if (state != State::kUsed) Link(entry, state == State::kCached ? &cached_ : &offloaded_);
}

void PrefixIndex::Remove(int32_t entry) {
  Entry& e = At(entry);
  LATHE_CHECK(e.state != State::kFree);
  LATHE_CHECK_EQ(e.n_children, 0);
  Unlink(entry);
  int32_t* link = &buckets_[e.hash & (buckets_.size() - 1)];
  while (*link != entry) link = &At(*link).chain_next;
  *link = e.chain_next;
  if (e.parent >= 0) --At(e.parent).n_children;
  ReleaseSalt(e.salt);
  e = Entry{};
  free_.push_back(entry);
  --n_entries_;
}

void PrefixIndex::CheckInvariants() const {
  int indexed = 0, chained = 0;
  std::vector<int64_t> salt_entries(salts_.size(), 0);
  for (int32_t entry = 0; entry < static_cast<int32_t>(entries_.size()); ++entry) {
    const Entry& e = At(entry);
    if (e.state == State::kFree) continue;
    ++indexed;
    ++salt_entries[e.salt];
    LATHE_CHECK_EQ(Find(e.parent, e.salt, Tokens(entry)), entry);
    if (e.parent < 0) continue;
    LATHE_CHECK(At(e.parent).state != State::kFree && At(e.parent).salt == e.salt);
    LATHE_CHECK(e.state >= At(e.parent).state);  // no nearer to being used than its parent
  }
  for (int32_t head : buckets_) {
    for (int32_t entry = head; entry >= 0; entry = At(entry).chain_next) {
      LATHE_CHECK(At(entry).state != State::kFree);
      ++chained;
    }
  }
  LATHE_CHECK_EQ(indexed, n_entries_);
  LATHE_CHECK_EQ(chained, n_entries_);
  LATHE_CHECK_EQ(free_.size() + static_cast<size_t>(n_entries_), entries_.size());
  for (size_t salt = 0; salt < salts_.size(); ++salt)
    LATHE_CHECK_GE(salts_[salt].holders, salt_entries[salt]);
  CheckOrders();
}

// Walking the offloaded and then the cached entries from the oldest, every entry met must be a leaf among
// those not met yet.
void PrefixIndex::CheckOrders() const {
  std::vector<int32_t> children(entries_.size(), 0);
  for (const Entry& e : entries_)
    if (e.state != State::kFree && e.parent >= 0) ++children[static_cast<size_t>(e.parent)];
  for (size_t entry = 0; entry < entries_.size(); ++entry)
    LATHE_CHECK_EQ(children[entry], entries_[entry].n_children);
  for (const State state : {State::kOffloaded, State::kCached}) {
    int left = OrderOf(state).size;
    for (int32_t entry = OrderOf(state).oldest, last = -1; entry >= 0; last = entry, entry = Newer(entry)) {
      LATHE_CHECK(At(entry).state == state);
      LATHE_CHECK_EQ(At(entry).older, last);
      LATHE_CHECK_EQ(children[static_cast<size_t>(entry)], 0);
      if (At(entry).parent >= 0) --children[static_cast<size_t>(At(entry).parent)];
      --left;
    }
    LATHE_CHECK_EQ(left, 0);
    LATHE_CHECK_EQ(OrderOf(state).size, std::ranges::count(entries_, state, &Entry::state));
  }
}

}  // namespace lathe
