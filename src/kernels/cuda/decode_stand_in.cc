#include "kernels/cuda/decode_stand_in.h"

#include <algorithm>

namespace lathe::cuda {
namespace {

constexpr int64_t kPoolBytes = 192 << 20;  // of pages: more than L2 holds, so that they are read from memory
constexpr float kAngle = 0.7F;             // what stands for every cosine and sine
constexpr uint8_t kFillByte = 0x3c;        // of keys, values and qkv: small numbers in any of their types

template <typename T>
T* Pointer(const DeviceBuffer& buffer) {
  return reinterpret_cast<T*>(buffer.address());
}

}  // namespace

Expected<std::unique_ptr<DecodeStandIn>> DecodeStandIn::Create(const Device& device, GemmMeasurer* measurer,
                                                               const AttentionShape& shape,
                                                               const RopeVariant& rope, int rows,
                                                               int context) {
  std::unique_ptr<DecodeStandIn> stand_in(new DecodeStandIn(device, measurer, shape, rope));
  LATHE_RETURN_IF_ERROR(stand_in->Init(rows, context));
  return stand_in;
}

template <typename T>
Status DecodeStandIn::Put(const std::vector<T>& values, DeviceBuffer* out) {
  const auto bytes = static_cast<int64_t>(values.size() * sizeof(T));
  LATHE_ASSIGN_OR_RETURN(*out, DeviceBuffer::Allocate(device_, std::max<int64_t>(16, bytes)));
  if (bytes == 0) return Status::Ok();
  const abi::Stream stream = measurer_->stream().get();
  LATHE_RETURN_IF_ERROR(CopyToDevice(device_, out->address(), values.data(), bytes, stream));
  return Synchronize(measurer_->stream());
}

Status DecodeStandIn::Init(int rows, int context) {
  const int multiprocessors = device_.info().multiprocessors, per_row = (context + kPageSize - 1) / kPageSize;
  folds_ = rows <= MostWideRows(shape_, multiprocessors);
  split_ = DecodeSplitOf(shape_, multiprocessors, folds_);
  const KernelSource rope = RopeKernel(rope_variant_), decode = DecodeKernel(shape_, folds_),
                     both = DecodeRopeKernel(shape_, rope_variant_);
  LATHE_RETURN_IF_ERROR(measurer_->PrepareKernels({rope, decode, both}));
  LATHE_ASSIGN_OR_RETURN(rope_, measurer_->KernelOf(rope));
  LATHE_ASSIGN_OR_RETURN(decode_, measurer_->KernelOf(decode));
  LATHE_ASSIGN_OR_RETURN(decode_rope_, measurer_->KernelOf(both));

  std::vector<DecodeRow> plan_rows;
  std::vector<StepRow> step_rows;
  std::vector<int> table;
  for (int i = 0; i < rows; ++i) {
    plan_rows.push_back({i, i * per_row, context});
    for (int page = 0; page < per_row; ++page) table.push_back(i * per_row + page);
    const int last = context - 1;
    step_rows.push_back(
        {.token = 0, .position = last, .kv_slot = table.back() * kPageSize + last % kPageSize, .rope = 0});
  }
  DecodePlan plan;
  PlanDecode(plan_rows, 0, split_, &plan);
  const DecodeBounds bounds = BoundDecode(shape_, split_, rows, context);
  LATHE_RETURN_IF_ERROR(Put(table, &table_));
  LATHE_RETURN_IF_ERROR(Put(step_rows, &rows_));
  LATHE_RETURN_IF_ERROR(Put(plan.pieces, &pieces_));
  LATHE_RETURN_IF_ERROR(Put(plan.column_first, &columns_));
  LATHE_RETURN_IF_ERROR(
      Put(std::vector<float>(static_cast<size_t>(rows * rope_variant_.rotary_dim / 2), kAngle), &angles_));

  copy_bytes_ = int64_t{rows} * per_row * shape_.page_bytes();
  copies_ = static_cast<int>(std::clamp<int64_t>(kPoolBytes / copy_bytes_, 1, 64));
  const int64_t q_bytes = int64_t{rows} * shape_.n_heads * shape_.head_dim * 2;
  const int64_t qkv_bytes = int64_t{rows} * (shape_.n_heads + 2 * shape_.n_kv_heads) * shape_.head_dim * 4;
  for (const auto& [buffer, bytes] : {std::pair{&pages_, copies_ * copy_bytes_},
                                      {&qkv_, qkv_bytes},
                                      {&q_, q_bytes},
                                      {&out_, q_bytes},
                                      {&partial_out_, bounds.partial_out_floats * 4},
                                      {&partial_state_, bounds.partial_state_floats * 4},
                                      {&counters_, bounds.counter_words * 4}}) {
    LATHE_ASSIGN_OR_RETURN(*buffer, DeviceBuffer::Allocate(device_, std::max<int64_t>(16, bytes)));
    LATHE_RETURN_IF_ERROR(Fill(device_, buffer->address(), buffer == &counters_ ? 0 : kFillByte,
                               buffer->bytes(), measurer_->stream().get()));
  }
  params_.q = Pointer<void>(q_);
  params_.out = Pointer<void>(out_);
  params_.pieces = Pointer<DecodePiece>(pieces_);
  params_.column_first = Pointer<int>(columns_);
  params_.pages = Pointer<int>(table_);
  params_.partial_out = Pointer<float>(partial_out_);
  params_.partial_state = Pointer<float>(partial_state_);
  params_.counters = Pointer<unsigned>(counters_);
  params_.scale = AttentionScale(shape_.head_dim, 1);
  params_.v_scale = 1;
  params_.n_kv_heads = shape_.n_kv_heads;
  RopeParams& p = params_.rope;
  p.rows = Pointer<StepRow>(rows_);
  p.qkv = Pointer<void>(qkv_);
  p.q_gain = p.k_gain = p.cos = p.sin = Pointer<float>(angles_);
  p.q = Pointer<void>(q_);
  p.inverse_k_scale = p.inverse_v_scale = 1;
  p.eps = 1e-5F;
  p.n_rows = rows;
  p.n_heads = shape_.n_heads;
  p.n_kv_heads = shape_.n_kv_heads;
  return Synchronize(measurer_->stream());
}

Status DecodeStandIn::Launch(bool overlap, bool separate) {
  auto* pages =
      reinterpret_cast<void*>(pages_.address() + static_cast<uint64_t>(next_++ % copies_ * copy_bytes_));
  params_.kv = params_.rope.kv = pages;
  const abi::Stream stream = measurer_->stream().get();
  if (folds_ && !separate) return LaunchDecode(decode_rope_, shape_, split_, params_, stream, overlap);
  LATHE_RETURN_IF_ERROR(LaunchRope(rope_, rope_variant_, params_.rope, stream, overlap));
  return LaunchDecode(decode_, shape_, split_, params_, stream, true);
}

}  // namespace lathe::cuda
