// The engine's own thread: takes commands, runs steps, delivers what comes out.
#include <algorithm>

#include "base/clock.h"
#include "base/status.h"
#include "runtime/engine/engine_impl.h"

namespace lathe {

void EngineCore::Loop() {
  while (TakeCommands()) {
    const double start = NowSeconds();
    const double in_steps = counts_.step_seconds;
    for (Command& command : taken_) RunCommand(&command);
    taken_.clear();
    RunDirectJobs();
    RunStep();
    counts_.host_seconds += NowSeconds() - start - (counts_.step_seconds - in_steps);
    PublishStats();
  }
  ShutDown();
}

// Waits while there is nothing to do. False: the engine is to stop.
bool EngineCore::TakeCommands() {
  std::unique_lock lock(mutex_);
  work_.wait(lock,
             [this] { return stopping_ || !commands_.empty() || !jobs_.empty() || !scheduler_.idle(); });
  if (stopping_) return false;
  taken_.swap(commands_);
  // Until PublishStats they count as not started.
  n_unstarted_ += n_queued_;
  n_queued_ = 0;
  return true;
}

void EngineCore::RunCommand(Command* command) {
  if (!command->fault.ok()) {
    if (dead_.ok()) DeviceFailed(command->fault);
  } else if (command->job != nullptr) {
    jobs_.push_back(command->job);
  } else if (command->stream == nullptr) {
    // Tokens that wait to be delivered are nobody's any more.
    std::erase_if(events_, [id = command->id](const SequenceEvent& e) {
      return e.request == id && e.finish == FinishReason::kNone;
    });
    scheduler_.Cancel(command->id, FinishReason::kCancelled, Status::Ok(), &events_);
    Deliver();
  } else {
    streams_.emplace(command->id, std::move(command->stream));
    scheduler_.AddRequest(std::move(command->request));
    if (!dead_.ok()) {
      scheduler_.Cancel(command->id, FinishReason::kError, dead_, &events_);
      Deliver();
    }
  }
}

// Between steps, as soon as their pages are there.
void EngineCore::RunDirectJobs() {
  if (scheduler_.is_ahead()) return;  // a step runs; none is begun ahead while there are jobs
  std::erase_if(jobs_, [this](DirectJob* job) {
    DirectResult result;
    result.status = dead_;
    if (dead_.ok()) result = RunDirect(job->mode, job->ids, executor_.get(), &scheduler_.kv());
    if (result.wants_pages && !scheduler_.idle()) return false;
    if (result.device_failed) DeviceFailed(result.status);
    FinishJob(job, std::move(result));
    return true;
  });
}

void EngineCore::FinishJob(DirectJob* job, DirectResult result) {
  // The job lives on its caller's stack, which may be gone once the lock is.
  std::lock_guard lock(mutex_);
  job->result = std::move(result);
  job->done = true;
  quiet_.notify_all();
}

void EngineCore::RunStep() {
  if (pace_.bounds()) {
    const PromptRowLimits most = pace_.Limits(scheduler_.n_decoding(), executor_->limits().max_step_rows);
    scheduler_.LimitPromptRows(most.rows, most.long_rows);
  }
  const bool begun = scheduler_.is_ahead();
  const Step* step = scheduler_.BuildStep(NowSeconds(), &events_);
  if (step == nullptr || !executor_->overlaps()) Deliver();
  if (step == nullptr) return;
  const double start = NowSeconds();
  for (RequestId id : scheduler_.started()) {
    const auto it = streams_.find(id);
    if (it != streams_.end()) it->second->Started(start);
  }
  const Status status = RunOnDevice(*step, begun);
  counts_.last_step_time = NowSeconds();
  counts_.step_seconds += counts_.last_step_time - start;
  // A step that waited for pages tells nothing of what rows cost.
  if (pace_.bounds() && step->moves_needed == 0) {
    pace_.Record(scheduler_.step_decodes(), scheduler_.step_prompt_rows() - scheduler_.step_long_rows(),
                 scheduler_.step_long_rows(), counts_.last_step_time - start);
  }
  CountStep(step->sequences.size());
  if (status.ok())
    scheduler_.ApplyResult(result_, &events_);
  else
    scheduler_.DropStep();
  for (const auto& [request, index] : ended_in_step_) scheduler_.FinishSequence(request, index);
  ended_in_step_.clear();
  if (status.ok() && scheduler_.idle()) counts_.device_seconds = executor_->device_seconds();
  if (!status.ok())
    DeviceFailed(status);
  else if (DeliverAtOnce())
    Deliver();
}

// While the device works by itself, what the step before gave is delivered: text and callbacks of hundreds of
// sequences take as long as a good part of a step. The step after it is begun too, where it can be foreseen:
// the device then goes from one to the next without the host between them.
Status EngineCore::RunOnDevice(const Step& step, bool begun) {
  if (!begun) LATHE_RETURN_IF_ERROR(executor_->Begin(step));
  if (executor_->runs_ahead() && jobs_.empty()) {
    const Step* next = scheduler_.BuildAhead();
    if (next != nullptr) LATHE_RETURN_IF_ERROR(executor_->Begin(*next));
  }
  counts_.device_seconds = executor_->device_seconds();  // up to the step before
  step_runs_ = true;
  Deliver();
  step_runs_ = false;
  return executor_->Finish(&result_);
}

// Events wait for the next step, unless there is none, or they point at what building it takes away.
bool EngineCore::DeliverAtOnce() const {
  return !executor_->overlaps() || scheduler_.idle() ||
         std::ranges::any_of(events_, [](const SequenceEvent& e) { return e.prompt != nullptr; });
}

// Hands out events_ and empties it. Only events of a step's result can end a continuation here, by a stop
// string; with the next step under way, the scheduler learns of it when that has ended.
void EngineCore::Deliver() {
  for (const SequenceEvent& event : events_) {
    const auto it = streams_.find(event.request);
    // One that just met a stop string may still be told that its request failed or was cancelled.
    if (it == streams_.end() || it->second->done(event.index)) continue;
    RequestStream& stream = *it->second;
    stream.Fill(event, &delta_);
    if (delta_.finish != FinishReason::kNone && event.finish == FinishReason::kNone) {
      if (step_runs_)
        ended_in_step_.emplace_back(event.request, event.index);
      else
        scheduler_.FinishSequence(event.request, event.index);
    }
    if (!stream.Call(delta_)) Cancel(event.request);
    if (stream.done()) {
      const FinishReason outcome = stream.outcome();
      streams_.erase(it);
      CountEnd(outcome);
    }
  }
  events_.clear();
}

void EngineCore::CountStep(size_t n_sequences) {
  ++counts_.steps;
  counts_.sequences_in_steps += n_sequences;
  size_t bucket = 0;
  while (bucket + 1 < EngineStats::kBatchBuckets && n_sequences > size_t{1} << bucket) ++bucket;
  ++counts_.steps_by_batch[bucket];
}

void EngineCore::CountEnd(FinishReason outcome) {
  switch (outcome) {
    case FinishReason::kCancelled: ++counts_.cancelled; break;
    case FinishReason::kDeadline:
    case FinishReason::kError: ++counts_.failed; break;
    default: ++counts_.finished; break;
  }
}

// Fails everything in flight; from now on nothing is taken.
void EngineCore::DeviceFailed(const Status& status) {
  dead_ = Error(StatusCode::kUnavailable, "the engine has failed and must be loaded again: %s",
                status.message().c_str());
  {
    std::lock_guard lock(mutex_);
    if (closed_.ok()) closed_ = dead_;
  }
  scheduler_.CancelAll(FinishReason::kError, status, &events_);
  Deliver();
}

void EngineCore::ShutDown() {
  {
    std::lock_guard lock(mutex_);
    taken_.swap(commands_);
    n_queued_ = 0;
  }
  for (Command& command : taken_) RunCommand(&command);
  if (scheduler_.is_ahead()) {
    (void)executor_->Finish(&result_);  // what it gives is nobody's
    scheduler_.DropStep();
  }
  scheduler_.CancelAll(FinishReason::kCancelled, Status::Ok(), &events_);
  Deliver();
  for (DirectJob* job : jobs_) {
    DirectResult result;
    result.status = Error(StatusCode::kUnavailable, "the engine is shutting down");
    FinishJob(job, std::move(result));
  }
  jobs_.clear();
  PublishStats();
}

// The one place where callers learn that requests ended: who waited for idleness then sees these numbers.
void EngineCore::PublishStats() {
  const SchedulerStats s = scheduler_.stats();
  const KvManager& kv = scheduler_.kv();
  counts_.running = s.running;
  counts_.waiting = s.waiting;
  counts_.pages_total = kv.n_pages();
  counts_.pages_used = kv.n_used();
  counts_.pages_cached = kv.n_cached();
  counts_.prompt_tokens = s.prompt_tokens;
  counts_.cached_tokens = s.cached_tokens;
  counts_.generated_tokens = s.generated_tokens;
  counts_.preemptions = s.preemptions;
  counts_.recomputed_tokens = s.recomputed_tokens;
  counts_.host_pages_total = kv.n_host_pages();
  counts_.host_pages_used = kv.n_host_used();
  counts_.host_tokens = s.host_tokens;
  counts_.pages_offloaded = kv.counters().offloaded;
  counts_.pages_restored = kv.counters().restored;
  counts_.host_pages_dropped = kv.counters().dropped;
  std::lock_guard lock(mutex_);
  n_unstarted_ = static_cast<size_t>(s.unstarted);
  counts_.submitted = stats_.submitted;
  stats_ = counts_;
  if (n_live() == 0) quiet_.notify_all();
}

}  // namespace lathe
