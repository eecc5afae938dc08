#include "comm/communicator.h"

#include <cstring>
#include <thread>

#include "base/check.h"

namespace lathe {
namespace {

// Waits for a condition that another rank's thread makes true: a short spin, then the core is given away, as
// ranks may outnumber cores.
template <typename Condition>
void SpinUntil(Condition condition) {
  for (int spins = 0; !condition(); ++spins)
    if (spins > 200) std::this_thread::yield();
}

}  // namespace

struct SharedMemoryGroup::TpGroup {
  explicit TpGroup(int n) : size(n), in(static_cast<size_t>(n)), width(static_cast<size_t>(n)) {}
  const int size;
  std::vector<const float*> in;  // published by each rank before the first barrier of a collective
  std::vector<int64_t> width;
  std::atomic<int> arrived{0};
  std::atomic<uint32_t> generation{0};

  void Barrier() {
    const uint32_t mine = generation.load(std::memory_order_acquire);
    if (arrived.fetch_add(1, std::memory_order_acq_rel) == size - 1) {
      arrived.store(0, std::memory_order_relaxed);
      generation.store(mine + 1, std::memory_order_release);
      return;
    }
    SpinUntil([&] { return generation.load(std::memory_order_acquire) != mine; });
  }
};

// A rendezvous of one sender and one receiver.
struct SharedMemoryGroup::Channel {
  std::atomic<const void*> data{nullptr};
  int64_t bytes = 0;
};

class SharedMemoryGroup::Rank final : public Communicator {
 public:
  Rank(SharedMemoryGroup& all, int tp_rank, int pp_rank)
      : all_(all), group_(*all.groups_[static_cast<size_t>(pp_rank)]), tp_rank_(tp_rank), pp_rank_(pp_rank) {}

  int tp_rank() const override { return tp_rank_; }
  int tp_size() const override { return group_.size; }

  void AllReduceSum(float* data, int64_t n) override {
    group_.in[static_cast<size_t>(tp_rank_)] = data;
    sum_.resize(static_cast<size_t>(n));
    group_.Barrier();
    std::memcpy(sum_.data(), group_.in[0], static_cast<size_t>(n) * sizeof(float));
    for (size_t r = 1; r < group_.in.size(); ++r)
      for (size_t i = 0; i < sum_.size(); ++i) sum_[i] += group_.in[r][i];
    group_.Barrier();  // nobody overwrites what another still reads
    std::memcpy(data, sum_.data(), static_cast<size_t>(n) * sizeof(float));
  }

  void AllGatherRows(const float* in, int64_t rows, int64_t width, float* out, int64_t ld_out) override {
    group_.in[static_cast<size_t>(tp_rank_)] = in;
    group_.width[static_cast<size_t>(tp_rank_)] = width;
    group_.Barrier();
    int64_t column = 0;
    for (size_t r = 0; r < group_.in.size(); ++r) {
      const int64_t w = group_.width[r];
      LATHE_CHECK_LE(column + w, ld_out);
      for (int64_t row = 0; row < rows; ++row)
        std::memcpy(out + row * ld_out + column, group_.in[r] + row * w,
                    static_cast<size_t>(w) * sizeof(float));
      column += w;
    }
    group_.Barrier();
  }

  void Send(int peer, const void* data, int64_t bytes) override {
    Channel& channel = ChannelBetween(pp_rank_, peer);
    channel.bytes = bytes;
    channel.data.store(data, std::memory_order_release);
    SpinUntil([&] { return channel.data.load(std::memory_order_acquire) == nullptr; });
  }

  void Recv(int peer, void* data, int64_t bytes) override {
    Channel& channel = ChannelBetween(peer, pp_rank_);
    const void* from = nullptr;
    SpinUntil([&] { return (from = channel.data.load(std::memory_order_acquire)) != nullptr; });
    LATHE_CHECK_EQ(channel.bytes, bytes);
    std::memcpy(data, from, static_cast<size_t>(bytes));
    channel.data.store(nullptr, std::memory_order_release);
  }

 private:
  Channel& ChannelBetween(int from, int to) {
    return *all_.channels_[static_cast<size_t>((tp_rank_ * all_.pp_ + from) * all_.pp_ + to)];
  }
  SharedMemoryGroup& all_;
  TpGroup& group_;
  const int tp_rank_, pp_rank_;
  std::vector<float> sum_;
};

SharedMemoryGroup::SharedMemoryGroup(int tp, int pp) : tp_(tp), pp_(pp) {
  for (int p = 0; p < pp; ++p) groups_.push_back(std::make_unique<TpGroup>(tp));
  for (int i = 0; i < tp * pp * pp; ++i) channels_.push_back(std::make_unique<Channel>());
  for (int p = 0; p < pp; ++p)
    for (int t = 0; t < tp; ++t) ranks_.push_back(std::make_unique<Rank>(*this, t, p));
}

SharedMemoryGroup::~SharedMemoryGroup() = default;

Communicator* SharedMemoryGroup::Get(int tp_rank, int pp_rank) {
  return ranks_[static_cast<size_t>(pp_rank * tp_ + tp_rank)].get();
}

}  // namespace lathe
