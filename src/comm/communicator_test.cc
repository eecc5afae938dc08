// All collectives over several grid sizes, with ranks as threads, many rounds.
#include "comm/communicator.h"

#include <gtest/gtest.h>

#include <thread>

namespace lathe {
namespace {

template <typename Fn>
void RunRanks(int tp, int pp, Fn fn) {
  SharedMemoryGroup group(tp, pp);
  std::vector<std::thread> threads;
  for (int p = 0; p < pp; ++p)
    for (int t = 0; t < tp; ++t) threads.emplace_back([&, t, p] { fn(*group.Get(t, p), t, p); });
  for (std::thread& thread : threads) thread.join();
}

TEST(SharedMemoryGroup, AllReduceSumsInRankOrderOnEveryRank) {
  for (int tp : {1, 2, 3, 4}) {
    RunRanks(tp, 2, [&](Communicator& comm, int t, int p) {
      for (int round = 0; round < 50; ++round) {
        std::vector<float> data(37);
        for (size_t i = 0; i < data.size(); ++i)
          data[i] =
              1e-3f * static_cast<float>(t * 7 + p) + static_cast<float>(i + static_cast<size_t>(round));
        comm.AllReduceSum(data.data(), 37);
        for (size_t i = 0; i < data.size(); ++i) {
          float want = 1e-3f * static_cast<float>(p) + static_cast<float>(i + static_cast<size_t>(round));
          for (int r = 1; r < tp; ++r)
            want +=
                1e-3f * static_cast<float>(r * 7 + p) + static_cast<float>(i + static_cast<size_t>(round));
          ASSERT_EQ(data[i], want);
        }
      }
    });
  }
}

TEST(SharedMemoryGroup, AllGatherPutsUnevenWidthsSideBySide) {
  RunRanks(3, 1, [&](Communicator& comm, int t, int) {
    const int64_t width = t + 1, total = 6, rows = 4;
    for (int round = 0; round < 50; ++round) {
      std::vector<float> in(static_cast<size_t>(rows * width), static_cast<float>(t + round));
      std::vector<float> out(static_cast<size_t>(rows * total), -1);
      comm.AllGatherRows(in.data(), rows, width, out.data(), total);
      for (int64_t row = 0; row < rows; ++row)
        for (int64_t c = 0; c < total; ++c)
          ASSERT_EQ(out[static_cast<size_t>(row * total + c)], static_cast<float>((c >= 3   ? 2
                                                                                   : c >= 1 ? 1
                                                                                            : 0) +
                                                                                  round));
    }
  });
}

TEST(SharedMemoryGroup, SendAndRecvHandOverEachMessageOnce) {
  RunRanks(2, 3, [&](Communicator& comm, int t, int p) {
    for (int round = 0; round < 200; ++round) {
      std::vector<int> data(5, 0);
      if (p > 0) {
        comm.Recv(p - 1, data.data(), 20);
        for (int v : data) ASSERT_EQ(v, round * 10 + t + (p - 1) * 1000);
      }
      data.assign(5, round * 10 + t + p * 1000);
      if (p < 2) comm.Send(p + 1, data.data(), 20);
    }
  });
}

}  // namespace
}  // namespace lathe
