// Copies KV pages between the device and pinned memory of the host, on a stream of their own.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "platform/cuda/driver.h"
#include "runtime/step/step.h"

namespace lathe::cuda {

// Where pages lie: layers one after another on the device, the layers of a page one after another on the
// host.
struct PageGeometry {
  abi::DevicePtr pool = 0;
  int64_t layer_page_bytes = 0;  // of a page, in one layer
  int n_layers = 0, n_pages = 0, n_host_pages = 0;
  int64_t host_page_bytes() const { return layer_page_bytes * n_layers; }
  int64_t host_bytes() const { return host_page_bytes() * n_host_pages; }
};

// Used by the thread that runs steps. Steps are over before the next one begins; what a move copies out was
// written by earlier ones, so moves wait for no kernel, and kernels wait for moves as Step::moves_needed
// says.
class PageMover {
 public:
  // Takes the pinned memory. kResourceExhausted, with what to do, when it cannot be had.
  static Expected<std::unique_ptr<PageMover>> Open(const Device& device, const PageGeometry& geometry);

  // Begins what `step` needs of its moves, and makes `stream` wait for that and what it needs of earlier
  // ones.
  Status BeforeStep(const Step& step, abi::Stream stream);
  // Begins the rest of its moves.
  Status AfterStep(const Step& step);
  // Moves that are over, counted from the first on; does not wait.
  Expected<int64_t> Done();
  // Waits for all of them.
  Status Drain() { return Synchronize(stream_); }

 private:
  struct Batch {
    int64_t end;  // moves that are over when the event is reached
    Event reached;
  };
  PageMover(const Device& device, const PageGeometry& geometry) : device_(&device), geometry_(geometry) {}
  Status Begin(std::span<const PageMove> moves);
  Status Copy(const PageMove& move) const;

  const Device* device_;
  const PageGeometry geometry_;
  PinnedBuffer host_;
  Stream stream_;
  std::deque<Batch> running_;  // in order
  std::vector<Event> spare_;
  int64_t begun_ = 0, done_ = 0;
  int64_t step_begun_ = 0;  // moves of the current step that BeforeStep began
};

}  // namespace lathe::cuda
