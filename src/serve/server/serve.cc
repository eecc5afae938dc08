#include "serve/server/serve.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "base/clock.h"
#include "base/file.h"
#include "lathe/version.h"
#include "serve/log.h"
#include "serve/metrics/metrics.h"
#include "serve/openai/api.h"
#include "serve/playground/playground.h"

namespace lathe::serve {
namespace {

// Memory of this process has prompts of several callers and hashes of keys in it.
void SwitchCoreDumpsOff() {
  const rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);
  prctl(PR_SET_DUMPABLE, 0);
}

// One line for each generation, beside the metrics.
class LoggingObserver final : public Observer {
 public:
  explicit LoggingObserver(Observer* next) : next_(next) {}
  void OnFirstToken(double seconds) override { next_->OnFirstToken(seconds); }
  void OnTokens(int tokens, double gap_seconds) override { next_->OnTokens(tokens, gap_seconds); }
  void OnDone(const RequestRecord& record) override {
    next_->OnDone(record);
    Log(LogLevel::kInfo, "generation",
        {{"request_id", record.request_id},
         {"trace_id", record.trace_id},
         {"principal", record.principal},
         {"route", record.route},
         {"status", record.http_status},
         {"error", record.error_code},
         {"finish", record.finish},
         {"streamed", record.streamed},
         {"n", record.n},
         {"prompt_tokens", record.prompt_tokens},
         {"cached_tokens", record.cached_tokens},
         {"completion_tokens", record.completion_tokens},
         {"queued_seconds", record.queued_seconds},
         {"first_token_seconds", record.first_token_seconds},
         {"seconds", record.total_seconds}});
  }

 private:
  Observer* const next_;
};

ApiOptions ApiOptionsOf(const ServerConfig& config) {
  ApiOptions options;
  options.model_name = config.model_name;
  options.model_aliases = config.model_aliases;
  options.tool_format = config.tool_format;
  options.reasoning_format = config.reasoning_format;
  options.allow_special_tokens = config.allow_special_tokens;
  options.default_timeout_seconds = config.request_timeout;
  options.limits.max_n = config.max_n;
  options.limits.max_prompts = config.max_prompts;
  return options;
}

LogOptions LogOptionsOf(const ServerConfig& config) {
  static constexpr std::pair<std::string_view, LogLevel> kLevels[] = {{"debug", LogLevel::kDebug},
                                                                      {"info", LogLevel::kInfo},
                                                                      {"warn", LogLevel::kWarn},
                                                                      {"error", LogLevel::kError},
                                                                      {"off", LogLevel::kOff}};
  LogOptions options;
  options.json = config.log_format == "json";
  for (const auto& [name, level] : kLevels) {
    if (name == config.log_level) options.level = level;
  }
  return options;
}

// The log, stopped on every way out.
class LogGuard {
 public:
  explicit LogGuard(const ServerConfig& config) { StartLog(LogOptionsOf(config)); }
  ~LogGuard() { StopLog(); }
  LogGuard(const LogGuard&) = delete;
  LogGuard& operator=(const LogGuard&) = delete;
};

// Waits, at its end, for the engine to let go of what its callbacks use. An engine that does not is one whose
// threads cannot be joined either.
class IdleGuard {
 public:
  explicit IdleGuard(Engine& engine) : engine_(engine) {}
  ~IdleGuard() {
    const double end = NowSeconds() + kIdleSeconds;
    for (EngineStats stats = engine_.Stats(); stats.running + stats.waiting > 0; stats = engine_.Stats()) {
      if (NowSeconds() > end) {
        Log(LogLevel::kError, "engine_not_idle", {{"running", stats.running}, {"waiting", stats.waiting}});
        StopLog();
        _exit(kExitUnhealthy);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    engine_.WaitIdle();
  }
  IdleGuard(const IdleGuard&) = delete;
  IdleGuard& operator=(const IdleGuard&) = delete;

 private:
  static constexpr double kIdleSeconds = 10;
  Engine& engine_;
};

}  // namespace

Expected<EngineOptions> EngineOptionsOf(const ServerConfig& config) {
  EngineOptions options;
  options.threads = config.threads;
  options.kv_bytes = config.kv_bytes;
  options.max_sequences = config.max_sequences;
  options.max_step_tokens = config.max_step_tokens;
  options.max_context = config.context;
  options.max_queued_requests = config.max_queued_requests;
  options.prefix_cache = config.prefix_cache;
  options.max_step_growth = config.max_step_growth;
  options.device = config.device;
  options.gpu_memory_fraction = config.gpu_memory_fraction;
  options.deterministic = config.deterministic;
  if (!config.chat_template.empty()) {
    auto source = ReadFile(config.chat_template, 1 << 20);
    LATHE_RETURN_IF_ERROR(source.status().WithContext("chat_template"));
    options.chat_template = *std::move(source);
  }
  return options;
}

Expected<int> Serve(Engine& engine, const ServerConfig& config,
                    const std::function<void(const Server&)>& on_ready) {
  SwitchCoreDumpsOff();
  std::signal(SIGPIPE, SIG_IGN);  // whoever read our log may go away
  Metrics metrics(engine.model(), kVersionString);
  LoggingObserver observer(&metrics);
  std::unique_ptr<OpenAiApi> api;  // outlives the server, whose answers it writes
  const auto add_routes = [&](Router* router, Admission* admission) -> Status {
    LATHE_ASSIGN_OR_RETURN(
        api, OpenAiApi::Create({.engine = &engine, .admission = admission, .observer = &observer},
                               ApiOptionsOf(config)));
    api->Register(router);
    RegisterPlayground(router);
    return {};
  };
  const LogGuard log(config);
  const IdleGuard idle(engine);
  LATHE_ASSIGN_OR_RETURN(const std::unique_ptr<Server> server,
                         Server::Start(engine, config, add_routes,
                                       [&](Router* router) { RegisterMetrics(router, &metrics, &engine); }));
  Log(LogLevel::kInfo, "listening",
      {{"url", server->url()},
       {"model", engine.model().name},
       {"keys", !config.keys_file.empty()},
       {"tls", !config.tls_cert.empty()},
       {"management_port", server->management_port()}});
  if (on_ready) on_ready(*server);
  return RunUntilSignal(*server, config);
}

}  // namespace lathe::serve
