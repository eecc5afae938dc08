// What the programs here share: a device with its compiler, kernels by source, buffers, and timing.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/bf16.h"
#include "base/json.h"
#include "base/rng.h"
#include "kernels/cuda/kernel_source.h"
#include "platform/cuda/launch.h"

namespace lathe::cuda {

// The 16-bit type that is checked: f16, else bf16.
inline uint16_t Round16(float v, bool f16) { return f16 ? ToHalf(v).bits : ToBf16(v).bits; }
inline float Wide16(uint16_t bits, bool f16) { return f16 ? HalfToFloat(bits) : ToFloat(Bf16{bits}); }
// What rounding to it may cost a sum of rounded numbers, as a relative error.
constexpr double Limit16(bool f16) { return f16 ? 4e-4 : 3e-3; }

// One device, opened for a bench. Faults end the program: there is nobody to hand them to.
class Lab {
 public:
  static Lab Open();

  const Device& device() const { return *device_; }
  const Nvrtc& nvrtc() const { return *nvrtc_; }
  abi::Stream stream() const { return stream_.get(); }
  int sm() const { return device_->info().sm; }

  // Compiles what is not compiled yet, on all cores.
  void Prepare(const std::vector<KernelSource>& sources);
  const Kernel& Get(const KernelSource& source);

  DeviceBuffer Allocate(int64_t bytes) const;
  // Repeats random bf16 of about normal(0, deviation) over the buffer.
  void FillNormal(const DeviceBuffer& buffer, float deviation) const;
  void FillBytes(const DeviceBuffer& buffer, uint8_t value) const;
  template <typename T>
  void Upload(const DeviceBuffer& to, const std::vector<T>& from, int64_t at_bytes = 0) const {
    Must(CopyToDevice(*device_, to.address() + static_cast<uint64_t>(at_bytes), from.data(),
                      static_cast<int64_t>(from.size() * sizeof(T)), stream_.get()));
    Must(Synchronize(stream_));
  }
  template <typename T>
  DeviceBuffer Put(const std::vector<T>& from) const {
    DeviceBuffer buffer = Allocate(std::max<int64_t>(16, static_cast<int64_t>(from.size() * sizeof(T))));
    if (!from.empty()) Upload(buffer, from);
    return buffer;
  }
  template <typename T>
  std::vector<T> Fetch(const DeviceBuffer& from, size_t count) const {
    std::vector<T> out(count);
    Must(CopyToHost(*device_, out.data(), from.address(), static_cast<int64_t>(count * sizeof(T)),
                    stream_.get()));
    Must(Synchronize(stream_));
    return out;
  }
  void Wait() const { Must(Synchronize(stream_)); }

  // Microseconds of one launch: median of replays of a graph of launches back to back; launch(i, overlap)
  // puts number i on stream(). As many as take `target_us`.
  double Time(const std::function<Status(int, bool)>& launch, bool overlap = true,
              double target_us = 400) const;

  static void Must(const Status& status);
  template <typename T>
  static T Must(Expected<T> value) {
    Must(value.status());
    return std::move(*value);
  }

 private:
  struct Loaded {
    Module module;
    Kernel kernel;
  };
  Lab() = default;
  const Driver* driver_ = nullptr;
  const Nvrtc* nvrtc_ = nullptr;
  std::unique_ptr<Device> device_;
  Stream stream_;
  std::map<std::string, std::unique_ptr<Loaded>> loaded_;
};

template <typename T>
T* Pointer(const DeviceBuffer& buffer, int64_t at_bytes = 0) {
  return reinterpret_cast<T*>(buffer.address() + static_cast<uint64_t>(at_bytes));
}

// body(i) for i in [0, n) on all cores.
void Parallel(int n, const std::function<void(int)>& body);

float E4m3ToFloat(uint8_t v);
uint8_t FloatToE4m3(float v);  // nearest even, saturating

// |out - ref| / |ref| over a row; NaN anywhere makes it NaN.
struct Error2 {
  double difference = 0, norm = 0;
  void Add(double out, double ref) {
    difference += (out - ref) * (out - ref);
    norm += ref * ref;
  }
  double Relative() const { return norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference); }
};

// The `main` of a program here: exit code 2 and `usage` without OUT.json, else what `run` returns.
int LabMain(int argc, char** argv, const char* usage, int (*run)(int argc, char** argv));

}  // namespace lathe::cuda
