#include "runtime/kv/kv_manager.h"

#include <algorithm>

#include "base/check.h"

namespace lathe {

namespace {

using State = PrefixIndex::State;

// Pages that can be taken without waiting for a copy, as far as copies ahead see to it: what a step of
// prompts or a large batch may want. Not so many that they fill a small pool, of host memory either.
constexpr int kPagesAhead = 64;
// Copies ahead that begin with one step: they share the link with pages that somebody waits for.
constexpr int kCopiesAStep = 16;

}  // namespace

KvManager::KvManager(int n_pages, int page_size, const KvOptions& options)
    : page_size_(page_size),
      prefix_cache_(options.prefix_cache),
      n_host_pages_(options.prefix_cache ? options.host_pages : 0),
      pool_(n_pages),
      index_(options.prefix_cache ? n_pages + n_host_pages_ : 0, page_size, options.hash) {
  entry_of_page_.assign(static_cast<size_t>(n_pages), -1);
  busy_until_.assign(static_cast<size_t>(n_pages), 0);
  page_of_.assign(static_cast<size_t>(n_pages + n_host_pages_), -1);
  host_page_of_ = page_of_;
  for (int32_t page = n_host_pages_ - 1; page >= 0; --page) free_host_.push_back(page);
}

int64_t KvManager::AddMove(int32_t page, int32_t host_page, bool to_host) {
  moves_.push_back({.device_page = page, .host_page = host_page, .to_host = to_host});
  return busy_until_[static_cast<size_t>(page)] = ++n_moves_;
}

void KvManager::TakeMoves(std::vector<PageMove>* moves) {
  moves->clear();
  moves->swap(moves_);
}

// A free host page, else that of the oldest offloaded entry, which is forgotten; -1 when there is none
// either.
int32_t KvManager::TakeHostPage() {
  if (free_host_.empty()) {
    const int32_t oldest = index_.Oldest(State::kOffloaded);
    if (oldest < 0) return -1;
    ++counters_.dropped;
    Forget(oldest);
  }
  const int32_t page = free_host_.back();
  free_host_.pop_back();
  return page;
}

void KvManager::FreeHostPage(int32_t entry) {
  if (HostPageOf(entry) < 0) return;
  free_host_.push_back(HostPageOf(entry));
  HostPageOf(entry) = -1;
}

// `entry` lies in `page` (-1: on no device page) from now on.
void KvManager::SetPlace(int32_t entry, int32_t page) {
  if (PageOf(entry) >= 0) entry_of_page_[static_cast<size_t>(PageOf(entry))] = -1;
  PageOf(entry) = page;
  if (page >= 0) entry_of_page_[static_cast<size_t>(page)] = entry;
}

// An entry leaves the index, and its host page becomes free. Its device page is the caller's business.
void KvManager::Forget(int32_t entry) {
  FreeHostPage(entry);
  SetPlace(entry, -1);
  index_.Remove(entry);
}

bool KvManager::CopyOut(int32_t entry) {
  const int32_t host_page = TakeHostPage();
  if (host_page < 0) return false;
  HostPageOf(entry) = host_page;
  AddMove(PageOf(entry), host_page, true);
  ++counters_.offloaded;
  return true;
}

// An entry in use is to be brought into `page`. Its host page may be given away: later moves come later.
void KvManager::CopyIn(int32_t entry, int32_t page) {
  AddMove(page, HostPageOf(entry), false);
  ++counters_.restored;
  FreeHostPage(entry);
  SetPlace(entry, page);
}

// Takes the page of a cached entry back, which is offloaded if there is room. (Without room nothing stands on
// it: what does is offloaded, and would have left for it.)
void KvManager::Evict(int32_t entry) {
  const int32_t page = PageOf(entry);
  if (HostPageOf(entry) < 0 && !CopyOut(entry)) {
    counters_.dropped += n_host_pages_ > 0;
    Forget(entry);
  } else {
    SetPlace(entry, -1);
    index_.SetState(entry, State::kOffloaded);
  }
  pool_.Release(page);
}

int32_t KvManager::NewPage() {
  if (pool_.n_free() == 0) {
    const int32_t oldest = index_.Oldest(State::kCached);
    LATHE_CHECK_GE(oldest, 0);
    Evict(oldest);
  }
  return pool_.Take();
}

void KvManager::CopyAhead() {
  const int wanted = std::min({kPagesAhead, n_pages() / 8, n_host_pages_ / 4});
  int copies = 0;
  int32_t entry = index_.Oldest(State::kCached);
  for (int ready = pool_.n_free(); ready < wanted && entry >= 0; ++ready, entry = index_.Newer(entry)) {
    if (HostPageOf(entry) >= 0) continue;
    if (copies++ == kCopiesAStep || !CopyOut(entry)) return;
  }
}

void KvManager::Hold(int32_t page) {
  const int32_t entry = EntryOf(page);
  if (pool_.refs(page) == 0 && entry >= 0) {
    index_.SetState(entry, State::kUsed);
    FreeHostPage(entry);
  }
  pool_.Ref(page);
}

void KvManager::Drop(int32_t page) {
  if (pool_.Unref(page) > 0) return;
  if (EntryOf(page) >= 0) {
    index_.SetState(EntryOf(page), State::kCached);
  } else {
    pool_.Release(page);
  }
}

void KvManager::Attach(KvSequence* seq, int32_t page) const {
  seq->ready_at = std::max(seq->ready_at, busy_until_[static_cast<size_t>(page)]);
}

// Page i of `seq` becomes `page`, which holds the same tokens.
void KvManager::Replace(KvSequence* seq, int i, int32_t page) {
  int32_t& own = seq->pages[static_cast<size_t>(i)];
  Hold(page);
  Drop(own);
  own = page;
  Attach(seq, page);
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
  int n_offloaded = 0, n_cached = 0;
  for (int32_t entry : found_) {
    n_offloaded += index_.state(entry) == State::kOffloaded;
    n_cached += index_.state(entry) == State::kCached;
  }
  const int n_new = PagesFor(n_tokens) - n_found + n_offloaded;
  if (n_new + reserve > n_available() - n_cached) return -1;

  seq->active = true;
  seq->uses_cache = use_cache;
  if (use_cache) seq->salt = index_.AcquireSalt(salt);
  // First everything that was found is held, lest making room for one part of it forgets another.
  for (int32_t entry : found_) {
    if (index_.state(entry) == State::kOffloaded)
      index_.SetState(entry, State::kUsed);
    else
      Hold(PageOf(entry));
  }
  for (int32_t entry : found_) {
    if (PageOf(entry) < 0) CopyIn(entry, NewPage());
    seq->pages.push_back(PageOf(entry));
    Attach(seq, PageOf(entry));
  }
  seq->n_indexed = n_found;
  LATHE_CHECK(Extend(seq, n_tokens));
  return n_found * page_size_;
}

bool KvManager::Extend(KvSequence* seq, int n_tokens) {
  LATHE_CHECK(seq->active);
  const int missing = PagesFor(n_tokens) - static_cast<int>(seq->pages.size());
  if (missing > n_available()) return false;
  for (int i = 0; i < missing; ++i) {
    seq->pages.push_back(NewPage());
    Attach(seq, seq->pages.back());
  }
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
  child->ready_at = parent.ready_at;
  for (int32_t page : child->pages) Hold(page);
  return n_shared * page_size_;
}

void KvManager::Commit(KvSequence* seq, std::span<const int32_t> tokens, int n_computed) {
  LATHE_CHECK(seq->active);
  if (!seq->uses_cache) return;
  const int n_full = n_computed / page_size_;
  for (; seq->n_indexed < n_full; ++seq->n_indexed) {
    const int i = seq->n_indexed;
    const int32_t own = seq->pages[static_cast<size_t>(i)];
    const int32_t parent = ParentEntry(*seq, i);
    const int32_t known = index_.Find(parent, seq->salt, PageTokens(tokens, i));
    if (known < 0) {
      SetPlace(index_.Insert(parent, seq->salt, PageTokens(tokens, i)), own);
    } else if (PageOf(known) < 0) {  // computed again, since it was offloaded after this sequence began
      index_.SetState(known, State::kUsed);
      FreeHostPage(known);
      SetPlace(known, own);
    } else if (PageOf(known) != own) {  // it is `own` where a fork of this sequence was here first
      Replace(seq, i, PageOf(known));
    }
  }
}

int KvManager::Adopt(KvSequence* seq, std::span<const int32_t> tokens, int n_computed) {
  LATHE_CHECK(seq->active);
  if (!seq->uses_cache || n_computed % page_size_ != 0) return n_computed;
  const int n_tokens = static_cast<int>(tokens.size());
  LATHE_CHECK_EQ(seq->n_indexed, n_computed / page_size_);
  while (n_computed + page_size_ < n_tokens) {
    const int i = n_computed / page_size_;
    const int32_t known = index_.Find(ParentEntry(*seq, i), seq->salt, PageTokens(tokens, i));
    if (known < 0) break;
    if (PageOf(known) < 0) {
      const int32_t own = seq->pages[static_cast<size_t>(i)];
      index_.SetState(known, State::kUsed);
      CopyIn(known, own);
      Attach(seq, own);
    } else {
      Replace(seq, i, PageOf(known));
    }
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
  seq->ready_at = 0;
  seq->uses_cache = seq->active = false;
}

void KvManager::Discard(KvSequence* seq) {
  if (!seq->active) return;
  // From the tail, so that what stood on a page is gone before the page is looked at.
  for (int i = seq->n_indexed - 1; i >= 0; --i) {
    const int32_t page = seq->pages[static_cast<size_t>(i)];
    if (pool_.refs(page) > 1 || index_.has_children(EntryOf(page))) break;
    Forget(EntryOf(page));
    --seq->n_indexed;
  }
  Free(seq);
}

void KvManager::DropCache() {
  while (index_.n_offloaded() > 0) Forget(index_.Oldest(State::kOffloaded));
  while (index_.n_cached() > 0) {
    const int32_t entry = index_.Oldest(State::kCached);
    const int32_t page = PageOf(entry);
    Forget(entry);
    pool_.Release(page);
  }
}

void KvManager::CheckInvariants(std::span<const KvSequence* const> live) const {
  pool_.CheckInvariants();
  index_.CheckInvariants();
  CheckPlaces();
  std::vector<int> holders(static_cast<size_t>(n_pages()), 0);
  for (const KvSequence* seq : live) {
    LATHE_CHECK(seq->active);
    LATHE_CHECK_LE(seq->n_indexed, static_cast<int>(seq->pages.size()));
    for (size_t i = 0; i < seq->pages.size(); ++i) {
      ++holders[static_cast<size_t>(seq->pages[i])];
      LATHE_CHECK_GE(seq->ready_at, busy_until_[static_cast<size_t>(seq->pages[i])]);
      if (static_cast<int>(i) < seq->n_indexed) LATHE_CHECK_GE(EntryOf(seq->pages[i]), 0);
    }
  }
  for (int page = 0; page < n_pages(); ++page) {
    const int refs = pool_.refs(page), entry = EntryOf(page);
    LATHE_CHECK_EQ(holders[static_cast<size_t>(page)], refs);
    LATHE_CHECK_EQ(pool_.is_free(page), refs == 0 && entry < 0);
    if (entry >= 0) LATHE_CHECK(index_.state(entry) == (refs > 0 ? State::kUsed : State::kCached));
  }
}

// Entries, device pages and host pages name each other, and each host page is free or of one entry.
void KvManager::CheckPlaces() const {
  std::vector<int> owners(static_cast<size_t>(n_host_pages_), 0);
  for (int32_t page : free_host_) ++owners[static_cast<size_t>(page)];
  for (int32_t entry = 0; entry < static_cast<int32_t>(page_of_.size()) && prefix_cache_; ++entry) {
    const int32_t page = page_of_[static_cast<size_t>(entry)];
    const int32_t host_page = host_page_of_[static_cast<size_t>(entry)];
    const State state = index_.state(entry);
    LATHE_CHECK_EQ(page >= 0, state == State::kUsed || state == State::kCached);
    if (page >= 0) LATHE_CHECK_EQ(EntryOf(page), entry);
    if (host_page >= 0) ++owners[static_cast<size_t>(host_page)];
    LATHE_CHECK(host_page >= 0 ? state == State::kOffloaded || state == State::kCached
                               : state != State::kOffloaded);
  }
  for (int n : owners) LATHE_CHECK_EQ(n, 1);
}

}  // namespace lathe
