#include "lab/cuda/lab.h"

#include <atomic>
#include <cstdlib>

namespace lathe::cuda {

void Lab::Must(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "lab: %s\n", status.message().c_str());
  std::fflush(stdout);
  std::_Exit(1);
}

Lab Lab::Open() {
  Lab lab;
  lab.driver_ = Must(Driver::Load());
  lab.device_ = Must(Device::Open(*lab.driver_, 0));
  lab.nvrtc_ = Must(Nvrtc::Load());
  lab.stream_ = Must(NewStream(*lab.device_));
  std::printf("%s, driver %s, NVRTC %s\n", lab.device_->info().name.c_str(),
              VersionText(lab.driver_->version()).c_str(), VersionText(lab.nvrtc_->version()).c_str());
  return lab;
}

void Lab::Prepare(const std::vector<KernelSource>& sources) {
  std::vector<KernelSource> missing;
  for (const KernelSource& source : sources) {
    const auto same = [&](const KernelSource& other) { return other.entry == source.entry; };
    if (!loaded_.contains(source.entry) && std::none_of(missing.begin(), missing.end(), same))
      missing.push_back(source);
  }
  for (const CompiledKernel& kernel :
       Must(CompileKernels(*nvrtc_, missing, DeviceInfo::TargetOf(device_->info().sm), 0))) {
    auto loaded = std::make_unique<Loaded>();
    loaded->module = Must(LoadModule(*device_, kernel.cubin.data()));
    loaded->kernel = Must(GetKernel(loaded->module, kernel.source.entry, kernel.source.dynamic_shared));
    if (kernel.resources.spill_bytes > 0)
      std::printf("%s spills %d bytes\n", kernel.source.entry.c_str(), kernel.resources.spill_bytes);
    loaded_[kernel.source.entry] = std::move(loaded);
  }
}

const Kernel& Lab::Get(const KernelSource& source) {
  Prepare({source});
  return loaded_.at(source.entry)->kernel;
}

DeviceBuffer Lab::Allocate(int64_t bytes) const { return Must(DeviceBuffer::Allocate(*device_, bytes)); }

void Lab::FillBytes(const DeviceBuffer& buffer, uint8_t value) const {
  Must(Fill(*device_, buffer.address(), value, buffer.bytes(), stream_.get()));
  Wait();
}

void Lab::FillNormal(const DeviceBuffer& buffer, float deviation) const {
  constexpr int64_t kPattern = 4'000'037;  // a prime: its repeats meet no row twice alike
  Rng rng(static_cast<uint64_t>(buffer.bytes()));
  std::vector<Bf16> pattern(static_cast<size_t>(std::min(kPattern, buffer.bytes() / 2)));
  for (Bf16& v : pattern) {
    const double sum = rng.Uniform() + rng.Uniform() + rng.Uniform() - 1.5;  // of variance 1/4
    v = ToBf16(static_cast<float>(sum * 2) * deviation);
  }
  Upload(buffer, pattern);
  const auto bytes = static_cast<int64_t>(pattern.size() * 2);
  for (int64_t done = bytes; done < buffer.bytes();) {
    const int64_t more = std::min(done, buffer.bytes() - done);
    const auto from = static_cast<abi::DevicePtr>(buffer.address());
    Must(device_->Check(device_->api().memcpy_d2d_async(from + static_cast<uint64_t>(done), from,
                                                        static_cast<size_t>(more), stream_.get()),
                        "cuMemcpyDtoDAsync"));
    done += more;
  }
  Wait();
}

double Lab::Time(const std::function<Status(int, bool)>& launch, bool overlap, double target_us) const {
  const Event start = Must(NewEvent(*device_, true)), end = Must(NewEvent(*device_, true));
  const auto replay = [&](const GraphExec& graph) {
    Must(device_->Check(device_->api().event_record(start.get(), stream_.get()), "cuEventRecord"));
    Must(LaunchGraph(graph, stream_));
    Must(device_->Check(device_->api().event_record(end.get(), stream_.get()), "cuEventRecord"));
    Wait();
    return Must(ElapsedMs(start, end)) * 1e3;
  };
  double us = 0;
  for (int launches = 4;;) {
    const GraphExec graph = Must(CaptureGraph(stream_, [&]() -> Status {
      for (int i = 0; i < launches; ++i) LATHE_RETURN_IF_ERROR(launch(i, overlap && i > 0));
      return Status::Ok();
    }));
    replay(graph);
    std::vector<double> times(5);
    for (double& t : times) t = replay(graph);
    std::sort(times.begin(), times.end());
    us = times[2] / launches;
    if (times[2] >= target_us * 0.7 || launches >= 512) return us;
    launches = std::clamp(static_cast<int>(target_us / us) + 1, launches + 1, 512);
  }
}

void Parallel(int n, const std::function<void(int)>& body) {
  std::atomic<int> next = 0;
  std::vector<std::thread> team;
  for (unsigned i = 0; i < std::max(1u, std::thread::hardware_concurrency()); ++i)
    team.emplace_back([&] {
      for (int at; (at = next++) < n;) body(at);
    });
  for (std::thread& thread : team) thread.join();
}

float E4m3ToFloat(uint8_t v) {
  const int exponent = (v >> 3) & 15, mantissa = v & 7;
  if ((v & 0x7f) == 0x7f) return std::nanf("");
  const float magnitude = exponent == 0
                              ? std::ldexp(static_cast<float>(mantissa), -9)
                              : std::ldexp(1.0F + static_cast<float>(mantissa) / 8.0F, exponent - 7);
  return (v & 0x80) != 0 ? -magnitude : magnitude;
}

uint8_t FloatToE4m3(float v) {
  const uint8_t sign = std::signbit(v) ? 0x80 : 0;
  const float magnitude = std::min(std::fabs(v), 448.0F);
  if (magnitude < 0.015625F) return sign | static_cast<uint8_t>(std::lrint(magnitude * 512.0F));
  int exponent = 0;
  const float fraction = std::frexp(magnitude, &exponent);  // [0.5, 1)
  const long mantissa = std::lrint(fraction * 16.0F);       // 8..16
  return static_cast<uint8_t>(sign | static_cast<uint8_t>(((exponent + 6) << 3) + (mantissa - 8)));
}

int LabMain(int argc, char** argv, const char* usage, int (*run)(int argc, char** argv)) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s\n", usage);
    return 2;
  }
  setvbuf(stdout, nullptr, _IOLBF, 0);
  return run(argc, argv);
}

}  // namespace lathe::cuda
