#include "platform/cuda/driver.h"

#include "base/check.h"
#include "platform/cuda/library.h"

namespace lathe::cuda {
namespace {

Expected<abi::DriverTable> OpenTable() {
  LATHE_ASSIGN_OR_RETURN(const Library library,
                         Library::Open({"libcuda.so.1", "libcuda.so"}, "LATHE_LIBCUDA"));
  abi::DriverTable table;
#define LATHE_CUDA_BIND_(member, symbol, parameters) \
  LATHE_RETURN_IF_ERROR(library.Bind(symbol, reinterpret_cast<void**>(&table.member)));
  LATHE_CUDA_DRIVER_FUNCTIONS(LATHE_CUDA_BIND_)
#undef LATHE_CUDA_BIND_
  return table;
}

Expected<std::unique_ptr<Driver>> LoadOnce() {
  Expected<abi::DriverTable> table = OpenTable();
  if (!table.ok()) {
    return Status(table.status().code(), "no CUDA driver: " + table.status().message());
  }
  return Driver::FromTable(*table);
}

Status Attribute(const Driver& driver, abi::Device device, int attribute, int* out) {
  return driver.Check(driver.table().device_get_attribute(out, attribute, device), "cuDeviceGetAttribute");
}

// Why lathe cannot use a device that the driver lists; empty if it can.
std::string WhyUnusable(const DeviceInfo& info, int compute_mode) {
  if (info.sm < kMinSm) {
    return StrFormat("compute capability %d.%d, but the kernels need %d.%d or newer", info.sm / 10,
                     info.sm % 10, kMinSm / 10, kMinSm % 10);
  }
  if (compute_mode == abi::kComputeModeProhibited) return "its compute mode is 'prohibited'";
  return {};
}

Expected<DeviceInfo> ReadDevice(const Driver& driver, int ordinal) {
  DeviceInfo info;
  info.ordinal = ordinal;
  abi::Device device = 0;
  LATHE_RETURN_IF_ERROR(driver.Check(driver.table().device_get(&device, ordinal), "cuDeviceGet"));
  char name[256] = {};
  LATHE_RETURN_IF_ERROR(
      driver.Check(driver.table().device_get_name(name, sizeof(name) - 1, device), "cuDeviceGetName"));
  info.name = name;
  size_t memory = 0;
  LATHE_RETURN_IF_ERROR(driver.Check(driver.table().device_total_mem(&memory, device), "cuDeviceTotalMem"));
  info.memory_bytes = static_cast<int64_t>(memory);
  int major = 0, minor = 0, l2 = 0, clock_khz = 0, memory_khz = 0, mode = 0;
  const std::pair<int, int*> wanted[] = {
      {abi::kComputeCapabilityMajor, &major},
      {abi::kComputeCapabilityMinor, &minor},
      {abi::kMultiprocessorCount, &info.multiprocessors},
      {abi::kL2CacheSize, &l2},
      {abi::kMaxSharedPerBlockOptin, &info.shared_per_block},
      {abi::kClockRateKhz, &clock_khz},
      {abi::kMemoryClockRateKhz, &memory_khz},
      {abi::kMemoryBusWidthBits, &info.memory_bus_bits},
      {abi::kComputeMode, &mode},
  };
  for (const auto& [attribute, out] : wanted)
    LATHE_RETURN_IF_ERROR(Attribute(driver, device, attribute, out));
  info.sm = major * 10 + minor;
  info.l2_bytes = l2;
  info.clock_mhz = clock_khz / 1000;
  info.memory_clock_mhz = memory_khz / 1000;
  info.unusable = WhyUnusable(info, mode);
  return info;
}

}  // namespace

std::string VersionText(int version) { return StrFormat("%d.%d", version / 1000, version % 1000 / 10); }

double DeviceInfo::DatasheetGbps() const { return 2.0 * memory_clock_mhz * 1e6 * memory_bus_bits / 8 / 1e9; }

std::string DeviceInfo::TargetOf(int sm) {
  // From 9.0 on the instructions of one generation (wgmma) exist only in its architecture-specific target.
  return StrFormat("sm_%d%s", sm, sm >= 90 ? "a" : "");
}

Expected<const Driver*> Driver::Load() {
  static const Expected<std::unique_ptr<Driver>> driver = LoadOnce();
  if (!driver.ok()) return driver.status();
  return static_cast<const Driver*>(driver.value().get());
}

Expected<std::unique_ptr<Driver>> Driver::FromTable(const abi::DriverTable& table) {
  std::unique_ptr<Driver> driver(new Driver(table));
  LATHE_RETURN_IF_ERROR(driver->Init());
  return driver;
}

Status Driver::Init() {
  LATHE_RETURN_IF_ERROR(Check(table_.driver_get_version(&version_), "cuDriverGetVersion"));
  if (version_ < kMinDriverVersion) {
    return Error(
        StatusCode::kUnsupported,
        "the CUDA driver speaks version %s of its interface, but lathe needs %s or newer: update the "
        "NVIDIA driver",
        VersionText(version_).c_str(), VersionText(kMinDriverVersion).c_str());
  }
  const abi::Result result = table_.init(0);
  if (result == abi::kErrorNoDevice) {
    return Error(StatusCode::kNotFound, "the CUDA driver finds no device (CUDA_ERROR_NO_DEVICE)");
  }
  const Status status = Check(result, "cuInit");
  if (status.ok()) return status;
  return {StatusCode::kUnsupported, "the CUDA driver does not start: " + status.message()};
}

Status Driver::Check(abi::Result result, const char* call) const {
  if (result == abi::kSuccess) return Status::Ok();
  const char* name = nullptr;
  const char* text = nullptr;
  if (table_.get_error_name(result, &name) != abi::kSuccess || name == nullptr) name = "unknown error";
  if (table_.get_error_string(result, &text) != abi::kSuccess || text == nullptr) text = "no description";
  const StatusCode code =
      result == abi::kErrorOutOfMemory ? StatusCode::kResourceExhausted : StatusCode::kUnavailable;
  return Error(code, "%s failed with %s (%d: %s)", call, name, result, text);
}

Expected<std::vector<DeviceInfo>> ListDevices(const Driver& driver) {
  int count = 0;
  LATHE_RETURN_IF_ERROR(driver.Check(driver.table().device_get_count(&count), "cuDeviceGetCount"));
  std::vector<DeviceInfo> devices;
  for (int i = 0; i < count; ++i) {
    LATHE_ASSIGN_OR_RETURN(DeviceInfo info, ReadDevice(driver, i));
    devices.push_back(std::move(info));
  }
  return devices;
}

Expected<std::unique_ptr<Device>> Device::Open(const Driver& driver, int ordinal) {
  LATHE_ASSIGN_OR_RETURN(const std::vector<DeviceInfo> devices, ListDevices(driver));
  if (ordinal < 0 || static_cast<size_t>(ordinal) >= devices.size()) {
    return Error(StatusCode::kInvalidArgument,
                 "device %d is asked for, but this machine has %zu (lathe devices)", ordinal, devices.size());
  }
  const DeviceInfo& info = devices[static_cast<size_t>(ordinal)];
  if (!info.unusable.empty()) {
    return Error(StatusCode::kUnsupported, "device %d (%s) cannot be used: %s", ordinal, info.name.c_str(),
                 info.unusable.c_str());
  }
  std::unique_ptr<Device> device(new Device(driver, info));
  const abi::DriverTable& api = driver.table();
  LATHE_RETURN_IF_ERROR(driver.Check(api.device_get(&device->handle_, ordinal), "cuDeviceGet"));
  const Status opened =
      driver.Check(api.primary_ctx_retain(&device->context_, device->handle_), "cuDevicePrimaryCtxRetain");
  if (opened.code() == StatusCode::kResourceExhausted)
    return Error(
        StatusCode::kResourceExhausted,
        "device %d (%s) is full: other processes (nvidia-smi lists them) leave too little of its %.1f GiB "
        "for CUDA to start (%s)",
        ordinal, info.name.c_str(), static_cast<double>(info.memory_bytes) / (1 << 30),
        opened.message().c_str());
  LATHE_RETURN_IF_ERROR(opened);
  LATHE_RETURN_IF_ERROR(device->Bind());
  return device;
}

Device::~Device() {
  if (context_ != nullptr) api().primary_ctx_release(handle_);
}

Status Device::Bind() const { return Check(api().ctx_set_current(context_), "cuCtxSetCurrent"); }

Expected<Device::Memory> Device::MemoryNow() const {
  LATHE_RETURN_IF_ERROR(Bind());
  size_t free = 0, total = 0;
  LATHE_RETURN_IF_ERROR(Check(api().mem_get_info(&free, &total), "cuMemGetInfo"));
  return Memory{static_cast<int64_t>(free), static_cast<int64_t>(total)};
}

Status Device::Synchronize() const { return Check(api().ctx_synchronize(), "cuCtxSynchronize"); }

Expected<Stream> NewStream(const Device& device) {
  LATHE_RETURN_IF_ERROR(device.Bind());
  abi::Stream handle = nullptr;
  LATHE_RETURN_IF_ERROR(
      device.Check(device.api().stream_create(&handle, abi::kStreamNonBlocking), "cuStreamCreate"));
  return Stream(&device, handle);
}

Expected<Event> NewEvent(const Device& device, bool timing) {
  LATHE_RETURN_IF_ERROR(device.Bind());
  abi::Event handle = nullptr;
  const unsigned flags = timing ? abi::kEventDefault : abi::kEventDisableTiming;
  LATHE_RETURN_IF_ERROR(device.Check(device.api().event_create(&handle, flags), "cuEventCreate"));
  return Event(&device, handle);
}

Expected<double> ElapsedMs(const Event& start, const Event& end) {
  float ms = 0;
  const Device& device = *start.device();
  LATHE_RETURN_IF_ERROR(
      device.Check(device.api().event_elapsed_time(&ms, start.get(), end.get()), "cuEventElapsedTime"));
  return static_cast<double>(ms);
}

Expected<DeviceBuffer> DeviceBuffer::Allocate(const Device& device, int64_t bytes) {
  LATHE_CHECK_GT(bytes, 0);
  LATHE_RETURN_IF_ERROR(device.Bind());
  abi::DevicePtr address = 0;
  LATHE_RETURN_IF_ERROR(
      device.Check(device.api().mem_alloc(&address, static_cast<size_t>(bytes)), "cuMemAlloc")
          .WithContext(StrFormat("%lld bytes of device memory", static_cast<long long>(bytes))));
  DeviceBuffer buffer;
  buffer.memory_ = {&device, address};
  buffer.bytes_ = bytes;
  return buffer;
}

Expected<PinnedBuffer> PinnedBuffer::Allocate(const Device& device, int64_t bytes) {
  LATHE_CHECK_GT(bytes, 0);
  LATHE_RETURN_IF_ERROR(device.Bind());
  void* pointer = nullptr;
  LATHE_RETURN_IF_ERROR(
      device
          .Check(device.api().mem_host_alloc(&pointer, static_cast<size_t>(bytes), abi::kHostAllocPortable),
                 "cuMemHostAlloc")
          .WithContext(StrFormat("%lld bytes of pinned memory", static_cast<long long>(bytes))));
  PinnedBuffer buffer;
  buffer.memory_ = {&device, pointer};
  buffer.size_ = static_cast<size_t>(bytes);
  return buffer;
}

Status CopyToDevice(const Device& device, abi::DevicePtr to, const void* from, int64_t bytes,
                    abi::Stream stream) {
  return device.Check(device.api().memcpy_h2d_async(to, from, static_cast<size_t>(bytes), stream),
                      "cuMemcpyHtoDAsync");
}

Status CopyToHost(const Device& device, void* to, abi::DevicePtr from, int64_t bytes, abi::Stream stream) {
  return device.Check(device.api().memcpy_d2h_async(to, from, static_cast<size_t>(bytes), stream),
                      "cuMemcpyDtoHAsync");
}

Status Fill(const Device& device, abi::DevicePtr to, uint8_t value, int64_t bytes, abi::Stream stream) {
  return device.Check(device.api().memset_d8_async(to, value, static_cast<size_t>(bytes), stream),
                      "cuMemsetD8Async");
}

Status Synchronize(const Stream& stream) {
  const Device& device = *stream.device();
  return device.Check(device.api().stream_synchronize(stream.get()), "cuStreamSynchronize");
}

Status BeginCapture(const Stream& stream) {
  const Device& device = *stream.device();
  LATHE_RETURN_IF_ERROR(device.Bind());
  return device.Check(device.api().stream_begin_capture(stream.get(), abi::kCaptureModeThreadLocal),
                      "cuStreamBeginCapture");
}

Expected<GraphExec> EndCapture(const Stream& stream, const Status& body) {
  const Device& device = *stream.device();
  abi::Graph graph = nullptr;
  // Also after a fault: the stream must leave capture mode.
  const abi::Result ended = device.api().stream_end_capture(stream.get(), &graph);
  const Owned<abi::Graph, &abi::DriverTable::graph_destroy> owner(&device, graph);
  LATHE_RETURN_IF_ERROR(body);
  LATHE_RETURN_IF_ERROR(device.Check(ended, "cuStreamEndCapture"));
  abi::GraphExec exec = nullptr;
  LATHE_RETURN_IF_ERROR(device.Check(device.api().graph_instantiate(&exec, graph, 0), "cuGraphInstantiate"));
  return GraphExec(&device, exec);
}

Status LaunchGraph(const GraphExec& graph, const Stream& stream) {
  const Device& device = *stream.device();
  return device.Check(device.api().graph_launch(graph.get(), stream.get()), "cuGraphLaunch");
}

Status EncodeTensorMap(const Device& device, const TensorMapSpec& spec, abi::TensorMap* map) {
  const uint64_t dims[2] = {spec.columns, spec.rows};
  const uint64_t strides[1] = {spec.row_bytes};
  const unsigned box[2] = {spec.box_columns, spec.box_rows};
  const unsigned element_strides[2] = {1, 1};
  return device.Check(device.api().tensor_map_encode_tiled(
                          map, spec.type, 2, reinterpret_cast<void*>(spec.address), dims, strides, box,
                          element_strides, 0, spec.swizzle, abi::kPromote256, 0),
                      "cuTensorMapEncodeTiled");
}

}  // namespace lathe::cuda
