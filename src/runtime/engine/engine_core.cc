// The engine as its callers see it; any thread. The engine's own thread: engine_loop.cc.
#include "runtime/engine/engine_core.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/status.h"
#include "runtime/engine/engine_impl.h"
#include "runtime/engine/prepare.h"

namespace lathe {
namespace {

constexpr int kDefaultStepRows = 512;
constexpr int kDefaultQueue = 65536;
constexpr double kUnnoticedSeconds = 0.05;  // between tokens: faster than anybody reads

int OrDefault(int value, int fallback) { return value > 0 ? value : fallback; }

SchedulerOptions MakeSchedulerOptions(const EngineOptions& options, const ExecutorLimits& limits) {
  SchedulerOptions out;
  out.max_sequences = OrDefault(options.max_sequences, kDefaultSequences);
  out.max_step_rows = std::min(OrDefault(options.max_step_tokens, kDefaultStepRows), limits.max_step_rows);
  out.max_context = options.max_context;
  out.kv.prefix_cache = options.prefix_cache;
  return out;
}

}  // namespace

std::unique_ptr<Engine> MakeEngine(EngineParts parts, const EngineOptions& options) {
  LATHE_CHECK(parts.executor != nullptr);
  LATHE_CHECK(parts.text != nullptr);
  return std::make_unique<EngineCore>(std::move(parts), options);
}

EngineCore::EngineCore(EngineParts parts, const EngineOptions& options)
    : keep_alive_(std::move(parts.keep_alive)),
      executor_(std::move(parts.executor)),
      text_(std::move(parts.text)),
      info_(std::move(parts.info)),
      defaults_(std::move(parts.defaults)),
      max_queued_(static_cast<size_t>(OrDefault(options.max_queued_requests, kDefaultQueue))),
      scheduler_(executor_->limits(), MakeSchedulerOptions(options, executor_->limits())),
      pace_(options.max_step_growth, kUnnoticedSeconds) {
  info_.max_context = scheduler_.max_context();
  stats_.pages_total = executor_->limits().n_pages;
  stats_.host_pages_total = scheduler_.kv().n_host_pages();
  stats_.page_size = counts_.page_size = executor_->limits().page_size;
  stats_.page_bytes = counts_.page_bytes = info_.kv_bytes_per_token * static_cast<uint64_t>(stats_.page_size);
  thread_ = std::thread([this] { Loop(); });
  if (parts.verify) verifier_ = std::thread([this, verify = std::move(parts.verify)] { Verify(verify); });
}

EngineCore::~EngineCore() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    closed_ = Error(StatusCode::kUnavailable, "the engine is shutting down");
  }
  work_.notify_one();
  stop_verifying_ = true;
  if (verifier_.joinable()) verifier_.join();
  thread_.join();
}

void EngineCore::Verify(const std::function<Status(const std::atomic<bool>&)>& verify) {
  Command command;
  command.fault = verify(stop_verifying_);
  if (command.fault.ok()) return;
  std::lock_guard lock(mutex_);
  commands_.push_back(std::move(command));
  work_.notify_one();
}

Expected<RequestId> EngineCore::Submit(Request request, OutputCallback callback) {
  LATHE_ASSIGN_OR_RETURN(SchedRequest prepared,
                         PrepareRequest(request, info_, *text_, scheduler_, NowSeconds()));
  Command command;
  command.stream = std::make_unique<RequestStream>(prepared, std::move(callback), *text_);
  command.request = std::move(prepared);
  {
    std::lock_guard lock(mutex_);
    LATHE_RETURN_IF_ERROR(closed_);
    if (n_queued_ + n_unstarted_ >= max_queued_) {
      return Error(StatusCode::kResourceExhausted,
                   "the queue may hold %zu requests and holds %zu: try again later", max_queued_,
                   n_queued_ + n_unstarted_);
    }
    command.id = command.request.id = next_id_++;
    ++n_queued_;
    ++stats_.submitted;
    commands_.push_back(std::move(command));
    work_.notify_one();
    return commands_.back().id;
  }
}

void EngineCore::Cancel(RequestId id) {
  std::lock_guard lock(mutex_);
  Command command;
  command.id = id;
  commands_.push_back(std::move(command));
  work_.notify_one();
}

void EngineCore::WaitIdle() {
  std::unique_lock lock(mutex_);
  quiet_.wait(lock, [this] { return n_live() == 0; });
}

EngineStats EngineCore::Stats() const {
  std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  stats.waiting += static_cast<int>(n_queued_);
  stats.accepting = closed_.ok();
  return stats;
}

Expected<std::vector<TokenId>> EngineCore::Tokenize(const std::string& text, bool add_special,
                                                    bool parse_special) const {
  return text_->Encode(text, add_special, parse_special);
}

std::string EngineCore::Detokenize(const std::vector<TokenId>& ids, bool skip_special) const {
  return text_->Decode(ids, skip_special);
}

Expected<std::vector<TokenId>> EngineCore::RenderChat(const Prompt::Chat& chat, std::string* text) const {
  return text_->RenderChat(chat, text);
}

Expected<DirectResult> EngineCore::SubmitDirect(DirectMode mode, const std::vector<TokenId>& ids) {
  const size_t least = mode == DirectMode::kScore ? 2 : 1;
  const auto most = static_cast<size_t>(info_.max_context);
  if (ids.size() < least || ids.size() > most) {
    return Error(StatusCode::kInvalidArgument, "a text to score must have %zu to %zu tokens, but has %zu",
                 least, most, ids.size());
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < info_.vocab) continue;
    return Error(StatusCode::kInvalidArgument, "token %zu must be in [0, %d), but is %d", i, info_.vocab,
                 ids[i]);
  }
  DirectJob job{.mode = mode, .ids = ids, .result = {}};
  Command command;
  command.job = &job;
  std::unique_lock lock(mutex_);
  LATHE_RETURN_IF_ERROR(closed_);
  commands_.push_back(std::move(command));
  work_.notify_one();
  quiet_.wait(lock, [&job] { return job.done; });
  LATHE_RETURN_IF_ERROR(job.result.status);
  return std::move(job.result);
}

Expected<Engine::Score> EngineCore::ScoreWindow(const std::vector<TokenId>& ids) {
  LATHE_ASSIGN_OR_RETURN(DirectResult result, SubmitDirect(DirectMode::kScore, ids));
  return result.score;
}

Expected<std::vector<float>> EngineCore::Logits(const std::vector<TokenId>& ids) {
  LATHE_ASSIGN_OR_RETURN(DirectResult result, SubmitDirect(DirectMode::kLogits, ids));
  return std::move(result.logits);
}

}  // namespace lathe
