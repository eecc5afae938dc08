// The class behind MakeEngine; private to runtime/engine.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "runtime/engine/direct_run.h"
#include "runtime/engine/engine_core.h"
#include "runtime/engine/prepare.h"
#include "runtime/engine/request_stream.h"
#include "runtime/engine/step_pace.h"
#include "runtime/sched/scheduler.h"

namespace lathe {

// Callers' threads write `shared_`, under its mutex, and read what never changes; the engine's thread owns
// everything else. See docs/contracts/engine.md.
class EngineCore final : public Engine {
 public:
  EngineCore(EngineParts parts, const EngineOptions& options);
  ~EngineCore() override;

  const ModelInfo& model() const override { return info_; }
  SamplingParams DefaultSampling() const override { return defaults_; }
  Expected<RequestId> Submit(Request request, OutputCallback callback) override;
  void Cancel(RequestId id) override;
  void WaitIdle() override;
  EngineStats Stats() const override;
  Expected<std::vector<TokenId>> Tokenize(const std::string& text, bool add_special,
                                          bool parse_special) const override;
  Status CheckFormat(const OutputFormat& format) const override {
    return CompileOutputFormat(*text_, format).status();
  }
  std::string TokenBytes(TokenId id) const override { return text_->TokenBytes(id); }
  const std::string& ChatTemplate() const override { return text_->ChatTemplateSource(); }
  std::string Detokenize(const std::vector<TokenId>& ids, bool skip_special) const override;
  Expected<std::vector<TokenId>> RenderChat(const Prompt::Chat& chat, std::string* text) const override;
  Expected<Score> ScoreWindow(const std::vector<TokenId>& ids) override;
  Expected<std::vector<float>> Logits(const std::vector<TokenId>& ids) override;

 private:
  // A text to run directly; on the stack of the caller, who waits for `done` (under mutex_).
  struct DirectJob {
    DirectMode mode;
    std::span<const TokenId> ids;
    DirectResult result;
    bool done = false;
  };
  // In order of arrival: an added request, a direct job, a fault, or else the cancellation of `id`.
  struct Command {
    RequestId id = 0;
    std::unique_ptr<RequestStream> stream;
    SchedRequest request;
    DirectJob* job = nullptr;
    Status fault;  // not ok: found by the verifier
  };

  Expected<DirectResult> SubmitDirect(DirectMode mode, const std::vector<TokenId>& ids);

  // Requests submitted and not ended; with mutex_ held.
  uint64_t n_live() const { return stats_.submitted - stats_.finished - stats_.cancelled - stats_.failed; }

  // The engine's thread (engine_loop.cc).
  void Loop();
  bool TakeCommands();
  void RunCommand(Command* command);
  void RunDirectJobs();
  void FinishJob(DirectJob* job, DirectResult result);
  void RunStep();
  Status RunOnDevice(const Step& step, bool begun);  // begun: ahead, with the step before
  bool DeliverAtOnce() const;
  void Deliver();
  void CountStep(size_t n_sequences);
  void CountEnd(FinishReason outcome);
  void DeviceFailed(const Status& status);
  void ShutDown();
  void Verify(const std::function<Status(const std::atomic<bool>&)>& verify);
  void PublishStats();

  // Never changes after construction, but for what the executor and the scheduler hold inside.
  const std::shared_ptr<const void> keep_alive_;
  const std::unique_ptr<StepExecutor> executor_;
  const std::unique_ptr<TextModel> text_;
  ModelInfo info_;
  const SamplingParams defaults_;
  const size_t max_queued_;

  // The engine's thread only (Scheduler::CheckFits and max_context: any thread).
  Scheduler scheduler_;
  std::unordered_map<RequestId, std::unique_ptr<RequestStream>> streams_;
  StepPace pace_;
  std::vector<Command> taken_;
  std::vector<DirectJob*> jobs_;
  std::vector<SequenceEvent> events_;  // not yet delivered
  bool step_runs_ = false;             // on the device, while events of the step before are delivered
  std::vector<std::pair<RequestId, int>> ended_in_step_;  // by a stop string, meanwhile
  StepResult result_;
  OutputDelta delta_;
  Status dead_;
  EngineStats counts_;  // published to stats_ after each turn of the loop, but for `submitted`

  mutable std::mutex mutex_;
  std::condition_variable work_;   // commands_ or stopping_ changed
  std::condition_variable quiet_;  // no request is live, or a job is done
  // Guarded by mutex_:
  std::vector<Command> commands_;
  size_t n_queued_ = 0;     // requests in commands_
  size_t n_unstarted_ = 0;  // requests in the scheduler that never ran
  size_t n_live_ = 0;       // submitted and not ended
  RequestId next_id_ = 1;
  bool stopping_ = false;
  Status closed_;  // not ok: why no request is taken any more
  EngineStats stats_;

  std::atomic<bool> stop_verifying_{false};
  std::thread verifier_;
  std::thread thread_;  // last: starts when all else is there
};

}  // namespace lathe
