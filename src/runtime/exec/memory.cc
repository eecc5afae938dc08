#include "runtime/exec/memory.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace lathe {

Expected<LazyMemory> LazyMemory::Allocate(uint64_t bytes, const char* what) {
  LazyMemory out;
  if (bytes == 0) return out;
  void* p =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED)
    return Error(StatusCode::kResourceExhausted,
                 "cannot reserve %.1f MiB for the %s: %s; lower --kv-bytes, --host-kv-memory or --context",
                 static_cast<double>(bytes) / (1 << 20), what, std::strerror(errno));
  ::madvise(p, bytes, MADV_HUGEPAGE);  // a hint; it may be off
  out.data_ = static_cast<std::byte*>(p);
  out.size_ = bytes;
  return out;
}

LazyMemory::LazyMemory(LazyMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

LazyMemory& LazyMemory::operator=(LazyMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

LazyMemory::~LazyMemory() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

}  // namespace lathe
