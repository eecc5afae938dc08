// Anonymous memory that the kernel hands out when it is first touched.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/status.h"

namespace lathe {

// Zeroed, page-aligned, huge pages where they can be had; not counted as used until written. Movable.
class LazyMemory {
 public:
  // kResourceExhausted with the size when the address space cannot be had. `what` names it.
  static Expected<LazyMemory> Allocate(uint64_t bytes, const char* what);
  LazyMemory() = default;
  LazyMemory(LazyMemory&& other) noexcept;
  LazyMemory& operator=(LazyMemory&& other) noexcept;
  ~LazyMemory();
  std::byte* data() const { return data_; }
  uint64_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  uint64_t size_ = 0;
};

}  // namespace lathe
