// A CUDA driver without a device: memory is the host's, copies and launches happen at once, faults can be
// injected. For tests of host logic on machines without a GPU.
//
// One per process (the driver's table has plain functions): FakeDriver::Reset gives a fresh one. Not
// thread-safe.
#pragma once

#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "platform/cuda/driver.h"

namespace lathe::cuda::testing {

class FakeDriver {
 public:
  struct Device {
    std::string name = "Fake H200";
    int major = 9, minor = 0;
    size_t memory = size_t{1} << 30;
    int shared_per_block = 232448;
    int compute_mode = 0;
    int multiprocessors = 132;
  };
  struct Launch {
    std::string kernel;
    abi::LaunchConfig config;
    std::vector<abi::LaunchAttribute> attributes;
    std::function<void()> run;  // of bound_kernels
  };
  // Copies what it needs of the parameters of a launch; the result does the work, at each replay of a graph.
  using BindKernel = std::function<std::function<void()>(const abi::LaunchConfig&, void** parameters)>;

  int version = 13000;
  abi::Result init_result = 0;
  std::vector<Device> devices = {Device()};
  // What kernels of a name do when launched outside a graph; absent: nothing.
  std::map<std::string, std::function<void(void** parameters)>> kernels;
  std::map<std::string, BindKernel> bound_kernels;  // also in graphs
  std::vector<Launch> launches;                     // also of replayed graphs
  std::map<std::string, int> calls;
  size_t allocated = 0;  // device memory in use
  int live_handles = 0;  // streams, events, modules, graphs not yet destroyed
  double us_per_launch = 10;

  // The `skip`-th next call of `member` (a name of the table, "mem_alloc") and all after it fail with
  // `result`.
  void Fail(const std::string& member, abi::Result result, int skip = 0) { faults_[member] = {result, skip}; }
  void Heal() { faults_.clear(); }

  static FakeDriver& Get() { return *Slot(); }
  static FakeDriver& Reset() {
    Slot() = std::make_unique<FakeDriver>();
    return *Slot();
  }
  static abi::DriverTable Table();

 private:
  struct Fault {
    abi::Result result;
    int skip;
  };
  struct FakeGraph {
    std::vector<Launch> launches;
  };
  static std::unique_ptr<FakeDriver>& Slot() {
    static std::unique_ptr<FakeDriver> driver = std::make_unique<FakeDriver>();
    return driver;
  }
  // Counts the call; the injected fault, or success.
  static abi::Result Enter(const char* member) {
    FakeDriver& fake = Get();
    ++fake.calls[member];
    const auto fault = fake.faults_.find(member);
    if (fault == fake.faults_.end() || fault->second.skip-- > 0) return abi::kSuccess;
    fault->second.skip = 0;
    return fault->second.result;
  }
  template <typename T>
  static void* New(T value) {
    ++Get().live_handles;
    return new T(std::move(value));
  }
  template <typename T>
  static abi::Result Delete(void* handle) {
    --Get().live_handles;
    delete static_cast<T*>(handle);
    return abi::kSuccess;
  }
  static int AttributeOf(const Device& device, int attribute);
  static void SetDeviceFunctions(abi::DriverTable* table);
  static void SetMemoryFunctions(abi::DriverTable* table);
  static void SetStreamFunctions(abi::DriverTable* table);
  static void SetKernelFunctions(abi::DriverTable* table);

  std::map<std::string, Fault> faults_;
  std::map<abi::DevicePtr, size_t> blocks_;
  double clock_us_ = 0;
  bool capturing_ = false;
  FakeGraph captured_;
};

#define LATHE_FAKE_ENTER_(member)                                          \
  if (const abi::Result fault_ = Enter(member); fault_ != abi::kSuccess) { \
    return fault_;                                                         \
  }

inline int FakeDriver::AttributeOf(const Device& device, int attribute) {
  switch (attribute) {
    case abi::kComputeCapabilityMajor: return device.major;
    case abi::kComputeCapabilityMinor: return device.minor;
    case abi::kMultiprocessorCount: return device.multiprocessors;
    case abi::kL2CacheSize: return 60 << 20;
    case abi::kMaxSharedPerBlockOptin: return device.shared_per_block;
    case abi::kClockRateKhz: return 1'980'000;
    case abi::kMemoryClockRateKhz: return 3'201'000;
    case abi::kMemoryBusWidthBits: return 6144;
    case abi::kComputeMode: return device.compute_mode;
    default: return 0;
  }
}

inline void FakeDriver::SetDeviceFunctions(abi::DriverTable* t) {
  t->init = [](unsigned) { return Get().init_result; };
  t->driver_get_version = [](int* version) {
    *version = Get().version;
    return abi::kSuccess;
  };
  t->get_error_name = [](abi::Result result, const char** name) {
    *name = result == abi::kErrorOutOfMemory ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_INJECTED";
    return abi::kSuccess;
  };
  t->get_error_string = [](abi::Result, const char** text) {
    *text = "of the fake driver";
    return abi::kSuccess;
  };
  t->device_get_count = [](int* count) {
    LATHE_FAKE_ENTER_("device_get_count");
    *count = static_cast<int>(Get().devices.size());
    return abi::kSuccess;
  };
  t->device_get = [](abi::Device* device, int ordinal) {
    *device = ordinal;
    return abi::kSuccess;
  };
  t->device_get_name = [](char* name, int length, abi::Device device) {
    std::strncpy(name, Get().devices[static_cast<size_t>(device)].name.c_str(), static_cast<size_t>(length));
    return abi::kSuccess;
  };
  t->device_get_attribute = [](int* value, int attribute, abi::Device device) {
    *value = AttributeOf(Get().devices[static_cast<size_t>(device)], attribute);
    return abi::kSuccess;
  };
  t->device_total_mem = [](size_t* bytes, abi::Device device) {
    *bytes = Get().devices[static_cast<size_t>(device)].memory;
    return abi::kSuccess;
  };
  t->primary_ctx_retain = [](abi::Context* context, abi::Device) {
    LATHE_FAKE_ENTER_("primary_ctx_retain");
    *context = &Get();
    return abi::kSuccess;
  };
  t->primary_ctx_release = [](abi::Device) { return Enter("primary_ctx_release"); };
  t->ctx_set_current = [](abi::Context) { return Enter("ctx_set_current"); };
  t->ctx_synchronize = [] { return Enter("ctx_synchronize"); };
}

inline void FakeDriver::SetMemoryFunctions(abi::DriverTable* t) {
  t->mem_get_info = [](size_t* free, size_t* total) {
    LATHE_FAKE_ENTER_("mem_get_info");
    *total = Get().devices[0].memory;
    *free = *total - Get().allocated;
    return abi::kSuccess;
  };
  t->mem_alloc = [](abi::DevicePtr* pointer, size_t bytes) {
    LATHE_FAKE_ENTER_("mem_alloc");
    FakeDriver& fake = Get();
    if (fake.allocated + bytes > fake.devices[0].memory) return abi::kErrorOutOfMemory;
    // As the driver: aligned to 256 bytes, and not zero.
    void* memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    std::memset(memory, 0xcd, bytes);
    *pointer = reinterpret_cast<abi::DevicePtr>(memory);
    fake.allocated += bytes;
    fake.blocks_[*pointer] = bytes;
    return abi::kSuccess;
  };
  t->mem_free = [](abi::DevicePtr pointer) {
    FakeDriver& fake = Get();
    const auto block = fake.blocks_.find(pointer);
    if (block == fake.blocks_.end()) return 1;
    fake.allocated -= block->second;
    fake.blocks_.erase(block);
    std::free(reinterpret_cast<void*>(pointer));
    return abi::kSuccess;
  };
  t->mem_host_alloc = [](void** pointer, size_t bytes, unsigned) {
    LATHE_FAKE_ENTER_("mem_host_alloc");
    ++Get().live_handles;
    *pointer = std::malloc(bytes);
    return abi::kSuccess;
  };
  t->mem_free_host = [](void* pointer) {
    --Get().live_handles;
    std::free(pointer);
    return abi::kSuccess;
  };
  t->memcpy_h2d_async = [](abi::DevicePtr to, const void* from, size_t bytes, abi::Stream) {
    LATHE_FAKE_ENTER_("memcpy_h2d_async");
    std::memcpy(reinterpret_cast<void*>(to), from, bytes);
    return abi::kSuccess;
  };
  t->memcpy_d2h_async = [](void* to, abi::DevicePtr from, size_t bytes, abi::Stream) {
    LATHE_FAKE_ENTER_("memcpy_d2h_async");
    std::memcpy(to, reinterpret_cast<const void*>(from), bytes);
    return abi::kSuccess;
  };
  t->memcpy_d2d_async = [](abi::DevicePtr to, abi::DevicePtr from, size_t bytes, abi::Stream) {
    LATHE_FAKE_ENTER_("memcpy_d2d_async");
    std::memmove(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
    return abi::kSuccess;
  };
  t->memcpy_3d_async = [](const abi::Memcpy3D* copy, abi::Stream) {
    LATHE_FAKE_ENTER_("memcpy_3d_async");
    const auto row = [](const abi::Memcpy3DSide& side, size_t z, size_t y) {
      char* base = side.memory_type == abi::kMemoryHost ? static_cast<char*>(side.host)
                                                        : reinterpret_cast<char*>(side.device);
      return base + ((side.z + z) * side.height + side.y + y) * side.pitch + side.x_bytes;
    };
    for (size_t z = 0; z < copy->depth; ++z)
      for (size_t y = 0; y < copy->height; ++y)
        std::memcpy(row(copy->to, z, y), row(copy->from, z, y), copy->width_bytes);
    return abi::kSuccess;
  };
  t->memset_d8_async = [](abi::DevicePtr to, unsigned char value, size_t count, abi::Stream) {
    LATHE_FAKE_ENTER_("memset_d8_async");
    std::memset(reinterpret_cast<void*>(to), value, count);
    return abi::kSuccess;
  };
  t->memset_d32_async = [](abi::DevicePtr to, unsigned value, size_t count, abi::Stream) {
    LATHE_FAKE_ENTER_("memset_d32_async");
    for (size_t i = 0; i < count; ++i) std::memcpy(reinterpret_cast<char*>(to) + 4 * i, &value, 4);
    return abi::kSuccess;
  };
}

inline void FakeDriver::SetStreamFunctions(abi::DriverTable* t) {
  t->stream_create = [](abi::Stream* stream, unsigned) {
    LATHE_FAKE_ENTER_("stream_create");
    *stream = New<int>(0);
    return abi::kSuccess;
  };
  t->stream_destroy = [](abi::Stream stream) { return Delete<int>(stream); };
  t->stream_synchronize = [](abi::Stream) { return Enter("stream_synchronize"); };
  t->stream_query = [](abi::Stream) { return Enter("stream_query"); };
  t->stream_wait_event = [](abi::Stream, abi::Event, unsigned) { return Enter("stream_wait_event"); };
  t->stream_begin_capture = [](abi::Stream, int) {
    LATHE_FAKE_ENTER_("stream_begin_capture");
    if (std::exchange(Get().capturing_, true)) return 900;
    Get().captured_ = {};
    return abi::kSuccess;
  };
  t->stream_end_capture = [](abi::Stream, abi::Graph* graph) {
    FakeDriver& fake = Get();
    if (!std::exchange(fake.capturing_, false)) return 901;
    LATHE_FAKE_ENTER_("stream_end_capture");
    *graph = New<FakeGraph>(std::exchange(fake.captured_, {}));
    return abi::kSuccess;
  };
  t->event_create = [](abi::Event* event, unsigned) {
    LATHE_FAKE_ENTER_("event_create");
    *event = New<double>(0);
    return abi::kSuccess;
  };
  t->event_destroy = [](abi::Event event) { return Delete<double>(event); };
  t->event_record = [](abi::Event event, abi::Stream) {
    LATHE_FAKE_ENTER_("event_record");
    *static_cast<double*>(event) = Get().clock_us_;
    return abi::kSuccess;
  };
  t->event_synchronize = [](abi::Event) { return Enter("event_synchronize"); };
  t->event_query = [](abi::Event) { return Enter("event_query"); };
  t->event_elapsed_time = [](float* ms, abi::Event start, abi::Event end) {
    LATHE_FAKE_ENTER_("event_elapsed_time");
    *ms = static_cast<float>((*static_cast<double*>(end) - *static_cast<double*>(start)) / 1000);
    return abi::kSuccess;
  };
}

inline void FakeDriver::SetKernelFunctions(abi::DriverTable* t) {
  t->graph_instantiate = [](abi::GraphExec* exec, abi::Graph graph, unsigned long long) {
    LATHE_FAKE_ENTER_("graph_instantiate");
    *exec = New<FakeGraph>(*static_cast<FakeGraph*>(graph));
    return abi::kSuccess;
  };
  t->graph_upload = [](abi::GraphExec, abi::Stream) { return Enter("graph_upload"); };
  t->graph_launch = [](abi::GraphExec exec, abi::Stream) {
    LATHE_FAKE_ENTER_("graph_launch");
    FakeDriver& fake = Get();
    for (const Launch& launch : static_cast<FakeGraph*>(exec)->launches) {
      fake.launches.push_back(launch);
      fake.clock_us_ += fake.us_per_launch;
      if (launch.run) launch.run();
    }
    return abi::kSuccess;
  };
  t->graph_destroy = [](abi::Graph graph) { return Delete<FakeGraph>(graph); };
  t->graph_exec_destroy = [](abi::GraphExec exec) { return Delete<FakeGraph>(exec); };
  t->module_load_data = [](abi::Module* module, const void*) {
    LATHE_FAKE_ENTER_("module_load_data");
    *module = New<std::set<std::string>>({});
    return abi::kSuccess;
  };
  t->module_unload = [](abi::Module module) { return Delete<std::set<std::string>>(module); };
  t->module_get_function = [](abi::Function* function, abi::Module module, const char* name) {
    LATHE_FAKE_ENTER_("module_get_function");
    // A function is its name, which lives as long as the module.
    const auto at = static_cast<std::set<std::string>*>(module)->insert(name).first;
    *function = const_cast<std::string*>(&*at);
    return abi::kSuccess;
  };
  t->func_get_attribute = [](int* value, int, abi::Function) {
    *value = 0;
    return Enter("func_get_attribute");
  };
  t->func_set_attribute = [](abi::Function, int, int) { return Enter("func_set_attribute"); };
  t->occupancy_max_blocks = [](int* blocks, abi::Function, int, size_t) {
    *blocks = 2;
    return Enter("occupancy_max_blocks");
  };
  t->launch_kernel_ex = [](const abi::LaunchConfig* config, abi::Function function, void** parameters,
                           void**) {
    LATHE_FAKE_ENTER_("launch_kernel_ex");
    FakeDriver& fake = Get();
    const std::string& name = *static_cast<std::string*>(function);
    Launch launch{name, *config, {config->attributes, config->attributes + config->n_attributes}, {}};
    launch.config.attributes = nullptr;
    const auto bind = fake.bound_kernels.find(name);
    if (bind != fake.bound_kernels.end()) launch.run = bind->second(*config, parameters);
    if (fake.capturing_) {
      fake.captured_.launches.push_back(std::move(launch));
      return abi::kSuccess;
    }
    fake.launches.push_back(std::move(launch));
    fake.clock_us_ += fake.us_per_launch;
    if (const auto& run = fake.launches.back().run) run();
    const auto kernel = fake.kernels.find(name);
    if (kernel != fake.kernels.end()) kernel->second(parameters);
    return abi::kSuccess;
  };
  // A map of the fake: address, columns, rows.
  t->tensor_map_encode_tiled = [](abi::TensorMap* map, int, unsigned, void* address, const uint64_t* dims,
                                  const uint64_t*, const unsigned*, const unsigned*, int, int, int, int) {
    *map = {};
    map->opaque[0] = reinterpret_cast<uint64_t>(address);
    map->opaque[1] = dims[0];
    map->opaque[2] = dims[1];
    return Enter("tensor_map_encode_tiled");
  };
}

#undef LATHE_FAKE_ENTER_

inline abi::DriverTable FakeDriver::Table() {
  abi::DriverTable table;
  SetDeviceFunctions(&table);
  SetMemoryFunctions(&table);
  SetStreamFunctions(&table);
  SetKernelFunctions(&table);
  return table;
}

}  // namespace lathe::cuda::testing
