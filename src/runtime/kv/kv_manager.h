// Pages of the key/value cache: who holds which, what can be found again, what can be taken back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "runtime/kv/block_pool.h"
#include "runtime/kv/prefix_index.h"

namespace lathe {

// The pages of one sequence. Position p lives in pages[p / page_size], slot p % page_size. Changed only by
// KvManager; `pages` may be read (it is the page table of a step).
struct KvSequence {
  std::vector<int32_t> pages;
  int n_indexed = 0;  // the first n_indexed pages are entries of the prefix index
  uint32_t salt = PrefixIndex::kNoSalt;
  bool uses_cache = false;
  bool active = false;  // between Admit/Fork and Free
};

struct KvOptions {
  bool prefix_cache = true;
  PrefixIndex::HashFn hash = &PrefixIndex::DefaultHash;
};

// Host only, not thread-safe. Invariants (CheckInvariants):
//  1. Every page is exactly one of: free; used (held by >= 1 sequences); cached (held by none, indexed).
//  2. A sequence that holds an indexed page holds its parent: equal content is swapped for the indexed page
//     when it is committed, so that cached pages form subtrees that can be taken back leaf by leaf.
//  3. A shared or indexed page is full and never written again.
class KvManager {
 public:
  KvManager(int n_pages, int page_size, const KvOptions& options = {});

  int n_pages() const { return pool_.n_pages(); }
  int page_size() const { return page_size_; }
  int n_cached() const { return index_.n_unused(); }
  int n_used() const { return n_pages() - pool_.n_free() - n_cached(); }
  // Pages that a sequence could get now: free ones and cached ones.
  int n_available() const { return pool_.n_free() + n_cached(); }
  int PagesFor(int n_tokens) const { return (n_tokens + page_size_ - 1) / page_size_; }

  // Makes `seq` (inactive) hold pages for all of `tokens` (at least one): the longest cached prefix, in full
  // pages and never the whole of `tokens`, since at least one token must be computed; then new pages. Done
  // only if `reserve` pages stay available after it, else nothing changes and -1 is returned. Returns the
  // number of tokens found in the cache. `salt`: only pages committed under equal bytes are found.
  // use_cache false: nothing is found and Commit() will do nothing.
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
  int Adopt(KvSequence* seq, std::span<const int32_t> tokens, int n_computed);

  // Gives up all pages: indexed ones stay cached, others are free at once.
  void Free(KvSequence* seq);
  // The same, but what only this sequence holds is not to be found again: its content is in doubt.
  void Discard(KvSequence* seq);

  // Forgets every cached page.
  void DropCache();

  // `live`: every active sequence. Aborts with the values when an invariant is broken.
  void CheckInvariants(std::span<const KvSequence* const> live) const;

 private:
  std::span<const int32_t> PageTokens(std::span<const int32_t> tokens, int page) const {
    return tokens.subspan(static_cast<size_t>(page) * static_cast<size_t>(page_size_),
                          static_cast<size_t>(page_size_));
  }
  int32_t NewPage();
  void Hold(int32_t page);
  void Drop(int32_t page);
  // The pages of the longest indexed prefix of the first max_pages pages of `tokens`, into found_.
  void Match(std::span<const int32_t> tokens, uint32_t salt, int max_pages);

  const int page_size_;
  const bool prefix_cache_;
  BlockPool pool_;
  PrefixIndex index_;
  std::vector<int32_t> found_;
};

}  // namespace lathe
