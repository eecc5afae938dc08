#include "runtime/exec/cuda/executor.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "base/bf16.h"
#include "base/check.h"
#include "base/clock.h"
#include "plan/cuda/kernel_blob.h"
#include "runtime/exec/cuda/device_memory.h"
#include "runtime/exec/cuda/faults.h"
#include "runtime/exec/cuda/op_times.h"
#include "runtime/exec/cuda/page_mover.h"
#include "runtime/exec/cuda/program.h"
#include "runtime/exec/cuda/sizes.h"
#include "runtime/exec/cuda/step_clock.h"
#include "runtime/exec/cuda/upload_weights.h"
#include "runtime/step/logit_slices.h"

namespace lathe {
namespace cuda {
namespace {

constexpr char kTargetPrefix[] = "cuda:";

struct Bucket {
  int rows;
  GraphExec graph;
  GraphExec greedy;  // with the sampling of rows that all take their likeliest token
};

// A step between Begin and Finish, and what it needs for itself while another one is begun, too. On the
// device the two share everything: one computes after the other.
struct Flight {
  const Step* step = nullptr;  // null: free
  int64_t number = 0;
  StepInput input;
  PinnedBuffer upload, download;
  Event done;
};

// What lives on the device and must outlast whatever still runs there; later members go first.
struct DeviceState {
  std::unique_ptr<Device> device;
  Stream stream;
  Flight flights[2];
  StepClock clock;
  DeviceMemory memory;
  PinnedBuffer rope_tables;
  DeviceBuffer spill;
  std::unique_ptr<PageMover> mover;  // null: no pages in host memory
  KernelSet kernels;
  std::optional<Program> program;
  std::vector<Bucket> buckets;  // ascending
};

class CudaExecutor final : public StepExecutor {
 public:
  CudaExecutor(Plan plan, CudaExecutorOptions options)
      : plan_(std::move(plan)), options_(std::move(options)) {}
  ~CudaExecutor() override;

  Status Open(const EngineReader& engine);
  const ExecutorLimits& limits() const override { return limits_; }
  Status Execute(const Step& step, StepResult* result) override;
  bool overlaps() const override { return true; }
  bool runs_ahead() const override { return run_ahead_ && times_ == nullptr; }
  Status Begin(const Step& step) override;
  Status Finish(StepResult* result) override;
  double device_seconds() override;

 private:
  Status ReadEnvironment();
  Status Load(const EngineReader& engine, const KernelBlob& blob);
  Status NoteMemory(const char* part) const;
  Status Size(const EngineReader& engine, uint64_t weight_blob_bytes);
  Status UploadAll(const EngineReader& engine);
  Status OpenMover();
  Status BindProgram();
  Status CaptureGraphs();
  Expected<GraphExec> CaptureStep(const StepInput& input, bool with_sampling);
  Status WarmUp(const Step& step, int bucket);

  Status Start(Flight* flight, bool behind_another);
  Status Take(const Flight& flight, StepResult* result);
  Status Remember(const Status& status, int64_t step);
  const Bucket* BucketFor(const Step& step) const;
  Status CopyInput(const Flight& flight);
  Status LaunchStep(const Flight& flight, const Bucket* bucket, bool with_sampling);
  Status LaunchSampling(const Flight& flight);
  Status StartDownload(const Flight& flight);
  Status Wait(const Flight& flight);
  void Collect(const Flight& flight, StepResult* result) const;
  Status CopyLogits(const Flight& flight, StepResult* result);
  Status CopyHidden(const Flight& flight, StepResult* result);
  Flight& FlightOf(int64_t step) { return state_->flights[step % 2]; }

  const Device& device() const { return *state_->device; }
  abi::Stream stream() const { return state_->stream.get(); }

  const Plan plan_;
  const CudaExecutorOptions options_;
  CudaSizes sizes_;
  StepCaps caps_;
  ExecutorLimits limits_;
  InjectedFault injected_;
  double timeout_ = 0;
  std::unique_ptr<DeviceState> state_;
  std::optional<StepFiller> filler_;
  std::unique_ptr<OpTimes> times_;        // before state_ goes: its events
  int64_t n_begun_ = 0, n_finished_ = 0;  // steps, numbered from 1 on
  bool run_ahead_ = false;
  Status fault_;  // not ok: the device is lost
  bool hung_ = false;
  bool takes_device_memory_ = true;  // see Load
};

// What still runs cannot be waited for, and freeing memory would wait: all of it is left to the end of the
// process.
CudaExecutor::~CudaExecutor() {
  const auto ends = [](const Flight& f) { return f.step == nullptr || WaitForEvent(f.done, 1, false).ok(); };
  if (!hung_ || std::ranges::all_of(state_->flights, ends)) {
    // Copies that nobody needs any more may be on their way; what they read and write goes now.
    if (state_ != nullptr && state_->mover != nullptr && device().Bind().ok()) (void)state_->mover->Drain();
    return;
  }
  static auto& abandoned = *new std::vector<std::pair<OpTimes*, DeviceState*>>;
  abandoned.emplace_back(times_.release(), state_.release());
}

Status CudaExecutor::Open(const EngineReader& engine) {
  LATHE_RETURN_IF_ERROR(ReadEnvironment());
  const Driver* driver = options_.driver;
  if (driver == nullptr) {
    auto loaded = Driver::Load();
    if (!loaded.ok())
      return loaded.status().WithContext(
          StrFormat("engine '%s' is for %s", engine.path().c_str(), engine.identity().target.c_str()));
    driver = *loaded;
  }
  state_ = std::make_unique<DeviceState>();
  LATHE_ASSIGN_OR_RETURN(state_->device, Device::Open(*driver, options_.device));
  LATHE_RETURN_IF_ERROR(CheckCudaTarget(engine, device().info(), driver->version()));
  LATHE_ASSIGN_OR_RETURN(const auto weights,
                         engine.Blob(RankBlobName("weights", plan_.tp_rank, plan_.pp_rank)));
  LATHE_ASSIGN_OR_RETURN(const auto kernels, engine.Blob("kernels"));
  LATHE_ASSIGN_OR_RETURN(const KernelBlob blob, KernelBlob::Parse(kernels, engine.path()));
  LATHE_RETURN_IF_ERROR(Size(engine, weights.size()));
  if (injected_.kind == InjectedFault::kLoad)
    std::this_thread::sleep_for(std::chrono::seconds(injected_.step));
  const Status status = Load(engine, blob);
  if (!takes_device_memory_ || status.code() != StatusCode::kResourceExhausted) return status;
  return Error(
      StatusCode::kResourceExhausted,
      "device %d (%s) ran out of memory while the engine was loaded: %s; there was enough when it was "
      "planned, so another process took it meanwhile: try again, or leave others more with "
      "--gpu-memory-fraction",
      options_.device, device().info().name.c_str(), status.message().c_str());
}

// All that takes memory. takes_device_memory_: when it fails, whether that of the device was asked for.
Status CudaExecutor::Load(const EngineReader& engine, const KernelBlob& blob) {
  LATHE_RETURN_IF_ERROR(NoteMemory("CUDA's context"));
  LATHE_ASSIGN_OR_RETURN(state_->stream, NewStream(device()));
  for (Flight& flight : state_->flights) {
    LATHE_ASSIGN_OR_RETURN(flight.done, NewEvent(device()));
  }
  LATHE_ASSIGN_OR_RETURN(state_->clock, StepClock::Make(device()));
  LATHE_ASSIGN_OR_RETURN(state_->memory,
                         DeviceMemory::Allocate(device(), plan_, sizes_, caps_, state_->stream));
  LATHE_RETURN_IF_ERROR(NoteMemory("weights, buffers, workspaces, keys and values"));
  takes_device_memory_ = false;  // of the host, from here on
  LATHE_RETURN_IF_ERROR(OpenMover());
  LATHE_RETURN_IF_ERROR(UploadAll(engine));
  takes_device_memory_ = true;
  LATHE_RETURN_IF_ERROR(NoteMemory("uploading"));
  LATHE_ASSIGN_OR_RETURN(state_->kernels, KernelSet::Load(device(), blob));
  LATHE_RETURN_IF_ERROR(BindProgram());
  LATHE_RETURN_IF_ERROR(Synchronize(state_->stream));
  LATHE_RETURN_IF_ERROR(NoteMemory("kernels"));
  LATHE_RETURN_IF_ERROR(CaptureGraphs());
  return NoteMemory("graphs");
}

// With LATHE_CUDA_MEMORY=1: what is free after a part of opening.
Status CudaExecutor::NoteMemory(const char* part) const {
  const char* wanted = std::getenv("LATHE_CUDA_MEMORY");
  if (wanted == nullptr || std::strcmp(wanted, "1") != 0) return Status::Ok();
  LATHE_ASSIGN_OR_RETURN(const Device::Memory memory, device().MemoryNow());
  std::fprintf(stderr, "cuda memory: %lld bytes free after %s\n", static_cast<long long>(memory.free_bytes),
               part);
  return Status::Ok();
}

Status CudaExecutor::ReadEnvironment() {
  LATHE_ASSIGN_OR_RETURN(injected_, ParseInjectedFault(std::getenv("LATHE_FAULT")));
  LATHE_ASSIGN_OR_RETURN(timeout_, ParseStepTimeout(std::getenv("LATHE_STEP_TIMEOUT")));
  const char* ahead = std::getenv("LATHE_RUN_AHEAD");
  run_ahead_ = ahead == nullptr || *ahead == '\0' ? options_.run_ahead : std::strcmp(ahead, "1") == 0;
  return Status::Ok();
}

Status CudaExecutor::Size(const EngineReader& engine, uint64_t weight_blob_bytes) {
  LATHE_RETURN_IF_ERROR(VerifyPlan(plan_, weight_blob_bytes));
  if (plan_.page_size != kPageSize || plan_.sm != device().info().sm)
    return Error(StatusCode::kCorrupt,
                 "engine '%s': the plan has pages of %d tokens for sm_%d, expected %d and sm_%d",
                 engine.path().c_str(), plan_.page_size, plan_.sm, kPageSize, device().info().sm);
  if (options_.rope.inv_freq.size() != static_cast<size_t>(plan_.rotary_dim / 2))
    return Error(StatusCode::kCorrupt, "the model's rotary table has %zu frequencies, the plan needs %d",
                 options_.rope.inv_freq.size(), plan_.rotary_dim / 2);
  LATHE_ASSIGN_OR_RETURN(const Device::Memory memory, device().MemoryNow());
  const GemmChip chip = ChipOf(device().info());
  auto sizes = SizeCudaExecutor(plan_, options_, chip, static_cast<uint64_t>(memory.free_bytes));
  LATHE_RETURN_IF_ERROR(
      sizes.status().WithContext(StrFormat("device %d (%s)", options_.device, device().info().name.c_str())));
  sizes_ = *sizes;
  caps_ = CapsOf(plan_, sizes_, options_, chip);
  filler_.emplace(caps_);
  limits_ = {.max_step_rows = sizes_.max_step_rows,
             .max_logit_rows = sizes_.max_sequences,
             .n_pages = sizes_.n_pages,
             .page_size = kPageSize,
             .n_host_pages = options_.n_host_pages,
             .max_positions = sizes_.max_positions,
             .vocab = plan_.vocab,
             .dynamic_rope = options_.rope.dynamic_from > 0,
             .dynamic_rope_from = options_.rope.dynamic_from};
  return Status::Ok();
}

Status CudaExecutor::UploadAll(const EngineReader& engine) {
  const std::string name = RankBlobName("weights", plan_.tp_rank, plan_.pp_rank);
  const auto blob = std::ranges::find(engine.blobs(), name, &BlobInfo::name);
  LATHE_CHECK(blob != engine.blobs().end());
  const ProgramMemory& memory = state_->memory.program();
  LATHE_RETURN_IF_ERROR(UploadWeights(device(), engine.path(), blob->offset, sizes_.memory.weight_bytes,
                                      memory.weights, options_.load_threads, options_.progress));
  const int64_t download = WorkspacesOf(plan_, caps_, ChipOf(device().info())).download;
  for (Flight& flight : state_->flights) {
    LATHE_ASSIGN_OR_RETURN(flight.upload, PinnedBuffer::Allocate(device(), StepBufferBytes(caps_)));
    LATHE_ASSIGN_OR_RETURN(flight.download, PinnedBuffer::Allocate(device(), download));
  }
  const auto table_bytes = static_cast<int64_t>(options_.rope.inv_freq.size() * sizeof(float));
  if (table_bytes == 0) return Status::Ok();
  LATHE_ASSIGN_OR_RETURN(state_->rope_tables,
                         PinnedBuffer::Allocate(device(), table_bytes * caps_.rope_tables));
  std::memcpy(state_->rope_tables.as<float>(), options_.rope.inv_freq.data(),
              static_cast<size_t>(table_bytes));
  return CopyToDevice(device(), memory.inv_freq, state_->rope_tables.as<float>(), table_bytes, stream());
}

Status CudaExecutor::OpenMover() {
  if (options_.n_host_pages == 0) return Status::Ok();
  const ProgramMemory& memory = state_->memory.program();
  LATHE_ASSIGN_OR_RETURN(state_->mover,
                         PageMover::Open(device(), {.pool = memory.kv,
                                                    .layer_page_bytes = caps_.shape.page_bytes(),
                                                    .n_layers = plan_.n_layers,
                                                    .n_pages = sizes_.n_pages,
                                                    .n_host_pages = options_.n_host_pages}));
  return Status::Ok();
}

Status CudaExecutor::BindProgram() {
  const ProgramOptions options = {.deterministic = options_.deterministic,
                                  .attention_factor = options_.rope.attention_factor};
  LATHE_ASSIGN_OR_RETURN(Program program, Program::Bind(plan_, caps_, state_->memory.program(),
                                                        state_->kernels, device(), options));
  state_->program.emplace(std::move(program));
  LATHE_ASSIGN_OR_RETURN(times_, OpTimes::FromEnvironment(plan_, device()));
  return Status::Ok();
}

// One graph for each number of decoding rows that steps are padded to. Every kernel of it runs once before:
// the driver loads kernels when they are first launched, which must not fall into a capture.
Status CudaExecutor::CaptureGraphs() {
  if (!options_.graphs || times_ != nullptr || caps_.prompt_only) return Status::Ok();
  const int32_t page = 0;
  Step step;
  step.token_ids = {0};
  step.sequences = {
      {.first_row = 0, .n_rows = 1, .first_position = 0, .rope_length = 1, .pages = &page, .n_pages = 1}};
  step.logit_rows = {0};
  step.samples.resize(1);
  for (const int rows : DecodeBuckets(sizes_.max_sequences)) {
    LATHE_RETURN_IF_ERROR(WarmUp(step, rows).WithContext("a first step"));
    StepInput& input = state_->flights[0].input;
    LATHE_ASSIGN_OR_RETURN(GraphExec graph, CaptureStep(input, false));
    input.sampled_rows = input.logit_rows;  // those that pad the bucket too
    LATHE_ASSIGN_OR_RETURN(GraphExec greedy, CaptureStep(input, true));
    state_->buckets.push_back({rows, std::move(graph), std::move(greedy)});
  }
  return Synchronize(state_->stream);
}

Expected<GraphExec> CudaExecutor::CaptureStep(const StepInput& input, bool with_sampling) {
  LATHE_ASSIGN_OR_RETURN(GraphExec graph, CaptureGraph(state_->stream, [&]() -> Status {
                           LATHE_RETURN_IF_ERROR(state_->program->LaunchOps(input, stream(), nullptr));
                           if (!with_sampling) return Status::Ok();
                           return state_->program->LaunchSampling(input, state_->memory.program().upload,
                                                                  stream(), true);
                         }));
  LATHE_RETURN_IF_ERROR(device().Check(device().api().graph_upload(graph.get(), stream()), "cuGraphUpload"));
  return graph;
}

Status CudaExecutor::WarmUp(const Step& step, int bucket) {
  Flight& flight = state_->flights[0];
  LATHE_RETURN_IF_ERROR(filler_->Fill(step, bucket, flight.upload.bytes().data(), &flight.input));
  LATHE_RETURN_IF_ERROR(CopyInput(flight));
  LATHE_RETURN_IF_ERROR(state_->program->LaunchOps(flight.input, stream(), nullptr));
  LATHE_RETURN_IF_ERROR(LaunchSampling(flight));
  LATHE_RETURN_IF_ERROR(StartDownload(flight));
  return Wait(flight);
}

Status CudaExecutor::Execute(const Step& step, StepResult* result) {
  LATHE_RETURN_IF_ERROR(Begin(step));
  return Finish(result);
}

Status CudaExecutor::Begin(const Step& step) {
  if (!fault_.ok()) return fault_;
  const bool behind_another = n_begun_ > n_finished_;
  Flight& flight = FlightOf(++n_begun_);
  LATHE_CHECK(flight.step == nullptr && (!behind_another || runs_ahead()));
  flight.step = &step;
  flight.number = n_begun_;
  return Remember(Start(&flight, behind_another), n_begun_);
}

Status CudaExecutor::Finish(StepResult* result) {
  if (!fault_.ok()) return fault_;
  LATHE_CHECK(n_begun_ > n_finished_);
  Flight& flight = FlightOf(++n_finished_);
  const Status status = Take(flight, result);
  if (status.ok()) flight.step = nullptr;
  return Remember(status, flight.number);
}

// The first fault is all that is said from then on.
Status CudaExecutor::Remember(const Status& status, int64_t step) {
  if (status.ok()) return status;
  hung_ = status.code() == StatusCode::kDeadlineExceeded;
  fault_ = Error(hung_ ? StatusCode::kUnavailable : status.code(), "step %lld on device %d (%s) failed: %s",
                 static_cast<long long>(step), options_.device, device().info().name.c_str(),
                 status.message().c_str());
  return fault_;
}

Status CudaExecutor::Start(Flight* flight, bool behind_another) {
  LATHE_RETURN_IF_ERROR(device().Bind());
  const Step& step = *flight->step;
  const Bucket* bucket = BucketFor(step);
  LATHE_RETURN_IF_ERROR(filler_->Fill(step, bucket != nullptr ? bucket->rows : 0,
                                      flight->upload.bytes().data(), &flight->input));
  if (state_->mover != nullptr) LATHE_RETURN_IF_ERROR(state_->mover->BeforeStep(step, stream()));
  LATHE_RETURN_IF_ERROR(CopyInput(*flight));
  const bool in_graph = bucket != nullptr && flight->input.sampled_rows > 0 && flight->input.only_greedy &&
                        !injected_.In(InjectedFault::kNan, flight->number);
  LATHE_RETURN_IF_ERROR(state_->clock.Start(state_->stream));
  const double launch = NowSeconds();
  LATHE_RETURN_IF_ERROR(LaunchStep(*flight, bucket, in_graph));
  const double launched = NowSeconds();
  if (!in_graph) LATHE_RETURN_IF_ERROR(LaunchSampling(*flight));
  LATHE_RETURN_IF_ERROR(StartDownload(*flight));
  // A graph begins when all of it is launched, single kernels each by itself; behind another step neither
  // waits for the host.
  const bool waits = bucket != nullptr && !behind_another;
  LATHE_RETURN_IF_ERROR(state_->clock.End(state_->stream, waits ? launched - launch : 0));
  if (!behind_another) LATHE_RETURN_IF_ERROR(state_->clock.AddPrevious());
  return state_->mover != nullptr ? state_->mover->AfterStep(step) : Status::Ok();
}

double CudaExecutor::device_seconds() {
  if (state_ == nullptr) return 0;
  if (n_begun_ == n_finished_ && fault_.ok()) (void)state_->clock.AddAll();  // no more than it knows
  return state_->clock.seconds();
}

Status CudaExecutor::Take(const Flight& flight, StepResult* result) {
  LATHE_RETURN_IF_ERROR(Wait(flight));
  Collect(flight, result);
  if (state_->mover != nullptr) {
    LATHE_ASSIGN_OR_RETURN(result->moves_done, state_->mover->Done());
  }
  if (flight.step->want_hidden) LATHE_RETURN_IF_ERROR(CopyHidden(flight, result));
  if (flight.step->want_logits) LATHE_RETURN_IF_ERROR(CopyLogits(flight, result));
  return Status::Ok();
}

// Null: the step is launched op by op.
const Bucket* CudaExecutor::BucketFor(const Step& step) const {
  for (const SeqSlice& s : step.sequences)
    if (s.n_rows != 1) return nullptr;
  // In a graph what runs over logit rows runs over all rows, where they lie.
  if (caps_.selects && !AllRowsAreLogitRows(step)) return nullptr;
  const auto rows = std::max<int>(step.n_rows(), static_cast<int>(step.logit_rows.size()));
  const auto it = std::ranges::find_if(state_->buckets, [rows](const Bucket& b) { return rows <= b.rows; });
  return it == state_->buckets.end() ? nullptr : &*it;
}

Status CudaExecutor::CopyInput(const Flight& flight) {
  const ProgramMemory& memory = state_->memory.program();
  const size_t half = options_.rope.inv_freq.size();
  for (size_t i = 0; i < flight.input.rope_lengths.size(); ++i) {
    const std::vector<float> freqs = options_.rope.inv_freq_for(flight.input.rope_lengths[i]);
    LATHE_CHECK_EQ(freqs.size(), half);
    std::copy(freqs.begin(), freqs.end(), state_->rope_tables.as<float>() + (i + 1) * half);
  }
  if (!flight.input.rope_lengths.empty())
    LATHE_RETURN_IF_ERROR(CopyToDevice(
        device(), memory.inv_freq + half * sizeof(float), state_->rope_tables.as<float>() + half,
        static_cast<int64_t>(flight.input.rope_lengths.size() * half * sizeof(float)), stream()));
  if (flight.input.spilled) {
    const auto bytes = static_cast<int64_t>(flight.input.spill.size());
    if (state_->spill.bytes() < bytes) {
      LATHE_ASSIGN_OR_RETURN(state_->spill, DeviceBuffer::Allocate(device(), bytes));
    }
    LATHE_RETURN_IF_ERROR(
        CopyToDevice(device(), state_->spill.address(), flight.input.spill.data(), bytes, stream()));
  }
  return CopyToDevice(device(), memory.upload, flight.upload.as<char>(), flight.input.copy_bytes, stream());
}

Status CudaExecutor::LaunchStep(const Flight& flight, const Bucket* bucket, bool with_sampling) {
  if (injected_.In(InjectedFault::kLaunch, flight.number))
    return {StatusCode::kUnavailable, "LATHE_FAULT asks for a launch that fails"};
  if (bucket != nullptr) return LaunchGraph(with_sampling ? bucket->greedy : bucket->graph, state_->stream);
  if (times_ == nullptr) return state_->program->LaunchOps(flight.input, stream(), nullptr);
  const Program::Observer before = [&](int op) { return times_->Before(op, flight.input, state_->stream); };
  times_->Start();
  LATHE_RETURN_IF_ERROR(state_->program->LaunchOps(flight.input, stream(), &before));
  return before(OpTimes::kSampling);
}

Status CudaExecutor::LaunchSampling(const Flight& flight) {
  if (flight.input.sampled_rows == 0) return Status::Ok();
  if (injected_.In(InjectedFault::kNan, flight.number))
    LATHE_RETURN_IF_ERROR(Fill(device(), state_->program->logits(), 0xff, sizeof(float), stream()));
  // Behind a graph, or a fill, there is nothing that lets it start early.
  return state_->program->LaunchSampling(
      flight.input, flight.input.spilled ? state_->spill.address() : state_->memory.program().upload,
      stream(), false);
}

Status CudaExecutor::StartDownload(const Flight& flight) {
  const int64_t rows = flight.input.sampled_rows;
  const int64_t bytes = flight.input.any_top
                            ? TopAt(caps_) + rows * kMaxTopLogprobs * int64_t{sizeof(TopLogprob)}
                            : rows * int64_t{sizeof(SampledRow)};
  if (rows > 0)
    LATHE_RETURN_IF_ERROR(
        CopyToHost(device(), flight.download.as<char>(), state_->memory.program().sampled, bytes, stream()));
  if (times_ != nullptr) LATHE_RETURN_IF_ERROR(times_->Before(OpTimes::kEnd, flight.input, state_->stream));
  return device().Check(device().api().event_record(flight.done.get(), stream()), "cuEventRecord");
}

Status CudaExecutor::Wait(const Flight& flight) {
  LATHE_RETURN_IF_ERROR(
      WaitForEvent(flight.done, timeout_, injected_.In(InjectedFault::kHang, flight.number)));
  return times_ != nullptr ? times_->Finish() : Status::Ok();
}

void CudaExecutor::Collect(const Flight& flight, StepResult* result) const {
  const Step& step = *flight.step;
  const auto* rows = flight.download.as<SampledRow>();
  const auto* top = reinterpret_cast<const TopLogprob*>(flight.download.as<char>() + TopAt(caps_));
  result->tokens.resize(step.logit_rows.size());
  for (size_t i = 0; i < result->tokens.size(); ++i) {
    SampledToken& token = result->tokens[i];
    token.id = rows[i].id;
    token.logprob = rows[i].logprob;
    token.finite = rows[i].finite != 0;
    token.top.clear();
    if (step.samples[i].n_top_logprobs == 0) continue;
    const TopLogprob* own = top + i * kMaxTopLogprobs;
    for (int t = 0; t < rows[i].n_top; ++t) token.top.push_back({own[t].id, own[t].logprob});
  }
}

Status CudaExecutor::CopyLogits(const Flight& flight, StepResult* result) {
  const size_t rows = static_cast<size_t>(flight.input.sampled_rows),
               vocab = static_cast<size_t>(plan_.vocab);
  const auto stride = static_cast<size_t>(state_->program->logits_stride());
  std::vector<float> padded(rows * stride);
  if (!padded.empty())
    LATHE_RETURN_IF_ERROR(CopyToHost(device(), padded.data(), state_->program->logits(),
                                     static_cast<int64_t>(padded.size() * sizeof(float)), stream()));
  LATHE_RETURN_IF_ERROR(Synchronize(state_->stream));
  result->logits.resize(rows * vocab);
  for (size_t i = 0; i < rows; ++i)
    std::copy_n(padded.begin() + static_cast<std::ptrdiff_t>(i * stride), vocab,
                result->logits.begin() + static_cast<std::ptrdiff_t>(i * vocab));
  return Status::Ok();
}

// What the head multiplied: 16 bits, after the final norm.
Status CudaExecutor::CopyHidden(const Flight& flight, StepResult* result) {
  const PlanOp& head = plan_.ops[static_cast<size_t>(state_->program->head())];
  std::vector<uint16_t> rows(static_cast<size_t>(flight.input.sampled_rows) *
                             static_cast<size_t>(plan_.hidden));
  if (!rows.empty())
    LATHE_RETURN_IF_ERROR(CopyToHost(device(), rows.data(),
                                     state_->memory.program().buffers[static_cast<size_t>(head.in)],
                                     static_cast<int64_t>(rows.size() * sizeof(uint16_t)), stream()));
  LATHE_RETURN_IF_ERROR(Synchronize(state_->stream));
  result->hidden.resize(rows.size());
  const bool f16 = HasF16(plan_.numeric);
  std::ranges::transform(rows, result->hidden.begin(),
                         [f16](uint16_t v) { return f16 ? HalfToFloat(v) : ToFloat(Bf16{v}); });
  return Status::Ok();
}

}  // namespace
}  // namespace cuda

Status CheckCudaTarget(const EngineReader& engine, const cuda::DeviceInfo& device, int driver_version) {
  const std::string& target = engine.identity().target;
  const std::string rebuild =
      StrFormat("build it again here with 'lathe build DIR -o %s --target cuda'", engine.path().c_str());
  if (target != cuda::kTargetPrefix + device.Target())
    return Error(StatusCode::kMismatch, "engine '%s' is for %s, device %d (%s) is %s%s; %s",
                 engine.path().c_str(), target.c_str(), device.ordinal, device.name.c_str(),
                 cuda::kTargetPrefix, device.Target().c_str(), rebuild.c_str());
  LATHE_ASSIGN_OR_RETURN(const auto bytes, engine.Blob("kernels"));
  LATHE_ASSIGN_OR_RETURN(const cuda::KernelBlob blob, cuda::KernelBlob::Parse(bytes, engine.path()));
  if (blob.target() != device.Target())
    return Error(StatusCode::kCorrupt, "engine '%s': its kernels are for %s, its manifest says %s",
                 engine.path().c_str(), blob.target().c_str(), target.c_str());
  if (driver_version < blob.driver())
    return Error(StatusCode::kMismatch,
                 "engine '%s' needs a driver of CUDA %s or newer, this machine's is of CUDA %s; update the "
                 "driver, or %s",
                 engine.path().c_str(), cuda::VersionText(blob.driver()).c_str(),
                 cuda::VersionText(driver_version).c_str(), rebuild.c_str());
  return Status::Ok();
}

Expected<std::unique_ptr<StepExecutor>> OpenCudaExecutor(const EngineReader& engine, Plan plan,
                                                         const CudaExecutorOptions& options) {
  auto executor = std::make_unique<cuda::CudaExecutor>(std::move(plan), options);
  LATHE_RETURN_IF_ERROR(executor->Open(engine));
  return std::unique_ptr<StepExecutor>(std::move(executor));
}

}  // namespace lathe
