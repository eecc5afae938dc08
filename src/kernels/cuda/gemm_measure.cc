#include "kernels/cuda/gemm_measure.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <set>

#include "base/bf16.h"
#include "base/check.h"
#include "base/rng.h"

namespace lathe::cuda {
namespace {

constexpr int64_t kPattern = 4'000'037;  // elements; a prime, so no period of it meets a row's
constexpr int64_t kResidualBytes = 64 << 20;
constexpr int kScales = 1 << 18;
constexpr int kWarmUps = 2;
constexpr float kNormEps = 1e-5F;

float E4m3ToFloat(uint8_t v) {
  const int exponent = (v >> 3) & 15, mantissa = v & 7;
  const float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                        : std::ldexp(1.0F + mantissa / 8.0F, exponent - 7);
  return (v & 0x80) != 0 ? -magnitude : magnitude;
}

abi::LtDataType LtType(GemmType type) {
  return type == GemmType::kBf16 ? abi::kR16BF : type == GemmType::kF16 ? abi::kR16F : abi::kR8E4M3;
}

}  // namespace

Expected<std::unique_ptr<GemmMeasurer>> GemmMeasurer::Create(const Device& device, const Nvrtc& nvrtc,
                                                             const CublasLt* lt, int max_m, int max_n,
                                                             int max_k, const GemmMeasureOptions& options) {
  std::unique_ptr<GemmMeasurer> measurer(new GemmMeasurer(device, nvrtc, lt, options));
  LATHE_RETURN_IF_ERROR(measurer->Init(max_m, max_n, max_k));
  return measurer;
}

Status GemmMeasurer::Init(int max_m, int max_n, int max_k) {
  LATHE_CHECK_LE(std::max(max_m, max_n), kScales);
  LATHE_ASSIGN_OR_RETURN(stream_, NewStream(device_));
  const int64_t weights = std::max(options_.weight_pool_bytes, 2 * static_cast<int64_t>(max_n) * max_k);
  LATHE_ASSIGN_OR_RETURN(weights_, DeviceBuffer::Allocate(device_, weights));
  // Up to 16 tokens may be rows in f32.
  const int64_t x_bytes = std::max<int64_t>(4 * std::min(max_m, 16), 2 * int64_t{max_m}) * max_k;
  LATHE_ASSIGN_OR_RETURN(x_, DeviceBuffer::Allocate(device_, x_bytes));
  LATHE_ASSIGN_OR_RETURN(y_, DeviceBuffer::Allocate(device_, 4 * static_cast<int64_t>(max_m) * max_n));
  LATHE_ASSIGN_OR_RETURN(residual_, DeviceBuffer::Allocate(device_, kResidualBytes));
  LATHE_ASSIGN_OR_RETURN(scales_, DeviceBuffer::Allocate(device_, 4 * kScales));
  LATHE_ASSIGN_OR_RETURN(workspace_, DeviceBuffer::Allocate(device_, LtMatmulSpec().workspace_bytes));
  Rng rng(static_cast<uint64_t>(max_n) * 7919 + 1);
  for (int64_t i = 0; i < kPattern; ++i) {
    const uint64_t bits = rng.Next();
    pattern16_.push_back(ToBf16(static_cast<float>(bits >> 40) * 0x1p-23F - 1.0F).bits);
    // Magnitudes up to 1.875: the largest exponents would make every sum infinite in bf16's eyes.
    pattern8_.push_back(static_cast<uint8_t>((bits & 0x80) | (bits & 0x7f) % 0x40));
  }
  for (int i = 0; i < kScales; ++i) scale_values_.push_back(0.5F + static_cast<float>(rng.Uniform()));
  LATHE_RETURN_IF_ERROR(
      CopyToDevice(device_, scales_.address(), scale_values_.data(), scales_.bytes(), stream_.get()));
  LATHE_RETURN_IF_ERROR(FillPool(residual_, pattern16_.data(), 2 * kPattern));
  return Synchronize(stream_);
}

Status GemmMeasurer::FillPool(const DeviceBuffer& pool, const void* pattern, int64_t bytes) {
  LATHE_RETURN_IF_ERROR(
      CopyToDevice(device_, pool.address(), pattern, std::min(bytes, pool.bytes()), stream_.get()));
  for (int64_t done = bytes; done < pool.bytes();) {
    const int64_t now = std::min(done, pool.bytes() - done);
    LATHE_RETURN_IF_ERROR(
        device_.Check(device_.api().memcpy_d2d_async(pool.address() + static_cast<uint64_t>(done),
                                                     pool.address(), static_cast<size_t>(now), stream_.get()),
                      "cuMemcpyDtoDAsync"));
    done += now;
  }
  return Status::Ok();
}

Status GemmMeasurer::FillFor(GemmType type) {
  if (filled_ == static_cast<int>(type)) return Status::Ok();
  filled_ = static_cast<int>(type);
  // x holds the pattern backwards, so that a product mistaken for its transpose is found out.
  const auto fill = [&](auto pattern) -> Status {
    const auto bytes = static_cast<int64_t>(pattern.size() * sizeof(pattern[0]));
    LATHE_RETURN_IF_ERROR(FillPool(weights_, pattern.data(), bytes));
    std::reverse(pattern.begin(), pattern.end());
    LATHE_RETURN_IF_ERROR(FillPool(x_, pattern.data(), bytes));
    return Synchronize(stream_);
  };
  if (type != GemmType::kF16) return type == GemmType::kE4m3 ? fill(pattern8_) : fill(pattern16_);
  std::vector<uint16_t> halves(pattern16_.size());
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = HalfAt(i);
  return fill(std::move(halves));
}

// The same number as bf16's, with last bits that bf16 has not.
uint16_t GemmMeasurer::HalfAt(size_t at) const {
  return static_cast<uint16_t>(ToHalf(ToFloat(Bf16{pattern16_[at]})).bits ^ at % 8);
}

float GemmMeasurer::ElementAt(GemmType type, int64_t index, bool of_x) const {
  const int64_t in_pattern = index % kPattern;
  const size_t at = static_cast<size_t>(of_x ? kPattern - 1 - in_pattern : in_pattern);
  if (type == GemmType::kE4m3) return E4m3ToFloat(pattern8_[at]);
  return type == GemmType::kF16 ? HalfToFloat(HalfAt(at)) : ToFloat(Bf16{pattern16_[at]});
}

double GemmMeasurer::Expected64(const GemmProblem& problem, int t, int n) const {
  LATHE_CHECK(problem.prologue == GemmPrologue::kPlain);
  double sum = 0;
  for (int64_t k = 0; k < problem.k; ++k) {
    sum += static_cast<double>(ElementAt(problem.type, static_cast<int64_t>(n) * problem.k + k, false)) *
           static_cast<double>(ElementAt(problem.type, static_cast<int64_t>(t) * problem.k + k, true));
  }
  const size_t row = static_cast<size_t>(n), token = static_cast<size_t>(t);
  if (problem.type == GemmType::kE4m3) sum *= static_cast<double>(scale_values_[row]) * scale_values_[token];
  if (problem.epilogue == GemmEpilogue::kF32) sum += static_cast<double>(scale_values_[row]);
  if (problem.epilogue == GemmEpilogue::kAddF32) {
    const size_t at = 2 * (token * static_cast<size_t>(problem.n) + row);
    const uint32_t low = pattern16_[at % kPattern], high = pattern16_[(at + 1) % kPattern];
    sum += static_cast<double>(std::bit_cast<float>(low | high << 16));
  }
  return sum;
}

GemmArgs GemmMeasurer::ArgsOf(const GemmProblem& problem, int copy) const {
  const int64_t bytes = static_cast<int64_t>(problem.n) * problem.k * problem.element_bytes();
  const bool residual_fits = 4 * static_cast<int64_t>(problem.m) * problem.n <= kResidualBytes;
  GemmArgs args = {};
  args.w = weights_.address() + static_cast<uint64_t>(copy * bytes);
  args.x = x_.address();
  args.y = y_.address();
  args.w_scale = args.x_scale = scales_.address();
  args.bias = problem.epilogue == GemmEpilogue::kF32 ? scales_.address() : 0;
  args.residual = residual_fits ? residual_.address() : y_.address();
  args.gain = scales_.address();
  args.eps = kNormEps;
  args.m = problem.m;
  args.n = problem.n;
  args.k = problem.k;
  args.y_stride = problem.columns();
  args.w_scale_step = 1;
  return args;
}

int GemmMeasurer::Copies(const GemmProblem& problem) const {
  const int64_t bytes = static_cast<int64_t>(problem.n) * problem.k * problem.element_bytes();
  return static_cast<int>(std::min<int64_t>(64, weights_.bytes() / bytes));
}

Status GemmMeasurer::Load(CompiledKernel kernel) {
  Loaded loaded;
  loaded.entry = kernel.source.entry;
  LATHE_ASSIGN_OR_RETURN(loaded.module, LoadModule(device_, kernel.cubin.data()));
  LATHE_ASSIGN_OR_RETURN(loaded.kernel, GetKernel(loaded.module, loaded.entry, kernel.source.dynamic_shared));
  loaded_.push_back(std::move(loaded));
  return Status::Ok();
}

Status GemmMeasurer::Prepare(const std::vector<GemmProblem>& problems) {
  std::vector<KernelSource> sources;
  std::set<std::string> entries;
  for (const GemmProblem& problem : problems) {
    for (const GemmTactic& tactic : GemmCandidates(problem, ChipOf(device_.info()))) {
      KernelSource source = GemmKernel(tactic, problem);
      if (entries.insert(source.entry).second) sources.push_back(std::move(source));
    }
  }
  return PrepareKernels(sources);
}

Status GemmMeasurer::PrepareKernels(const std::vector<KernelSource>& sources) {
  std::vector<KernelSource> absent;
  for (const KernelSource& source : sources) {
    const auto same = [&](const Loaded& other) { return other.entry == source.entry; };
    const auto twice = [&](const KernelSource& other) { return other.entry == source.entry; };
    if (std::none_of(loaded_.begin(), loaded_.end(), same) && std::ranges::none_of(absent, twice))
      absent.push_back(source);
  }
  LATHE_ASSIGN_OR_RETURN(std::vector<CompiledKernel> kernels,
                         CompileKernels(nvrtc_, absent, device_.info().Target(), 0));
  for (CompiledKernel& kernel : kernels) LATHE_RETURN_IF_ERROR(Load(std::move(kernel)));
  return Status::Ok();
}

Expected<Kernel> GemmMeasurer::KernelOf(const GemmProblem& problem, const GemmTactic& tactic) {
  return KernelOf(GemmKernel(tactic, problem));
}

Expected<Kernel> GemmMeasurer::KernelOf(const KernelSource& source) {
  for (const Loaded& loaded : loaded_) {
    if (loaded.entry == source.entry) return loaded.kernel;
  }
  LATHE_ASSIGN_OR_RETURN(std::vector<CompiledKernel> kernels,
                         CompileKernels(nvrtc_, {source}, device_.info().Target(), 1));
  LATHE_RETURN_IF_ERROR(Load(std::move(kernels.front())));
  return loaded_.back().kernel;
}

template <typename LaunchOne>
Expected<double> GemmMeasurer::TimeReplays(int launches, int replays, const LaunchOne& launch) {
  LATHE_ASSIGN_OR_RETURN(const GraphExec graph, CaptureGraph(stream_, [&]() -> Status {
                           for (int i = 0; i < launches; ++i) LATHE_RETURN_IF_ERROR(launch(i));
                           return Status::Ok();
                         }));
  LATHE_ASSIGN_OR_RETURN(const Event start, NewEvent(device_, true));
  LATHE_ASSIGN_OR_RETURN(const Event end, NewEvent(device_, true));
  std::vector<double> us;
  for (int i = 0; i < replays + 1; ++i) {
    LATHE_RETURN_IF_ERROR(
        device_.Check(device_.api().event_record(start.get(), stream_.get()), "cuEventRecord"));
    LATHE_RETURN_IF_ERROR(LaunchGraph(graph, stream_));
    LATHE_RETURN_IF_ERROR(
        device_.Check(device_.api().event_record(end.get(), stream_.get()), "cuEventRecord"));
    LATHE_RETURN_IF_ERROR(Synchronize(stream_));
    LATHE_ASSIGN_OR_RETURN(const double ms, ElapsedMs(start, end));
    if (i > 0) us.push_back(ms * 1000 / launches);  // the first replay warms up
  }
  std::sort(us.begin(), us.end());
  return us[us.size() / 2];
}

template <typename LaunchOne>
Expected<double> GemmMeasurer::TimeGraph(const GemmProblem&, const LaunchOne& launch) {
  LATHE_ASSIGN_OR_RETURN(const double guess, TimeReplays(kWarmUps, 1, launch));
  const int launches = std::clamp(static_cast<int>(options_.min_graph_us / guess), 3, 200);
  return TimeReplays(launches, options_.replays, launch);
}

Expected<double> GemmMeasurer::Time(const GemmProblem& problem, const GemmTactic& tactic) {
  LATHE_RETURN_IF_ERROR(FillFor(problem.type));
  if (tactic.kind == GemmKind::kCublasLt) {
    LATHE_ASSIGN_OR_RETURN(const std::unique_ptr<LtMatmul> matmul, Library(problem));
    return TimeLibrary(problem, *matmul, tactic.algorithm);
  }
  LATHE_ASSIGN_OR_RETURN(const Kernel kernel, KernelOf(problem, tactic));
  std::vector<Gemm> gemms;
  for (int i = 0; i < Copies(problem); ++i) {
    LATHE_ASSIGN_OR_RETURN(Gemm gemm, Gemm::Bind(kernel, tactic, problem, ArgsOf(problem, i)));
    gemms.push_back(std::move(gemm));
  }
  return TimeGraph(problem, [&](int i) {
    return gemms[static_cast<size_t>(i) % gemms.size()].Launch(problem.m, stream_.get(),
                                                               options_.overlap && i > 0);
  });
}

Expected<double> GemmMeasurer::TimeSequence(const std::vector<std::pair<GemmProblem, GemmTactic>>& products,
                                            bool overlap, const Between& between) {
  std::vector<Gemm> gemms;
  int64_t used = 0;
  for (const auto& [problem, tactic] : products) {
    LATHE_RETURN_IF_ERROR(FillFor(problem.type));
    LATHE_ASSIGN_OR_RETURN(const Kernel kernel, KernelOf(problem, tactic));
    const int64_t bytes = static_cast<int64_t>(problem.n) * problem.k * problem.element_bytes();
    if (used + bytes > weights_.bytes()) used = 0;
    GemmArgs args = ArgsOf(problem, 0);
    args.w += static_cast<uint64_t>(used);
    used += bytes;
    LATHE_ASSIGN_OR_RETURN(Gemm gemm, Gemm::Bind(kernel, tactic, problem, args));
    gemms.push_back(std::move(gemm));
  }
  LATHE_ASSIGN_OR_RETURN(
      const double us, TimeReplays(static_cast<int>(gemms.size()), options_.replays, [&](int i) -> Status {
        if (between) LATHE_RETURN_IF_ERROR(between(i, overlap && i > 0));
        const auto at = static_cast<size_t>(i);
        return gemms[at].Launch(products[at].first.m, stream_.get(), overlap && (i > 0 || between));
      }));
  return us * static_cast<double>(gemms.size());
}

Expected<std::vector<GemmTactic>> GemmMeasurer::TuneSequence(const std::vector<GemmProblem>& products,
                                                             int repeats, int top, double* us) {
  LATHE_RETURN_IF_ERROR(Prepare(products));
  std::vector<std::vector<GemmTactic>> candidates;
  std::vector<GemmTactic> chosen;
  for (const GemmProblem& problem : products) {
    LATHE_ASSIGN_OR_RETURN(const GemmMeasurement measurement, Measure(problem));
    std::vector<GemmTactic> own;
    for (const GemmTiming& timing : measurement.timings) {
      const bool wanted = timing.tactic.kind != GemmKind::kCublasLt && static_cast<int>(own.size()) < top;
      if (wanted) own.push_back(timing.tactic);
    }
    if (own.empty())
      return Error(StatusCode::kInternal, "no own kernel takes m %d, n %d", problem.m, problem.n);
    chosen.push_back(own.front());
    candidates.push_back(std::move(own));
  }
  const auto time = [&](const std::vector<GemmTactic>& tactics) -> Expected<double> {
    std::vector<std::pair<GemmProblem, GemmTactic>> sequence;
    for (int r = 0; r < repeats; ++r) {
      for (size_t i = 0; i < products.size(); ++i) sequence.push_back({products[i], tactics[i]});
    }
    return TimeSequence(sequence, options_.overlap);
  };
  LATHE_ASSIGN_OR_RETURN(double best, time(chosen));
  for (size_t i = 0; i < products.size(); ++i) {
    for (const GemmTactic& candidate : candidates[i]) {
      std::vector<GemmTactic> tactics = chosen;
      tactics[i] = candidate;
      LATHE_ASSIGN_OR_RETURN(const double now, time(tactics));
      // Less than half a percent is noise.
      if (now < best * 0.995) best = now, chosen = tactics;
    }
  }
  *us = best / repeats;
  return chosen;
}

Expected<double> GemmMeasurer::ReadBandwidth() {
  const KernelSource source{.file = "read_roof.cu", .entry = "read_roof", .threads = 512};
  LATHE_ASSIGN_OR_RETURN(const Kernel kernel, KernelOf(source));
  const int64_t bytes = std::min<int64_t>(weights_.bytes(), 4ll << 30);
  LaunchShape shape;
  shape.grid.x = static_cast<unsigned>(device_.info().multiprocessors * 4);
  shape.block.x = 512;
  LATHE_ASSIGN_OR_RETURN(const double us, TimeReplays(2, options_.replays, [&](int) {
                           return LaunchWith(kernel, shape, stream_.get(), weights_.address(),
                                             static_cast<long long>(bytes / 16), y_.address());
                         }));
  return static_cast<double>(bytes) / us / 1e3;
}

Expected<std::unique_ptr<LtMatmul>> GemmMeasurer::Library(const GemmProblem& problem) const {
  if (lt_ == nullptr) return Error(StatusCode::kUnsupported, "cuBLASLt is not there");
  if (IsSilu(problem.epilogue)) {
    return Error(StatusCode::kUnsupported, "cuBLASLt does not fuse SiLU over interleaved rows");
  }
  LtMatmulSpec spec;
  spec.in = LtType(problem.type);
  spec.out = problem.out_bytes() == 4                 ? abi::kR32F
             : problem.epilogue == GemmEpilogue::kF16 ? abi::kR16F
                                                      : abi::kR16BF;
  spec.m = problem.m;
  spec.n = problem.n;
  spec.k = problem.k;
  spec.add = problem.epilogue == GemmEpilogue::kAddF32;
  if (problem.type == GemmType::kE4m3) {
    spec.w_scale = spec.x_scale = scales_.address();
    spec.per_row_scales = true;
    Expected<std::unique_ptr<LtMatmul>> scaled = LtMatmul::Create(*lt_, spec, options_.library_algorithms);
    if (scaled.ok()) return scaled;
    spec.per_row_scales = false;
  }
  return LtMatmul::Create(*lt_, spec, options_.library_algorithms);
}

Expected<double> GemmMeasurer::TimeLibrary(const GemmProblem& problem, const LtMatmul& matmul,
                                           int algorithm) {
  const int copies = Copies(problem);
  return TimeGraph(problem, [&](int i) {
    const GemmArgs args = ArgsOf(problem, i % copies);
    return matmul.Run(algorithm, args.x, args.w, args.y, workspace_.address(), stream_.get());
  });
}

Expected<GemmMeasurement> GemmMeasurer::Measure(const GemmProblem& problem) {
  GemmMeasurement measurement{problem, {}};
  LATHE_RETURN_IF_ERROR(FillFor(problem.type));
  for (const GemmTactic& tactic : GemmCandidates(problem, ChipOf(device_.info()))) {
    LATHE_ASSIGN_OR_RETURN(const double us, Time(problem, tactic));
    measurement.timings.push_back({tactic, us});
  }
  const Expected<std::unique_ptr<LtMatmul>> library = Library(problem);
  for (int i = 0; library.ok() && i < (*library)->n_algorithms(); ++i) {
    const Expected<double> us = TimeLibrary(problem, **library, i);
    if (us.ok()) {
      measurement.timings.push_back({{.kind = GemmKind::kCublasLt, .algorithm = i}, *us});
    } else {
      // Left out; but a sticky fault of the device shows here too, and ends the measurement.
      LATHE_RETURN_IF_ERROR(Synchronize(stream_));
    }
  }
  std::sort(measurement.timings.begin(), measurement.timings.end(),
            [](const GemmTiming& a, const GemmTiming& b) { return a.us < b.us; });
  return measurement;
}

Status GemmMeasurer::RunOnce(const GemmProblem& problem, const GemmTactic& tactic) {
  LATHE_RETURN_IF_ERROR(FillFor(problem.type));
  const GemmArgs args = ArgsOf(problem, 0);
  const int64_t bytes = static_cast<int64_t>(problem.m) * problem.columns() * problem.out_bytes();
  LATHE_RETURN_IF_ERROR(Fill(device_, y_.address(), 0xff, bytes, stream_.get()));
  if (tactic.kind == GemmKind::kCublasLt) {
    LATHE_ASSIGN_OR_RETURN(const std::unique_ptr<LtMatmul> matmul, Library(problem));
    LATHE_RETURN_IF_ERROR(
        matmul->Run(tactic.algorithm, args.x, args.w, args.y, workspace_.address(), stream_.get()));
    return Synchronize(stream_);
  }
  LATHE_ASSIGN_OR_RETURN(const Kernel kernel, KernelOf(problem, tactic));
  LATHE_ASSIGN_OR_RETURN(const Gemm gemm, Gemm::Bind(kernel, tactic, problem, args));
  LATHE_RETURN_IF_ERROR(gemm.Launch(problem.m, stream_.get(), false));
  return Synchronize(stream_);
}

Status GemmMeasurer::ReadOutput(const GemmProblem& problem, std::vector<float>* y) const {
  const size_t count = static_cast<size_t>(problem.m) * static_cast<size_t>(problem.columns());
  y->resize(count);
  if (problem.out_bytes() == 4) {
    LATHE_RETURN_IF_ERROR(
        CopyToHost(device_, y->data(), y_.address(), static_cast<int64_t>(count) * 4, stream_.get()));
    return Synchronize(stream_);
  }
  const bool f16 = problem.epilogue == GemmEpilogue::kF16 || problem.epilogue == GemmEpilogue::kSiluF16;
  std::vector<uint16_t> raw(count);
  LATHE_RETURN_IF_ERROR(
      CopyToHost(device_, raw.data(), y_.address(), static_cast<int64_t>(count) * 2, stream_.get()));
  LATHE_RETURN_IF_ERROR(Synchronize(stream_));
  std::transform(raw.begin(), raw.end(), y->begin(),
                 [f16](uint16_t v) { return f16 ? HalfToFloat(v) : ToFloat(Bf16{v}); });
  return Status::Ok();
}

}  // namespace lathe::cuda
