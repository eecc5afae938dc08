#include "runtime/kv/kv_manager.h"

#include <algorithm>

#include "base/check.h"

namespace lathe {

KvManager::KvManager(int n_pages, int page_size, const KvOptions& options)
    : page_size_(page_size),
      prefix_cache_(options.prefix_cache),
      pool_(n_pages),
      index_(options.prefix_cache ? n_pages : 0, page_size, options.hash) {}

int32_t KvManager::NewPage() {
  if (pool_.n_free() == 0) {
    const int32_t evicted = index_.EvictOldest();
    LATHE_CHECK_GE(evicted, 0);
    pool_.Release(evicted);
  }
  return pool_.Take();
}

void KvManager::Hold(int32_t page) {
  if (prefix_cache_ && pool_.refs(page) == 0) index_.SetUsed(page);
  pool_.Ref(page);
}

void KvManager::Drop(int32_t page) {
  if (pool_.Unref(page) > 0) return;
  if (prefix_cache_ && index_.Contains(page)) {
    index_.SetUnused(page);
  } else {
    pool_.Release(page);
  }
}

void KvManager::Match(std::span<const int32_t> tokens, uint32_t salt, int max_pages) {
  found_.clear();
  int32_t parent = -1;
  for (int i = 0; i < max_pages; ++i) {
    parent = index_.Find(parent, salt, PageTokens(tokens, i));
    if (parent < 0) break;
    found_.push_back(parent);
  }
}

int KvManager::Admit(KvSequence* seq, std::span<const int32_t> tokens, std::string_view salt, bool use_cache,
                     int reserve) {
  LATHE_CHECK(!seq->active && seq->pages.empty());
  LATHE_CHECK(!tokens.empty());
  use_cache = use_cache && prefix_cache_;
  const int n_tokens = static_cast<int>(tokens.size());

  found_.clear();
  if (use_cache) {
    const uint32_t id = index_.FindSalt(salt);
    if (id != PrefixIndex::kNoSalt) Match(tokens, id, (n_tokens - 1) / page_size_);
  }
  const int n_found = static_cast<int>(found_.size());
  const auto was_cached = [this](int32_t page) { return pool_.refs(page) == 0; };
  const int revived = static_cast<int>(std::ranges::count_if(found_, was_cached));
  if (PagesFor(n_tokens) - n_found + reserve > n_available() - revived) return -1;

  seq->active = true;
  seq->uses_cache = use_cache;
  if (use_cache) seq->salt = index_.AcquireSalt(salt);
  for (int32_t page : found_) Hold(page);
  seq->pages.assign(found_.begin(), found_.end());
  seq->n_indexed = n_found;
  LATHE_CHECK(Extend(seq, n_tokens));
  return n_found * page_size_;
}

bool KvManager::Extend(KvSequence* seq, int n_tokens) {
  LATHE_CHECK(seq->active);
  const int missing = PagesFor(n_tokens) - static_cast<int>(seq->pages.size());
  if (missing > n_available()) return false;
  for (int i = 0; i < missing; ++i) seq->pages.push_back(NewPage());
  return true;
}

int KvManager::Fork(const KvSequence& parent, int n_tokens, KvSequence* child) {
  LATHE_CHECK(parent.active && !child->active && child->pages.empty());
  const int n_shared = n_tokens / page_size_;
  LATHE_CHECK_LE(n_shared, static_cast<int>(parent.pages.size()));
  child->active = true;
  child->uses_cache = parent.uses_cache;
  if (parent.uses_cache) index_.HoldSalt(child->salt = parent.salt);
  child->pages.assign(parent.pages.begin(), parent.pages.begin() + n_shared);
  child->n_indexed = std::min(parent.n_indexed, n_shared);
  for (int32_t page : child->pages) Hold(page);
  return n_shared * page_size_;
}

void KvManager::Commit(KvSequence* seq, std::span<const int32_t> tokens, int n_computed) {
  LATHE_CHECK(seq->active);
  if (!seq->uses_cache) return;
  const int n_full = n_computed / page_size_;
  for (; seq->n_indexed < n_full; ++seq->n_indexed) {
    const int i = seq->n_indexed;
    const int32_t parent = i > 0 ? seq->pages[static_cast<size_t>(i) - 1] : -1;
    int32_t& own = seq->pages[static_cast<size_t>(i)];
    const int32_t known = index_.Find(parent, seq->salt, PageTokens(tokens, i));
    if (known == own) continue;  // a fork of this sequence was here first
    if (known < 0) {
      index_.Insert(own, parent, seq->salt, PageTokens(tokens, i));
      continue;
    }
    Hold(known);
    Drop(own);
    own = known;
  }
}

int KvManager::Adopt(KvSequence* seq, std::span<const int32_t> tokens, int n_computed) {
  LATHE_CHECK(seq->active);
  if (!seq->uses_cache || n_computed % page_size_ != 0) return n_computed;
  const int n_tokens = static_cast<int>(tokens.size());
  LATHE_CHECK_EQ(seq->n_indexed, n_computed / page_size_);
  while (n_computed + page_size_ < n_tokens) {
    const int i = n_computed / page_size_;
    const int32_t parent = i > 0 ? seq->pages[static_cast<size_t>(i) - 1] : -1;
    const int32_t known = index_.Find(parent, seq->salt, PageTokens(tokens, i));
    if (known < 0) break;
    int32_t& own = seq->pages[static_cast<size_t>(i)];
    Hold(known);
    Drop(own);
    own = known;
    ++seq->n_indexed;
    n_computed += page_size_;
  }
  return n_computed;
}

void KvManager::Free(KvSequence* seq) {
  if (!seq->active) return;
  for (size_t i = seq->pages.size(); i-- > 0;) Drop(seq->pages[i]);  // tail first: see PrefixIndex
  seq->pages.clear();
  if (seq->uses_cache) index_.ReleaseSalt(seq->salt);
  seq->salt = PrefixIndex::kNoSalt;
  seq->n_indexed = 0;
  seq->uses_cache = seq->active = false;
}

void KvManager::Discard(KvSequence* seq) {
  if (!seq->active) return;
  // From the tail, so that what stood on a page is gone before the page is looked at.
  for (int i = seq->n_indexed - 1; i >= 0; --i) {
    const int32_t page = seq->pages[static_cast<size_t>(i)];
    if (pool_.refs(page) > 1 || !index_.Forget(page)) break;
    --seq->n_indexed;
  }
  Free(seq);
}

void KvManager::DropCache() {
  while (index_.n_unused() > 0) pool_.Release(index_.EvictOldest());
}

void KvManager::CheckInvariants(std::span<const KvSequence* const> live) const {
  pool_.CheckInvariants();
  index_.CheckInvariants();
  std::vector<int> holders(static_cast<size_t>(n_pages()), 0);
  for (const KvSequence* seq : live) {
    LATHE_CHECK(seq->active);
    LATHE_CHECK_LE(seq->n_indexed, static_cast<int>(seq->pages.size()));
    for (size_t i = 0; i < seq->pages.size(); ++i) {
      ++holders[static_cast<size_t>(seq->pages[i])];
      if (static_cast<int>(i) < seq->n_indexed) LATHE_CHECK(index_.Contains(seq->pages[i]));
    }
  }
  for (int page = 0; page < n_pages(); ++page) {
    const bool indexed = prefix_cache_ && index_.Contains(page);
    LATHE_CHECK_EQ(holders[static_cast<size_t>(page)], pool_.refs(page));
    LATHE_CHECK_EQ(pool_.is_free(page), pool_.refs(page) == 0 && !indexed);
    if (indexed) LATHE_CHECK_EQ(index_.is_unused(page), pool_.refs(page) == 0);
  }
}

}  // namespace lathe
