#include "serve/server/serve.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <mutex>
#include <utility>

#include "base/file.h"
#include "lathe/version.h"
#include "serve/log.h"
#include "serve/metrics/metrics.h"
#include "serve/openai/api.h"
#include "serve/playground/playground.h"
#include "serve/server/tenant.h"

namespace lathe::serve {
namespace {

// Memory of this process has prompts of several callers and hashes of keys in it.
void SwitchCoreDumpsOff() {
  const rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);
  prctl(PR_SET_DUMPABLE, 0);
}

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

// How long the engine may take to let go of what its callbacks use: a step, and then some.
constexpr double kIdleSeconds = 10;

}  // namespace

// Parts of an App; with a name, as an App has one.
namespace app {

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

// The log is one for the process: it runs, as the first server wants it, while there is one.
std::mutex g_log_mutex;
int g_log_users = 0;  // guarded by g_log_mutex

class LogGuard {
 public:
  explicit LogGuard(const ServerConfig& config) {
    const std::lock_guard lock(g_log_mutex);
    if (g_log_users++ == 0) StartLog(LogOptionsOf(config));
  }
  ~LogGuard() {
    const std::lock_guard lock(g_log_mutex);
    if (--g_log_users == 0) StopLog();
  }
  LogGuard(const LogGuard&) = delete;
  LogGuard& operator=(const LogGuard&) = delete;
};

}  // namespace app

Expected<EngineOptions> EngineOptionsOf(const ServerConfig& config) {
  EngineOptions options;
  options.threads = config.threads;
  options.kv_bytes = config.kv_bytes;
  options.host_kv_bytes = config.host_kv_memory;
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

struct App::Parts {
  Parts(Engine& shared, const ServerConfig& c)
      : config(c), log(c), engine(shared), metrics(shared.model(), kVersionString), observer(&metrics) {}

  const ServerConfig config;
  const app::LogGuard log;
  Tenant engine;
  Metrics metrics;
  app::LoggingObserver observer;
  std::unique_ptr<OpenAiApi> api;  // outlives the server, whose answers it writes
  std::unique_ptr<Server> server;
};

App::App(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Expected<std::unique_ptr<App>> App::Start(Engine& engine, const ServerConfig& config) {
  std::unique_ptr<App> app(new App(std::make_unique<Parts>(engine, config)));
  Parts& parts = *app->parts_;
  const auto add_routes = [&parts](Router* router, Admission* admission) -> Status {
    LATHE_ASSIGN_OR_RETURN(
        parts.api,
        OpenAiApi::Create({.engine = &parts.engine, .admission = admission, .observer = &parts.observer},
                          ApiOptionsOf(parts.config)));
    parts.api->Register(router);
    RegisterPlayground(router);
    return {};
  };
  LATHE_ASSIGN_OR_RETURN(parts.server,
                         Server::Start(parts.engine, parts.config, add_routes, [&](Router* router) {
                           RegisterMetrics(router, &parts.metrics, &parts.engine);
                         }));
  Log(LogLevel::kInfo, "listening",
      {{"url", parts.server->url()},
       {"model", engine.model().name},
       {"keys", !config.keys_file.empty()},
       {"tls", !config.tls_cert.empty()},
       {"management_port", parts.server->management_port()}});
  return app;
}

App::~App() {
  if (parts_ != nullptr) Close();
}

Server& App::server() { return *parts_->server; }
const ServerConfig& App::config() const { return parts_->config; }

bool App::Close() {
  parts_->server.reset();
  if (!parts_->engine.WaitOwn(kIdleSeconds)) {
    const EngineStats stats = parts_->engine.Stats();
    Log(LogLevel::kError, "engine_not_idle", {{"running", stats.running}, {"waiting", stats.waiting}});
    (void)parts_.release();  // what the engine may still use must stay
    return false;
  }
  parts_.reset();
  return true;
}

Expected<int> Serve(Engine& engine, const ServerConfig& config,
                    const std::function<void(const Server&)>& on_ready) {
  SwitchCoreDumpsOff();
  std::signal(SIGPIPE, SIG_IGN);  // whoever read our log may go away
  LATHE_ASSIGN_OR_RETURN(const std::unique_ptr<App> app, App::Start(engine, config));
  const int code = RunUntilSignal(app->server(), config, on_ready);
  if (app->Close()) return code;
  StopLog();
  _exit(kExitUnhealthy);  // an engine that does not let go is one whose threads cannot be joined either
}

}  // namespace lathe::serve
