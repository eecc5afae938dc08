// The CUDA driver, opened at run time, and owners of what it hands out.
//
// Every call returns a Status that names the call and the driver's error. Nothing here needs CUDA to build or
// to start: without a driver, Driver::Load says so. Tests build a Driver over a table of their own.
//
// Thread-safety: Driver is immutable after Load. A Device's calls bind its context to the calling thread, so
// any thread may use it; one Stream is used by one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "platform/cuda/abi_driver.h"

namespace lathe::cuda {

// Oldest driver interface that has all we call (cuTensorMapEncodeTiled came with 12.0), as cuDriverGetVersion
// has it.
inline constexpr int kMinDriverVersion = 12000;
// Oldest compute capability that the kernels are written for (bf16 tensor cores, cp.async).
inline constexpr int kMinSm = 80;

class Driver {
 public:
  // Opens libcuda.so.1 (or LATHE_LIBCUDA) once per process and initialises it. kNotFound without a driver,
  // kUnsupported with one that is too old or that fails to start.
  static Expected<const Driver*> Load();
  // Over a given table, initialised likewise: for tests.
  static Expected<std::unique_ptr<Driver>> FromTable(const abi::DriverTable& table);

  const abi::DriverTable& table() const { return table_; }
  int version() const { return version_; }  // 13000 is CUDA 13.0

  // Ok, or a Status that names the call and the error. Out of memory is kResourceExhausted; everything else
  // kUnavailable, since a fault of the device takes it out of service.
  Status Check(abi::Result result, const char* call) const;

 private:
  explicit Driver(const abi::DriverTable& table) : table_(table) {}
  Status Init();

  abi::DriverTable table_;
  int version_ = 0;
};

// "13.0" of 13000.
std::string VersionText(int version);

// What a device is, without making a context on it.
struct DeviceInfo {
  int ordinal = 0;
  std::string name;  // "NVIDIA H200"
  int sm = 0;        // 90: compute capability 9.0
  int multiprocessors = 0;
  int64_t memory_bytes = 0;
  int64_t l2_bytes = 0;
  int shared_per_block = 0;  // opt-in maximum, bytes
  int clock_mhz = 0;
  int memory_clock_mhz = 0;
  int memory_bus_bits = 0;
  std::string unusable;  // empty, or one clause that says why lathe cannot use it

  // From clock and bus (two transfers a clock), GB/s; 0 when the driver does not tell. An upper bound.
  double DatasheetGbps() const;
  // Target to compile for: "sm_90a", "sm_86".
  std::string Target() const { return TargetOf(sm); }
  static std::string TargetOf(int sm);
};

Expected<std::vector<DeviceInfo>> ListDevices(const Driver& driver);

// A device whose primary context is held. Everything made from it must go before it does.
class Device {
 public:
  static Expected<std::unique_ptr<Device>> Open(const Driver& driver, int ordinal);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const Driver& driver() const { return driver_; }
  const abi::DriverTable& api() const { return driver_.table(); }
  const DeviceInfo& info() const { return info_; }
  // Makes the context current on this thread; call it first on each thread that uses the device.
  Status Bind() const;
  Status Check(abi::Result result, const char* call) const { return driver_.Check(result, call); }
  struct Memory {
    int64_t free_bytes;
    int64_t total_bytes;
  };
  Expected<Memory> MemoryNow() const;
  Status Synchronize() const;

 private:
  Device(const Driver& driver, DeviceInfo info) : driver_(driver), info_(std::move(info)) {}
  const Driver& driver_;
  DeviceInfo info_;
  abi::Device handle_ = 0;
  abi::Context context_ = nullptr;
};

// Sole owner of a handle that one driver function frees. The base of the owners below.
template <typename Handle, abi::Result (*abi::DriverTable::*kFree)(Handle)>
class Owned {
 public:
  Owned() = default;
  Owned(const Device* device, Handle handle) : device_(device), handle_(handle) {}
  ~Owned() { Reset(); }
  Owned(Owned&& other) noexcept
      : device_(std::exchange(other.device_, nullptr)), handle_(std::exchange(other.handle_, Handle{})) {}
  Owned& operator=(Owned&& other) noexcept {
    if (this != &other) {
      Reset();
      device_ = std::exchange(other.device_, nullptr);
      handle_ = std::exchange(other.handle_, Handle{});
    }
    return *this;
  }
  Handle get() const { return handle_; }
  explicit operator bool() const { return handle_ != Handle{}; }
  const Device* device() const { return device_; }

 private:
  void Reset() {
    if (handle_ != Handle{} && device_->Bind().ok()) (device_->api().*kFree)(handle_);
    handle_ = Handle{};
  }
  const Device* device_ = nullptr;
  Handle handle_{};
};

using Stream = Owned<abi::Stream, &abi::DriverTable::stream_destroy>;
using Event = Owned<abi::Event, &abi::DriverTable::event_destroy>;
using GraphExec = Owned<abi::GraphExec, &abi::DriverTable::graph_exec_destroy>;
using Module = Owned<abi::Module, &abi::DriverTable::module_unload>;

Expected<Stream> NewStream(const Device& device);
// Without timing unless asked: cheaper to record.
Expected<Event> NewEvent(const Device& device, bool timing = false);
Expected<double> ElapsedMs(const Event& start, const Event& end);  // both recorded and reached

// Device memory of a fixed size.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  static Expected<DeviceBuffer> Allocate(const Device& device, int64_t bytes);
  abi::DevicePtr address() const { return memory_.get(); }
  int64_t bytes() const { return bytes_; }

 private:
  Owned<abi::DevicePtr, &abi::DriverTable::mem_free> memory_;
  int64_t bytes_ = 0;
};

// Page-locked host memory: copies from and to it run beside the host.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  static Expected<PinnedBuffer> Allocate(const Device& device, int64_t bytes);
  std::span<std::byte> bytes() const { return {static_cast<std::byte*>(memory_.get()), size_}; }
  template <typename T>
  T* as() const {
    return static_cast<T*>(memory_.get());
  }

 private:
  Owned<void*, &abi::DriverTable::mem_free_host> memory_;
  size_t size_ = 0;
};

// Copies and fills in stream order. Host memory that is not pinned is staged by the driver.
Status CopyToDevice(const Device& device, abi::DevicePtr to, const void* from, int64_t bytes,
                    abi::Stream stream);
Status CopyToHost(const Device& device, void* to, abi::DevicePtr from, int64_t bytes, abi::Stream stream);
Status Fill(const Device& device, abi::DevicePtr to, uint8_t value, int64_t bytes, abi::Stream stream);
Status Synchronize(const Stream& stream);

// Records what `body` (-> Status) launches on `stream`, and makes it ready to replay.
template <typename Body>
Expected<GraphExec> CaptureGraph(const Stream& stream, Body&& body);
Status BeginCapture(const Stream& stream);
Expected<GraphExec> EndCapture(const Stream& stream, const Status& body);
Status LaunchGraph(const GraphExec& graph, const Stream& stream);

template <typename Body>
Expected<GraphExec> CaptureGraph(const Stream& stream, Body&& body) {
  LATHE_RETURN_IF_ERROR(BeginCapture(stream));
  return EndCapture(stream, body());
}

// A 2-d map for bulk tensor copies: rows of `columns` elements, `row_bytes` apart, in boxes of box_rows ×
// box_columns. Elements beyond the edge read as zero.
struct TensorMapSpec {
  abi::TensorMapType type = abi::kTensorBf16;
  abi::DevicePtr address = 0;
  uint64_t columns = 0, rows = 0, row_bytes = 0;
  unsigned box_columns = 0, box_rows = 0;
  abi::TensorMapSwizzle swizzle = abi::kSwizzle128;
};
Status EncodeTensorMap(const Device& device, const TensorMapSpec& spec, abi::TensorMap* map);

}  // namespace lathe::cuda
