#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "compiler/backend.h"
#include "compiler/cuda_tuner.h"
#include "compiler/timing_cache.h"
#include "compiler/types.h"
#include "lathe/version.h"
#include "plan/cuda/kernel_blob.h"
#include "plan/cuda/plan_kernels.h"
#include "platform/topology.h"

namespace lathe {
namespace {

// Since when NVRTC knows a chip.
int CompilerFor(int sm) { return sm >= 100 ? 12080 : 12000; }

// Drivers run what any compiler of their major version made (CUDA's minor version compatibility).
int DriverFloor(int compiler) { return compiler / 1000 * 1000; }

// Work of another thread that the caller waits for, saying how far it is.
class Background {
 public:
  // Ends what is still running.
  ~Background() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  template <typename Work>
  void Start(Work work) {
    thread_ = std::thread([this, work] {
      Status status = work();
      const std::lock_guard<std::mutex> lock(mutex_);
      status_ = std::move(status);
      ended_ = true;
      changed_.notify_all();
    });
  }
  template <typename Tick>
  Status Wait(const Tick& tick) {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!changed_.wait_for(lock, std::chrono::milliseconds(100), [&] { return ended_; })) {
      lock.unlock();
      tick();
      lock.lock();
    }
    lock.unlock();
    thread_.join();
    return status_;
  }
  const std::atomic<bool>& stop() const { return stop_; }

 private:
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
  Status status_;
  std::thread thread_;
};

class CudaBackend : public Backend {
 public:
  CudaBackend(const BuildOptions& options, const BuildTarget& target)
      : options_(options),
        target_(target),
        chip_(target.device ? cuda::ChipOf(*target.device) : cuda::TypicalChip(target.sm)),
        default_tactics_(chip_) {}

  Status Check() override {
    LATHE_RETURN_IF_ERROR(CheckTypes());
    if (options_.tp != 1 || options_.pp != 1)
      return Error(StatusCode::kUnsupported,
                   "a CUDA engine runs on one GPU, tp %d and pp %d were asked for; build it without --tp and "
                   "--pp, or for the CPU (--target cpu)",
                   options_.tp, options_.pp);
    if (options_.disabled_passes.contains("fuse_norm_residual"))
      return {
          StatusCode::kInvalidArgument,
          "pass 'fuse_norm_residual' cannot be switched off for GPUs: what is added there is added in norms"};
    if (options_.tune && !target_.device)
      return Error(StatusCode::kUnsupported,
                   "no GPU here is %s, so nothing can be measured for it; build without tuning (--no-tune)",
                   target_.Chip().c_str());
    LATHE_ASSIGN_OR_RETURN(nvrtc_, options_.cuda.LoadNvrtc());
    return CheckCompiler();
  }

  Status SetCheckpointType(DType type) override {
    numeric_ = CudaClass(options_.dtype, type);
    const DType kept = KvType(numeric_);
    if (!options_.kv_dtype || *options_.kv_dtype == DType::kF8E4M3 || *options_.kv_dtype == kept)
      return Status::Ok();
    return Error(StatusCode::kUnsupported,
                 "keys and values of type %s: those of this engine are %s, or fp8 (--kv-dtype)",
                 TypeName(*options_.kv_dtype).c_str(), TypeName(kept).c_str());
  }

  // Nothing yet: kernels are measured beside the packing of weights.
  Status Measure(const ir::Graph&, const PassContext&) override {
    // Not pinned: threads that are started later would inherit the one CPU of the caller. And one less than
    // there are CPUs, so that measuring is not held up.
    int threads = options_.threads;
    if (threads == 0 && options_.tune) threads = std::max(1, ReadTopology().usable_cpus() - 1);
    team_ = std::make_unique<Team>(TeamOptions{.threads = threads, .pin = false});
    if (!options_.tune) return Status::Ok();
    LATHE_ASSIGN_OR_RETURN(const cuda::Driver* driver, options_.cuda.LoadDriver());
    LATHE_ASSIGN_OR_RETURN(device_, cuda::Device::Open(*driver, target_.device->ordinal));
    // The tuner knows better what it can use.
    const auto any = [](const GemmTactic&, NumericClass) { return true; };
    timings_.emplace(TimingScope{.machine = target_.device->name,
                                 .lathe = kVersionString,
                                 .chip = target_.Chip() + ", driver " + cuda::VersionText(driver->version()),
                                 .usable = any});
    if (options_.timing_cache.empty()) return Status::Ok();
    std::string warning;
    LATHE_RETURN_IF_ERROR(timings_->Load(options_.timing_cache, &warning));
    if (!warning.empty()) warnings_.push_back(std::move(warning));
    return Status::Ok();
  }

  void SetUp(PassContext* context) override {
    context->sm = target_.sm;
    context->numeric = numeric_;
    context->kv_type = options_.kv_dtype;
    context->fp8_keep = options_.fp8_keep;
    context->tactics = &default_tactics_;
  }

  Status StartKernels(std::vector<EmittedPlan>* ranks) override {
    plan_ = &ranks->front().plan;
    TrimHeadBuckets(plan_);
    LATHE_RETURN_IF_ERROR(cuda::CheckCudaShapes(*plan_));
    if (options_.tune) tuner_.emplace(*device_, *nvrtc_, &*timings_, &work_.stop());
    work_.Start([this] { return MakeKernels(); });
    return Status::Ok();
  }

  Status FinishKernels(EngineWriter* writer) override {
    LATHE_RETURN_IF_ERROR(work_.Wait([this] { TellProgress(); }));
    if (tuner_ && !tuner_->refused().empty())
      warnings_.push_back(StrFormat("%zu kernels do not compile and were not measured, %s the first of them",
                                    tuner_->refused().size(), tuner_->refused()[0].c_str()));
    for (const cuda::CompiledKernel& kernel : kernels_)
      if (kernel.source.hot && kernel.resources.spill_bytes > 0)
        warnings_.push_back(StrFormat("the kernel %s spills %d bytes of registers, which makes it slow",
                                      kernel.source.entry.c_str(), kernel.resources.spill_bytes));
    return writer->AddBlob("kernels", PackKernels(kernels_, target_.Chip(), DriverFloor(nvrtc_->version())));
  }

  Team& team() override { return *team_; }

  void Identify(EngineIdentity* identity) const override {
    identity->machine = options_.tune ? target_.device->name : "";
    identity->dtype = HasFp8(numeric_) ? "fp8" : TypeName(WeightType(numeric_));
    identity->numeric = std::string(ToString(numeric_));
  }

  Status SaveTimings() const override {
    return timings_ ? timings_->Save(options_.timing_cache) : Status::Ok();
  }

 private:
  Status CheckTypes() const {
    const auto taken = [](std::optional<DType> type) {
      return !type || *type == DType::kBf16 || *type == DType::kF16 || *type == DType::kF8E4M3;
    };
    if (!taken(options_.dtype))
      return Error(StatusCode::kUnsupported, "dtype %s: an engine for GPUs is bf16, fp16 or fp8",
                   TypeName(*options_.dtype).c_str());
    if (!taken(options_.kv_dtype))
      return Error(StatusCode::kUnsupported, "keys and values of type %s: on GPUs they are bf16, fp16 or fp8",
                   TypeName(*options_.kv_dtype).c_str());
    if (options_.numeric)
      return Error(StatusCode::kInvalidArgument, "the numeric class %s is one of CPUs",
                   std::string(ToString(*options_.numeric)).c_str());
    return Status::Ok();
  }

  // That it can compile for the chip, and the driver here can load that.
  Status CheckCompiler() const {
    const std::string version = cuda::VersionText(nvrtc_->version());
    if (nvrtc_->version() < CompilerFor(target_.sm))
      return Error(StatusCode::kUnsupported,
                   "NVRTC %s (%s) cannot compile for %s; install %s or newer (pip install nvidia-cuda-nvrtc) "
                   "and set LATHE_NVRTC to its folder",
                   version.c_str(), nvrtc_->path().c_str(), target_.Chip().c_str(),
                   cuda::VersionText(CompilerFor(target_.sm)).c_str());
    if (!options_.tune) return Status::Ok();
    LATHE_ASSIGN_OR_RETURN(const cuda::Driver* driver, options_.cuda.LoadDriver());
    if (driver->version() >= DriverFloor(nvrtc_->version())) return Status::Ok();
    return Error(
        StatusCode::kUnsupported,
        "what NVRTC %s (%s) compiles needs a driver of CUDA %s or newer, the one here is of %s; update "
        "the driver, or set LATHE_NVRTC to the folder of an older libnvrtc",
        version.c_str(), nvrtc_->path().c_str(), cuda::VersionText(DriverFloor(nvrtc_->version())).c_str(),
        cuda::VersionText(driver->version()).c_str());
  }

  // On a thread of its own; the plan is its until Wait.
  Status MakeKernels() {
    const double begin = NowSeconds();
    if (tuner_) {
      LATHE_RETURN_IF_ERROR(tuner_->Tune(plan_));
      info_["tactics"] = {{"measured", tuner_->measured()},
                          {"from_timing_cache", tuner_->remembered()},
                          {"kernels_timed", tuner_->done.load()},
                          {"seconds", NowSeconds() - begin}};
      if (tuner_->measured() > 0) info_["roofs"] = {{"read_gbps", tuner_->read_gbps()}};
    }
    const double compile_begin = NowSeconds();
    LATHE_ASSIGN_OR_RETURN(const std::vector<cuda::KernelSource> sources, cuda::KernelsOf(*plan_, chip_));
    LATHE_ASSIGN_OR_RETURN(kernels_,
                           cuda::CompileKernels(*nvrtc_, sources, target_.Chip(), options_.threads));
    Json spills = Json::object();
    int most_registers = 0;
    size_t bytes = 0;
    for (const cuda::CompiledKernel& kernel : kernels_) {
      most_registers = std::max(most_registers, kernel.resources.registers);
      bytes += kernel.cubin.size();
      if (kernel.resources.spill_bytes > 0) spills[kernel.source.entry] = kernel.resources.spill_bytes;
    }
    info_["kernels"] = {{"compiled", kernels_.size()},
                        {"compiler", "NVRTC " + cuda::VersionText(nvrtc_->version())},
                        {"seconds", NowSeconds() - compile_begin},
                        {"bytes", bytes},
                        {"most_registers", most_registers},
                        {"spill_bytes", spills}};
    return Status::Ok();
  }

  void TellProgress() const {
    if (!options_.progress) return;
    const int total = tuner_ ? tuner_->total.load() : 0, done = tuner_ ? tuner_->done.load() : 0;
    const bool measuring = total > 0 && done < total;
    if (measuring)
      options_.progress({.stage = "measuring kernels",
                         .done = static_cast<uint64_t>(done),
                         .total = static_cast<uint64_t>(total),
                         .counted = true});
    else
      options_.progress({.stage = "compiling kernels"});
  }

  const BuildOptions& options_;
  const BuildTarget target_;
  const cuda::GemmChip chip_;
  NumericClass numeric_ = NumericClass::kBf16Tensor;
  const cuda::Nvrtc* nvrtc_ = nullptr;
  std::unique_ptr<Team> team_;
  std::unique_ptr<cuda::Device> device_;  // only when tuning, as the two below
  std::optional<TimingCache> timings_;
  std::optional<CudaTuner> tuner_;
  DefaultCudaTactics default_tactics_;
  Plan* plan_ = nullptr;
  std::vector<cuda::CompiledKernel> kernels_;
  Background work_;  // the last member: it ends before what it uses
};

}  // namespace

std::unique_ptr<Backend> MakeCudaBackend(const BuildOptions& options, const BuildTarget& target) {
  return std::make_unique<CudaBackend>(options, target);
}

}  // namespace lathe
