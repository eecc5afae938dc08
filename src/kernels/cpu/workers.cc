#include "kernels/cpu/workers.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

namespace lathe {

namespace {
constexpr std::align_val_t kScratchAlign{size_t{2}
                                         << 20};  // a large page a thread: no TLB misses inside kernels
}

Workers::Workers(Team& team) : team_(team), scratch_(static_cast<size_t>(team.size())) {
  for (std::byte*& scratch : scratch_) {
    scratch = static_cast<std::byte*>(::operator new(kScratchBytes, kScratchAlign));
    (void)madvise(scratch, kScratchBytes, MADV_HUGEPAGE);
  }
  team_.Run([this](int index) { std::memset(scratch_[static_cast<size_t>(index)], 0, kScratchBytes); });
}

Workers::~Workers() {
  for (std::byte* scratch : scratch_) ::operator delete(scratch, kScratchAlign);
}

}  // namespace lathe
