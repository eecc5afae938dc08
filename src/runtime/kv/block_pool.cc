#include "runtime/kv/block_pool.h"

#include "base/check.h"

namespace lathe {

BlockPool::BlockPool(int n_pages) {
  LATHE_CHECK_GE(n_pages, 0);
  refs_.assign(static_cast<size_t>(n_pages), 0);
  is_free_.assign(static_cast<size_t>(n_pages), 1);
  free_.reserve(static_cast<size_t>(n_pages));
  for (int page = n_pages - 1; page >= 0; --page) free_.push_back(page);
}

int32_t BlockPool::Take() {
  if (free_.empty()) return -1;
  const int32_t page = free_.back();
  free_.pop_back();
  is_free_[static_cast<size_t>(page)] = 0;
  refs_[static_cast<size_t>(page)] = 1;
  return page;
}

void BlockPool::Ref(int32_t page) {
  LATHE_CHECK(!is_free(page));
  ++refs_[static_cast<size_t>(page)];
}

int BlockPool::Unref(int32_t page) {
  LATHE_CHECK(!is_free(page));
  LATHE_CHECK_GT(refs(page), 0);
  return --refs_[static_cast<size_t>(page)];
}

void BlockPool::Release(int32_t page) {
  LATHE_CHECK(!is_free(page));
  LATHE_CHECK_EQ(refs(page), 0);
  is_free_[static_cast<size_t>(page)] = 1;
  free_.push_back(page);
}

void BlockPool::CheckInvariants() const {
  std::vector<uint8_t> seen(refs_.size(), 0);
  for (int32_t page : free_) {
    LATHE_CHECK(page >= 0 && page < n_pages());
    LATHE_CHECK(!seen[static_cast<size_t>(page)]);
    seen[static_cast<size_t>(page)] = 1;
    LATHE_CHECK_EQ(refs(page), 0);
  }
  LATHE_CHECK(seen == is_free_);
}

}  // namespace lathe
