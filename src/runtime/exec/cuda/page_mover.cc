#include "runtime/exec/cuda/page_mover.h"

#include <algorithm>

#include "base/check.h"
#include "platform/memory_info.h"

namespace lathe::cuda {
namespace {

// Batches of moves on their way at once; more share the event of the last.
constexpr int kMaxBatches = 16;

double GiB(uint64_t bytes) { return static_cast<double>(bytes) / (1 << 30); }

}  // namespace

Expected<std::unique_ptr<PageMover>> PageMover::Open(const Device& device, const PageGeometry& geometry) {
  std::unique_ptr<PageMover> mover(new PageMover(device, geometry));
  const auto bytes = static_cast<uint64_t>(geometry.host_bytes());
  // Pinning takes the memory at once and cannot be undone by the kernel: asked for too much, it would kill.
  const uint64_t available = AvailableMemory();
  if (available > 0 && bytes > available)
    return Error(StatusCode::kResourceExhausted,
                 "%.2f GiB of host memory were asked for KV pages, but %.2f GiB are available; lower "
                 "--host-kv-memory",
                 GiB(bytes), GiB(available));
  auto host = PinnedBuffer::Allocate(device, geometry.host_bytes());
  if (!host.ok())
    return Error(StatusCode::kResourceExhausted,
                 "%.2f GiB of pinned host memory for KV pages cannot be had (%s); lower --host-kv-memory",
                 GiB(bytes), host.status().message().c_str());
  mover->host_ = *std::move(host);
  LATHE_ASSIGN_OR_RETURN(mover->stream_, NewStream(device));
  for (int i = 0; i < kMaxBatches; ++i) {
    LATHE_ASSIGN_OR_RETURN(Event event, NewEvent(device));
    mover->spare_.push_back(std::move(event));
  }
  return mover;
}

Status PageMover::Copy(const PageMove& move) const {
  LATHE_CHECK(move.device_page >= 0 && move.device_page < geometry_.n_pages);
  LATHE_CHECK(move.host_page >= 0 && move.host_page < geometry_.n_host_pages);
  const auto width = static_cast<size_t>(geometry_.layer_page_bytes);
  const abi::DevicePtr page = geometry_.pool + static_cast<uint64_t>(move.device_page) * width;
  char* host = host_.as<char>() + geometry_.host_page_bytes() * move.host_page;
  // One row, as many slices as layers; a slice of the device is a layer's pool.
  abi::Memcpy3D copy;
  copy.width_bytes = width;
  copy.height = 1;
  copy.depth = static_cast<size_t>(geometry_.n_layers);
  abi::Memcpy3DSide& device = move.to_host ? copy.from : copy.to;
  device.memory_type = abi::kMemoryDevice;
  device.device = page;
  device.pitch = width;
  device.height = static_cast<size_t>(geometry_.n_pages);
  abi::Memcpy3DSide& pinned = move.to_host ? copy.to : copy.from;
  pinned.memory_type = abi::kMemoryHost;
  pinned.host = host;
  pinned.pitch = width;
  pinned.height = 1;
  return device_->Check(device_->api().memcpy_3d_async(&copy, stream_.get()), "cuMemcpy3DAsync");
}

Status PageMover::Begin(std::span<const PageMove> moves) {
  if (moves.empty()) return Status::Ok();
  for (const PageMove& move : moves) LATHE_RETURN_IF_ERROR(Copy(move));
  begun_ += std::ssize(moves);
  if (spare_.empty()) {
    running_.back().end = begun_;
  } else {
    running_.push_back({begun_, std::move(spare_.back())});
    spare_.pop_back();
  }
  return device_->Check(device_->api().event_record(running_.back().reached.get(), stream_.get()),
                        "cuEventRecord");
}

Status PageMover::BeforeStep(const Step& step, abi::Stream stream) {
  step_begun_ = std::clamp<int64_t>(step.moves_needed - begun_, 0, std::ssize(step.moves));
  LATHE_RETURN_IF_ERROR(Begin(std::span(step.moves).first(static_cast<size_t>(step_begun_))));
  if (step.moves_needed <= done_) return Status::Ok();
  const auto batch =
      std::ranges::find_if(running_, [&](const Batch& b) { return b.end >= step.moves_needed; });
  LATHE_CHECK(batch != running_.end());
  return device_->Check(device_->api().stream_wait_event(stream, batch->reached.get(), 0),
                        "cuStreamWaitEvent");
}

Status PageMover::AfterStep(const Step& step) {
  return Begin(std::span(step.moves).subspan(static_cast<size_t>(step_begun_)));
}

Expected<int64_t> PageMover::Done() {
  while (!running_.empty()) {
    const abi::Result result = device_->api().event_query(running_.front().reached.get());
    if (result == abi::kErrorNotReady) break;
    LATHE_RETURN_IF_ERROR(device_->Check(result, "cuEventQuery"));
    done_ = running_.front().end;
    spare_.push_back(std::move(running_.front().reached));
    running_.pop_front();
  }
  return done_;
}

}  // namespace lathe::cuda
