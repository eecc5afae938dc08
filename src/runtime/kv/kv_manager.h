// Pages of the key/value cache: who holds which, what can be found again, what can be taken back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "runtime/kv/block_pool.h"
#include "runtime/kv/prefix_index.h"
#include "runtime/step/step.h"

namespace lathe {

// The pages of one sequence. Position p lives in pages[p / page_size], slot p % page_size. Changed only by
// KvManager; `pages` may be read (it is the page table of a step).
struct KvSequence {
  std::vector<int32_t> pages;
  int n_indexed = 0;     // the first n_indexed pages are entries of the prefix index
  int64_t ready_at = 0;  // moves that must be over before its pages are read or written
  uint32_t salt = PrefixIndex::kNoSalt;
  bool uses_cache = false;
  bool active = false;  // between Admit/Fork and Free
};

struct KvOptions {
  bool prefix_cache = true;
  PrefixIndex::HashFn hash = &PrefixIndex::DefaultHash;
  int host_pages = 0;  // of host memory, for cached pages that are taken back; needs the prefix cache
};

// Counters only grow.
struct KvCounters {
  uint64_t offloaded = 0, restored = 0;  // pages copied to host memory and back
  uint64_t dropped = 0;                  // pages forgotten for lack of host memory, where there is some
};

// Decides; copies are made by whoever runs steps, as TakeMoves lists them. Host only, not thread-safe.
// Invariants (CheckInvariants), with those of docs/contracts/engine.md on pages in host memory:
//  1. Every page is exactly one of: free; used (held by >= 1 sequences); cached (held by none, indexed).
//  2. A sequence that holds an indexed page holds its parent: equal content is swapped for the indexed page
//     when it is committed, so that cached pages form subtrees that can be taken back leaf by leaf.
//  3. A shared or indexed page is full and never written again.
//  4. A host page is free, or holds the content of one entry that is offloaded or, ahead of that, cached.
class KvManager {
 public:
  KvManager(int n_pages, int page_size, const KvOptions& options = {});

  int n_pages() const { return pool_.n_pages(); }
  int page_size() const { return page_size_; }
  int n_host_pages() const { return n_host_pages_; }
  int n_host_used() const { return n_host_pages_ - static_cast<int>(free_host_.size()); }
  int n_cached() const { return index_.n_cached(); }
  int n_used() const { return n_pages() - pool_.n_free() - n_cached(); }
  // Pages that a sequence could get now: free ones and cached ones.
  int n_available() const { return pool_.n_free() + n_cached(); }
  int PagesFor(int n_tokens) const { return (n_tokens + page_size_ - 1) / page_size_; }

  // Makes `seq` (inactive) hold pages for all of `tokens` (at least one): the longest cached prefix, in full
  // pages and never the whole of `tokens`, since at least one token must be computed; then new pages. Done
  // only if `reserve` pages stay available after it, else nothing changes and -1 is returned. Returns the
  // number of tokens found in the cache; those found in host memory are to be moved (ready_at). `salt`: only
  // pages committed under equal bytes are found. use_cache false: nothing is found and Commit() will do
  // nothing.
  int Admit(KvSequence* seq, std::span<const int32_t> tokens, std::string_view salt, bool use_cache,
            int reserve);

  // Grows to hold n_tokens. False, and nothing changed, when too few pages are available.
  bool Extend(KvSequence* seq, int n_tokens);

  // `child` (inactive) shares the full pages of the first n_tokens of `parent`; the partial page is not
  // shared, its tokens are to be computed again. Returns the tokens shared.
  int Fork(const KvSequence& parent, int n_tokens, KvSequence* child);

  // Tokens 0 .. n_computed-1 of `tokens` are in the cache now: enters the full pages into the index. A page
  // whose content is already there is swapped for that one, and its own freed.
  void Commit(KvSequence* seq, std::span<const int32_t> tokens, int n_computed);

  // Other sequences may have committed what `seq` is about to compute: swaps its next pages for those and
  // returns the new number of computed tokens (n_computed when nothing was found; never all of `tokens`).
  // What is found in host memory is to be moved into its own pages.
  int Adopt(KvSequence* seq, std::span<const int32_t> tokens, int n_computed);

  // Gives up all pages: indexed ones stay cached, others are free at once.
  void Free(KvSequence* seq);
  // The same, but what only this sequence holds is not to be found again: its content is in doubt.
  void Discard(KvSequence* seq);

  // Forgets every cached and every offloaded page.
  void DropCache();

  // Copies some of the pages that will be taken back next to host memory, where few others are to be had.
  void CopyAhead();
  // The moves decided since the last call, in order. They must begin before any page changes that is written
  // by what is decided from now on.
  void TakeMoves(std::vector<PageMove>* moves);
  // So many moves, of all that were ever taken, are over.
  void SetMovesDone(int64_t n) { moves_done_ = n; }
  int64_t moves_done() const { return moves_done_; }
  const KvCounters& counters() const { return counters_; }

  // `live`: every active sequence. Aborts with the values when an invariant is broken.
  void CheckInvariants(std::span<const KvSequence* const> live) const;

 private:
  std::span<const int32_t> PageTokens(std::span<const int32_t> tokens, int page) const {
    return tokens.subspan(static_cast<size_t>(page) * static_cast<size_t>(page_size_),
                          static_cast<size_t>(page_size_));
  }
  int32_t EntryOf(int32_t page) const { return page < 0 ? -1 : entry_of_page_[static_cast<size_t>(page)]; }
  int32_t& PageOf(int32_t entry) { return page_of_[static_cast<size_t>(entry)]; }
  int32_t& HostPageOf(int32_t entry) { return host_page_of_[static_cast<size_t>(entry)]; }
  int32_t ParentEntry(const KvSequence& seq, int page) const {
    return page > 0 ? EntryOf(seq.pages[static_cast<size_t>(page) - 1]) : -1;
  }

  int32_t NewPage();
  void Evict(int32_t entry);
  bool CopyOut(int32_t entry);
  void CopyIn(int32_t entry, int32_t page);
  int32_t TakeHostPage();
  void FreeHostPage(int32_t entry);
  void Forget(int32_t entry);
  int64_t AddMove(int32_t page, int32_t host_page, bool to_host);
  void Hold(int32_t page);
  void Drop(int32_t page);
  // `page`, which `seq` holds already, is one of those that it reads or writes from now on.
  void Attach(KvSequence* seq, int32_t page) const;
  void Replace(KvSequence* seq, int i, int32_t page);
  void SetPlace(int32_t entry, int32_t page);
  void CheckPlaces() const;
  // The entries of the longest indexed prefix of the first max_pages pages of `tokens`, into found_.
  void Match(std::span<const int32_t> tokens, uint32_t salt, int max_pages);

  const int page_size_;
  const bool prefix_cache_;
  const int n_host_pages_;
  BlockPool pool_;
  PrefixIndex index_;
  std::vector<int32_t> entry_of_page_;  // (n_pages) -1: not indexed
  std::vector<int32_t> page_of_;        // (entries) -1: offloaded
  std::vector<int32_t> host_page_of_;   // (entries) -1: no copy in host memory
  std::vector<int32_t> free_host_;
  std::vector<int64_t> busy_until_;  // (n_pages) number of the last move that touches it
  std::vector<PageMove> moves_;      // not taken yet
  int64_t n_moves_ = 0, moves_done_ = 0;
  KvCounters counters_;
  std::vector<int32_t> found_;
};

}  // namespace lathe
