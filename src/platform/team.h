// A team of threads that runs one function on all of them at once, with a barrier cheap enough to stand
// between two kernels.
//
// Waiting threads spin for a short while (they are fast to wake while tokens are being generated) and then
// sleep in the kernel, so an idle engine uses no CPU. With more threads than usable CPUs they hardly spin.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace lathe {

struct TeamOptions {
  int threads = 0;    // including the caller of Run; 0: Topology::usable_cpus()
  bool pin = true;    // one CPU a thread, where affinity offers enough of them and no quota shares them out
  int first_cpu = 0;  // index into the affinity list of the first CPU to pin to (ranks in one process)
  int spin_us = -1;   // spin before sleeping; -1: 200, or 0 when there are more threads than usable CPUs
};

// Construct, Run and destroy on one thread: it is worker 0 (and pinned while the team lives). Barrier may be
// called by all workers inside Run only. Run does not nest.
class Team {
 public:
  explicit Team(const TeamOptions& options = {});
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int size() const { return size_; }
  bool pinned() const { return pinned_; }

  // Calls fn(index) on every thread, index 0 .. size()-1, 0 on the calling thread; returns when all are done.
  // Writes before Run are seen by fn; writes of fn are seen after Run. fn must not throw.
  template <typename Fn>
  void Run(Fn&& fn) {
    using F = std::remove_reference_t<Fn>;
    RunErased([](void* context, int index) { (*static_cast<F*>(context))(index); },
              const_cast<void*>(static_cast<const void*>(&fn)));
  }

  // Waits until every thread of the team has arrived. Everything written before is seen after.
  void Barrier();

 private:
  using Erased = void (*)(void* context, int index);
  void RunErased(Erased fn, void* context);
  void ThreadMain(int index);
  // Returns when `word` no longer holds `old`.
  void WaitWhileEqual(const std::atomic<uint32_t>& word, uint32_t old) const;

  int size_ = 1;
  bool pinned_ = false;
  int64_t spin_ns_ = 0;
  Erased fn_ = nullptr;
  void* context_ = nullptr;
  bool stop_ = false;
  std::vector<int> caller_cpus_;  // affinity to restore
  alignas(64) std::atomic<uint32_t> epoch_{0};
  alignas(64) std::atomic<uint32_t> arrived_{0};
  alignas(64) std::atomic<uint32_t> generation_{0};
  std::vector<std::thread> threads_;
};

}  // namespace lathe
