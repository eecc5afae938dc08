// The part of the CUDA driver's C interface that lathe calls: types, constants and the table of functions.
//
// Own declarations of a published, stable ABI (CUDA Driver API, "cuda.h" of any release from 12.0 on), so
// that no CUDA header is needed to build. Only platform/cuda and tests include this file.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lathe::cuda::abi {

using Result = int;  // CUresult; 0 is success
using Device = int;
using DevicePtr = uint64_t;
using Context = void*;
using Stream = void*;
using Event = void*;
using Graph = void*;
using GraphExec = void*;
using Module = void*;
using Function = void*;

inline constexpr Result kSuccess = 0;
inline constexpr Result kErrorOutOfMemory = 2;
inline constexpr Result kErrorNoDevice = 100;
inline constexpr Result kErrorNotReady = 600;

// CUdevice_attribute
enum DeviceAttribute : int {
  kClockRateKhz = 13,
  kMultiprocessorCount = 16,
  kIntegrated = 18,
  kComputeMode = 20,
  kMemoryClockRateKhz = 36,
  kMemoryBusWidthBits = 37,
  kL2CacheSize = 38,
  kComputeCapabilityMajor = 75,
  kComputeCapabilityMinor = 76,
  kMaxSharedPerMultiprocessor = 81,
  kMaxSharedPerBlockOptin = 97,
};
inline constexpr int kComputeModeProhibited = 2;

// CUfunction_attribute
enum FunctionAttribute : int {
  kMaxThreadsPerBlock = 0,
  kSharedSizeBytes = 1,
  kLocalSizeBytes = 3,
  kNumRegs = 4,
  kMaxDynamicSharedSizeBytes = 8,
};

inline constexpr unsigned kStreamNonBlocking = 1;
inline constexpr unsigned kEventDefault = 0;
inline constexpr unsigned kEventDisableTiming = 2;
inline constexpr unsigned kHostAllocPortable = 1;
inline constexpr int kCaptureModeThreadLocal = 1;

// CUlaunchAttribute, CUlaunchConfig
enum LaunchAttributeId : int {
  kAttributeClusterDimension = 4,
  kAttributeProgrammaticStreamSerialization = 6,
};
struct LaunchAttribute {
  int id = 0;
  char pad[4] = {};
  union {
    char bytes[64];
    struct {
      unsigned x, y, z;
    } cluster;
    int flag;
  } value = {};
};
static_assert(sizeof(LaunchAttribute) == 72);
struct LaunchConfig {
  unsigned grid_x, grid_y, grid_z;
  unsigned block_x, block_y, block_z;
  unsigned shared_bytes;
  Stream stream;
  LaunchAttribute* attributes;
  unsigned n_attributes;
};
static_assert(sizeof(LaunchConfig) == 56);

// CUmemorytype, CUDA_MEMCPY3D
enum MemoryType : int { kMemoryHost = 1, kMemoryDevice = 2 };
struct Memcpy3DSide {
  size_t x_bytes = 0, y = 0, z = 0, lod = 0;
  int memory_type = 0;
  void* host = nullptr;
  DevicePtr device = 0;
  void* array = nullptr;
  void* reserved = nullptr;
  size_t pitch = 0, height = 0;  // bytes of a row, rows of a slice
};
struct Memcpy3D {
  Memcpy3DSide from, to;
  size_t width_bytes = 0, height = 0, depth = 0;
};
static_assert(sizeof(Memcpy3DSide) == 88 && sizeof(Memcpy3D) == 200);

// CUtensorMap and its enums
struct alignas(64) TensorMap {
  uint64_t opaque[16];
};
static_assert(sizeof(TensorMap) == 128);
enum TensorMapType : int { kTensorU8 = 0, kTensorF16 = 6, kTensorF32 = 7, kTensorBf16 = 9 };
enum TensorMapSwizzle : int { kSwizzleNone = 0, kSwizzle32 = 1, kSwizzle64 = 2, kSwizzle128 = 3 };
enum TensorMapPromotion : int { kPromoteNone = 0, kPromote64 = 1, kPromote128 = 2, kPromote256 = 3 };

// X(member, symbol, parameters): every driver function that lathe calls.
#define LATHE_CUDA_DRIVER_FUNCTIONS(X)                                                                       \
  X(init, "cuInit", (unsigned flags))                                                                        \
  X(driver_get_version, "cuDriverGetVersion", (int* version))                                                \
  X(get_error_name, "cuGetErrorName", (Result error, const char** name))                                     \
  X(get_error_string, "cuGetErrorString", (Result error, const char** text))                                 \
  X(device_get_count, "cuDeviceGetCount", (int* count))                                                      \
  X(device_get, "cuDeviceGet", (Device * device, int ordinal))                                               \
  X(device_get_name, "cuDeviceGetName", (char* name, int length, Device device))                             \
  X(device_get_attribute, "cuDeviceGetAttribute", (int* value, int attribute, Device device))                \
  X(device_total_mem, "cuDeviceTotalMem_v2", (size_t * bytes, Device device))                                \
  X(primary_ctx_retain, "cuDevicePrimaryCtxRetain", (Context * context, Device device))                      \
  X(primary_ctx_release, "cuDevicePrimaryCtxRelease_v2", (Device device))                                    \
  X(ctx_set_current, "cuCtxSetCurrent", (Context context))                                                   \
  X(ctx_synchronize, "cuCtxSynchronize", ())                                                                 \
  X(mem_get_info, "cuMemGetInfo_v2", (size_t * free, size_t * total))                                        \
  X(mem_alloc, "cuMemAlloc_v2", (DevicePtr * pointer, size_t bytes))                                         \
  X(mem_free, "cuMemFree_v2", (DevicePtr pointer))                                                           \
  X(mem_host_alloc, "cuMemHostAlloc", (void** pointer, size_t bytes, unsigned flags))                        \
  X(mem_free_host, "cuMemFreeHost", (void* pointer))                                                         \
  X(memcpy_h2d_async, "cuMemcpyHtoDAsync_v2", (DevicePtr to, const void* from, size_t bytes, Stream stream)) \
  X(memcpy_d2h_async, "cuMemcpyDtoHAsync_v2", (void* to, DevicePtr from, size_t bytes, Stream stream))       \
  X(memcpy_d2d_async, "cuMemcpyDtoDAsync_v2", (DevicePtr to, DevicePtr from, size_t bytes, Stream stream))   \
  X(memcpy_3d_async, "cuMemcpy3DAsync_v2", (const Memcpy3D* copy, Stream stream))                            \
  X(memset_d8_async, "cuMemsetD8Async", (DevicePtr to, unsigned char value, size_t count, Stream stream))    \
  X(memset_d32_async, "cuMemsetD32Async", (DevicePtr to, unsigned value, size_t count, Stream stream))       \
  X(stream_create, "cuStreamCreate", (Stream * stream, unsigned flags))                                      \
  X(stream_destroy, "cuStreamDestroy_v2", (Stream stream))                                                   \
  X(stream_synchronize, "cuStreamSynchronize", (Stream stream))                                              \
  X(stream_query, "cuStreamQuery", (Stream stream))                                                          \
  X(stream_wait_event, "cuStreamWaitEvent", (Stream stream, Event event, unsigned flags))                    \
  X(stream_begin_capture, "cuStreamBeginCapture_v2", (Stream stream, int mode))                              \
  X(stream_end_capture, "cuStreamEndCapture", (Stream stream, Graph * graph))                                \
  X(event_create, "cuEventCreate", (Event * event, unsigned flags))                                          \
  X(event_destroy, "cuEventDestroy_v2", (Event event))                                                       \
  X(event_record, "cuEventRecord", (Event event, Stream stream))                                             \
  X(event_synchronize, "cuEventSynchronize", (Event event))                                                  \
  X(event_query, "cuEventQuery", (Event event))                                                              \
  X(event_elapsed_time, "cuEventElapsedTime", (float* milliseconds, Event start, Event end))                 \
  X(graph_instantiate, "cuGraphInstantiateWithFlags",                                                        \
    (GraphExec * exec, Graph graph, unsigned long long flags))                                               \
  X(graph_upload, "cuGraphUpload", (GraphExec exec, Stream stream))                                          \
  X(graph_launch, "cuGraphLaunch", (GraphExec exec, Stream stream))                                          \
  X(graph_destroy, "cuGraphDestroy", (Graph graph))                                                          \
  X(graph_exec_destroy, "cuGraphExecDestroy", (GraphExec exec))                                              \
  X(module_load_data, "cuModuleLoadData", (Module * module, const void* image))                              \
  X(module_unload, "cuModuleUnload", (Module module))                                                        \
  X(module_get_function, "cuModuleGetFunction", (Function * function, Module module, const char* name))      \
  X(func_get_attribute, "cuFuncGetAttribute", (int* value, int attribute, Function function))                \
  X(func_set_attribute, "cuFuncSetAttribute", (Function function, int attribute, int value))                 \
  X(occupancy_max_blocks, "cuOccupancyMaxActiveBlocksPerMultiprocessor",                                     \
    (int* blocks, Function function, int block_size, size_t shared_bytes))                                   \
  X(launch_kernel_ex, "cuLaunchKernelEx",                                                                    \
    (const LaunchConfig* config, Function function, void** parameters, void** extra))                        \
  X(tensor_map_encode_tiled, "cuTensorMapEncodeTiled",                                                       \
    (TensorMap * map, int type, unsigned rank, void* address, const uint64_t* dims, const uint64_t* strides, \
     const unsigned* box, const unsigned* element_strides, int interleave, int swizzle, int promotion,       \
     int fill))

// The driver as a table. A test fills it with functions of its own.
struct DriverTable {
#define LATHE_CUDA_MEMBER_(member, symbol, parameters) Result(*member) parameters = nullptr;
  LATHE_CUDA_DRIVER_FUNCTIONS(LATHE_CUDA_MEMBER_)
#undef LATHE_CUDA_MEMBER_
};

}  // namespace lathe::cuda::abi
