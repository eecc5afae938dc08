// Collectives between the ranks of one model, and their shared-memory form for ranks in one process.
//
// Every call is made by one thread of each rank (the team's worker 0), in the same order on all ranks. Sums
// run in rank order on every rank, so all ranks hold the same bits.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace lathe {

// What one rank sees of its tensor-parallel group and of its pipeline. Not thread-safe: one caller a rank.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int tp_rank() const = 0;
  virtual int tp_size() const = 0;
  // data[i] = sum over ranks of their data[i], on every rank of the group.
  virtual void AllReduceSum(float* data, int64_t n) = 0;
  // out: (rows, sum of widths), the ranks' `in` (rows, width) side by side in rank order. Widths may differ.
  virtual void AllGatherRows(const float* in, int64_t rows, int64_t width, float* out, int64_t ld_out) = 0;
  // To and from the pipeline rank `peer` with the same tp_rank. Blocks until the bytes have changed hands.
  virtual void Send(int peer, const void* data, int64_t bytes) = 0;
  virtual void Recv(int peer, void* data, int64_t bytes) = 0;
};

// All ranks of a tp x pp grid as threads of one process. The group must outlive its communicators' use.
class SharedMemoryGroup {
 public:
  SharedMemoryGroup(int tp, int pp);
  ~SharedMemoryGroup();
  // The communicator of one rank; owned by the group.
  Communicator* Get(int tp_rank, int pp_rank);

 private:
  struct TpGroup;
  struct Channel;
  class Rank;
  int tp_, pp_;
  std::vector<std::unique_ptr<TpGroup>> groups_;    // one a pipeline stage
  std::vector<std::unique_ptr<Channel>> channels_;  // (tp_rank, from, to)
  std::vector<std::unique_ptr<Rank>> ranks_;
};

}  // namespace lathe
