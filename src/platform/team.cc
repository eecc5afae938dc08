#include "platform/team.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>

#include "base/check.h"
#include "platform/topology.h"

namespace lathe {
namespace {

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void SetAffinity(pthread_t thread, const std::vector<int>& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int cpu : cpus)
    if (cpu < CPU_SETSIZE) CPU_SET(static_cast<size_t>(cpu), &set);
  // Best effort: an unpinned thread is slower, not wrong.
  (void)pthread_setaffinity_np(thread, sizeof(set), &set);
}

constexpr int64_t kDefaultSpinNs = 200'000;

}  // namespace

Team::Team(const TeamOptions& options) {
  const Topology topology = ReadTopology();
  const int usable = topology.usable_cpus();
  const int n_cpus = static_cast<int>(topology.cpus.size());
  size_ = std::max(1, options.threads > 0 ? options.threads : usable);
  const bool crowded = size_ > usable;
  spin_ns_ = options.spin_us >= 0 ? int64_t{options.spin_us} * 1000 : (crowded ? 0 : kDefaultSpinNs);
  // A quota means the CPUs are shared with other containers that pin too: leave placement to the kernel.
  pinned_ = options.pin && size_ > 1 && usable == n_cpus && options.first_cpu + size_ <= n_cpus;
  if (pinned_) {
    caller_cpus_ = topology.cpus;
    SetAffinity(pthread_self(), {topology.cpus[static_cast<size_t>(options.first_cpu)]});
  }
  threads_.reserve(static_cast<size_t>(size_ - 1));
  for (int i = 1; i < size_; ++i) {
    threads_.emplace_back([this, i] { ThreadMain(i); });
    if (pinned_)
      SetAffinity(threads_.back().native_handle(),
                  {topology.cpus[static_cast<size_t>(options.first_cpu + i)]});
  }
}

Team::~Team() {
  stop_ = true;
  epoch_.fetch_add(1, std::memory_order_seq_cst);
  epoch_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  if (pinned_) SetAffinity(pthread_self(), caller_cpus_);
}

void Team::WaitWhileEqual(const std::atomic<uint32_t>& word, uint32_t old) const {
  // The clock is read every 64 pauses (about 1 us): reading it each time would triple the wake-up latency.
  constexpr int kPausesPerLook = 64;
  for (int64_t deadline = 0;;) {
    for (int i = 0; i < kPausesPerLook; ++i) {
      if (word.load(std::memory_order_acquire) != old) return;
      Pause();
    }
    const int64_t now = NowNs();
    if (deadline == 0) deadline = now + spin_ns_;
    if (now >= deadline) break;
  }
  word.wait(old, std::memory_order_acquire);
}

void Team::Barrier() {
  if (size_ == 1) return;
  // The generation cannot change before this thread arrives, so reading it first is safe.
  const uint32_t generation = generation_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == static_cast<uint32_t>(size_)) {
    arrived_.store(0, std::memory_order_relaxed);
    generation_.store(generation + 1, std::memory_order_seq_cst);
    generation_.notify_all();
    return;
  }
  WaitWhileEqual(generation_, generation);
}

void Team::RunErased(Erased fn, void* context) {
  fn_ = fn;
  context_ = context;
  if (size_ > 1) {
    epoch_.fetch_add(1, std::memory_order_seq_cst);
    epoch_.notify_all();
  }
  fn(context, 0);
  Barrier();
}

void Team::ThreadMain(int index) {
  uint32_t seen = 0;
  while (true) {
    WaitWhileEqual(epoch_, seen);
    ++seen;
    if (stop_) return;
    fn_(context_, index);
    Barrier();
  }
}

}  // namespace lathe
