// Attention of one decode step over made-up keys, for measuring what stands around it: the products of a
// layer do not follow one another, and the weights of the one behind attention have time to arrive. One
// thread.
#pragma once

#include <memory>
#include <vector>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/gemm_measure.h"

namespace lathe::cuda {

class DecodeStandIn {
 public:
  // `rows` rows of `context` keys each. Compiles through `measurer`, which must outlive it, as the device
  // must.
  static Expected<std::unique_ptr<DecodeStandIn>> Create(const Device& device, GemmMeasurer* measurer,
                                                         const AttentionShape& shape, const RopeVariant& rope,
                                                         int rows, int context);
  // Rotation, append and attention as a step of so many rows has them: in one kernel or (`separate`, and
  // where there are too many rows for one) in two.
  Status Launch(bool overlap, bool separate = false);

 private:
  DecodeStandIn(const Device& device, GemmMeasurer* measurer, const AttentionShape& shape,
                const RopeVariant& rope)
      : device_(device), measurer_(measurer), shape_(shape), rope_variant_(rope) {}
  Status Init(int rows, int context);
  template <typename T>
  Status Put(const std::vector<T>& values, DeviceBuffer* out);

  const Device& device_;
  GemmMeasurer* measurer_;
  AttentionShape shape_;
  RopeVariant rope_variant_;
  DecodeSplit split_;
  Kernel rope_, decode_, decode_rope_;
  bool folds_ = false;
  int copies_ = 1, next_ = 0;  // of the pages, which launches take in turn
  int64_t copy_bytes_ = 0;
  DeviceBuffer pages_, table_, pieces_, columns_, rows_, angles_, qkv_, q_, out_;
  DeviceBuffer partial_out_, partial_state_, counters_;
  DecodeParams params_ = {};
};

}  // namespace lathe::cuda
