// A fixed set of page ids with reference counts. It does not know what a page holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace lathe {

// A page is free (on the free list), held (count > 0), or parked: count 0 but kept off the free list by
// somebody who still knows its content (the prefix index). Not thread-safe.
class BlockPool {
 public:
  // n_pages >= 0 pages, all free.
  explicit BlockPool(int n_pages);

  int n_pages() const { return static_cast<int>(refs_.size()); }
  int n_free() const { return static_cast<int>(free_.size()); }
  int refs(int32_t page) const { return refs_[static_cast<size_t>(page)]; }
  bool is_free(int32_t page) const { return is_free_[static_cast<size_t>(page)] != 0; }

  // A free page, now with count 1; -1 when none is free.
  int32_t Take();
  // One more holder of a held or parked page.
  void Ref(int32_t page);
  // One holder less; the count left. At 0 the page is parked: Release() or Ref() comes next.
  int Unref(int32_t page);
  // A parked page becomes free.
  void Release(int32_t page);

  // Aborts when the free list and the counts contradict each other.
  void CheckInvariants() const;

 private:
  std::vector<int32_t> refs_;     // (n_pages)
  std::vector<uint8_t> is_free_;  // (n_pages)
  std::vector<int32_t> free_;     // a stack: the page used last is still in the caches
};

}  // namespace lathe
