#include "serve/server/server.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "serve/http/transport.h"
#include "serve/log.h"
#include "serve/quote.h"
#include "serve/server/key_file.h"
#include "serve/server/signals.h"

namespace lathe::serve {
namespace {

constexpr double kSampleSeconds = 0.2;
// After the grace time, for error events to reach clients that read.
constexpr double kLastWordsSeconds = 2;
// Between a failing /livez and the exit, so that whoever asks can see why.
constexpr double kUnhealthyExitSeconds = 1;
constexpr double kFrozenSeconds = 5;  // the thread that looks every 0.2 s did not for so long

HttpOptions OptionsOf(const ServerConfig& config) {
  HttpOptions options;
  options.address = config.host;
  options.port = config.port;
  options.tls_cert_file = config.tls_cert;
  options.tls_key_file = config.tls_key;
  options.io_threads = config.io_threads;
  options.workers = config.workers;
  options.read_limits = {.header_bytes = config.max_header_bytes, .body_bytes = config.max_body_bytes};
  options.max_connections = config.max_connections;
  options.max_buffered_bytes = config.max_buffered_bytes;
  options.write_backlog_bytes = config.write_backlog_bytes;
  options.read_timeout = config.read_timeout;
  options.idle_timeout = config.idle_timeout;
  options.write_timeout = config.write_timeout;
  options.comment_interval = config.comment_interval;
  options.require_local_host_name = config.keys_file.empty() && !config.insecure_no_auth;
  return options;
}

// Told by their own line, with tokens (serve.cc).
bool IsGeneration(std::string_view route) {
  return route.starts_with("/v2/models/") || route == "/v1/chat/completions" || route == "/v1/completions" ||
         route == "/v1/embeddings";
}

// Probes and scrapes come every few seconds and tell nothing when they are fine.
bool IsProbe(std::string_view route) {
  return route == "/livez" || route == "/readyz" || route == "/health" || route == "/metrics";
}

void LogAccess(const AccessRecord& record) {
  const bool dull = IsGeneration(record.route) || (IsProbe(record.route) && record.status == 200);
  Log(dull ? LogLevel::kDebug : LogLevel::kInfo, "http",
      {{"request_id", record.request_id},
       {"trace_id", record.trace_id},
       {"principal", record.principal},
       {"client", record.client},
       {"method", record.method},
       {"route", record.route},
       {"status", record.status},
       {"bytes", record.bytes},
       {"seconds", record.seconds},
       {"client_gone", record.client_gone}});
}

std::string UrlHost(const std::string& host) {
  if (host == "0.0.0.0" || host == "::") return "127.0.0.1";
  return host.find(':') == std::string::npos ? host : "[" + host + "]";
}

uint64_t TokenLimit(const ServerConfig& config, const ModelInfo& model) {
  if (config.max_queued_tokens > 0) return config.max_queued_tokens;
  const int context = config.context > 0 ? std::min(config.context, model.max_context) : model.max_context;
  return static_cast<uint64_t>(config.max_connections) * static_cast<uint64_t>(std::max(context, 1));
}

}  // namespace

Status CheckFiles(const ServerConfig& config) {
  if (!config.keys_file.empty()) {
    LATHE_RETURN_IF_ERROR(ReadKeyFile(config.keys_file).status().WithContext("keys_file"));
  }
  if (!config.tls_cert.empty()) {
    LATHE_RETURN_IF_ERROR(TlsContext::Load(config.tls_cert, config.tls_key).status());
  }
  return {};
}

Expected<std::unique_ptr<Server>> Server::Start(Engine& engine, const ServerConfig& config,
                                                const AddRoutes& add_routes,
                                                const std::function<void(Router*)>& add_metrics) {
  std::unique_ptr<Server> server(new Server);
  LATHE_RETURN_IF_ERROR(server->Open(engine, config, add_routes, add_metrics));
  return server;
}

Status Server::Open(Engine& engine, const ServerConfig& config, const AddRoutes& add_routes,
                    const std::function<void(Router*)>& add_metrics) {
  LATHE_RETURN_IF_ERROR(CheckConfig(config));
  config_ = config;
  if (!config.keys_file.empty()) {
    LATHE_ASSIGN_OR_RETURN(auto entries, ReadKeyFile(config.keys_file));
    keys_ = std::make_shared<KeyRing>(std::move(entries));
  }
  admission_ = std::make_unique<AdmissionControl>(
      AdmissionLimits{.max_requests = static_cast<uint64_t>(config.max_queued_requests),
                      .max_tokens = TokenLimit(config, engine.model())});
  health_ = std::make_unique<Health>(
      HealthLimits{.unready_seconds = config.stall_unready, .dead_seconds = config.stall_exit});
  sampler_ = std::make_unique<HealthSampler>(engine, health_.get(), kSampleSeconds);

  RegisterHealth(&router_, health_.get());
  if (add_metrics) add_metrics(&router_);
  LATHE_RETURN_IF_ERROR(add_routes(&router_, admission_.get()));

  HttpOptions options = OptionsOf(config);
  options.authenticator = keys_;
  options.on_access = LogAccess;
  LATHE_ASSIGN_OR_RETURN(main_, HttpServer::Start(options, &router_));
  LATHE_RETURN_IF_ERROR(OpenManagement(config, add_metrics));
  url_ = StrFormat("%s://%s:%d", config.tls_cert.empty() ? "http" : "https", UrlHost(config.host).c_str(),
                   main_->port());
  admission_->SetState(AdmissionControl::State::kOpen);
  health_->SetPhase(Health::Phase::kServing);
  return {};
}

Status Server::OpenManagement(const ServerConfig& config, const std::function<void(Router*)>& add_metrics) {
  if (config.management_listen.empty()) return {};
  HttpOptions options = OptionsOf(config);
  LATHE_ASSIGN_OR_RETURN(const auto address, ParseListen(config.management_listen, "management_listen"));
  options.address = address.first;
  options.port = address.second;
  options.tls_cert_file.clear();
  options.tls_key_file.clear();
  options.require_local_host_name = false;  // probes come by the pod's address or any name of it
  options.io_threads = options.workers = 1;
  options.max_connections = 64;
  options.read_limits.body_bytes = 1024;
  RegisterHealth(&management_router_, health_.get());
  if (add_metrics) add_metrics(&management_router_);
  LATHE_ASSIGN_OR_RETURN(management_, HttpServer::Start(options, &management_router_));
  return {};
}

Server::~Server() {
  // Listeners end first: their handlers use what follows.
  main_.reset();
  management_.reset();
}

void Server::Reload() {
  if (keys_ != nullptr) {
    auto entries = ReadKeyFile(config_.keys_file);
    if (entries.ok()) {
      keys_->Replace(*std::move(entries));
      Log(LogLevel::kInfo, "keys_reloaded", {{"keys", keys_->size()}});
    } else {
      Log(LogLevel::kError, "keys_not_reloaded", {{"error", entries.status().message()}});
    }
  }
  if (config_.tls_cert.empty()) return;
  const Status tls = main_->ReloadTls();
  if (tls.ok()) {
    Log(LogLevel::kInfo, "tls_reloaded", {});
  } else {
    Log(LogLevel::kError, "tls_not_reloaded", {{"error", tls.message()}});
  }
}

void Server::BeginDrain() {
  health_->SetPhase(Health::Phase::kDraining);
  admission_->SetState(AdmissionControl::State::kDraining);
  main_->BeginDrain();
}

bool Server::Drain(double grace_seconds) {
  BeginDrain();
  if (main_->WaitIdle(grace_seconds)) return true;
  main_->AbortAll(ErrorJson("the server shut down before the request was finished; send it to another",
                            "service_unavailable_error", "shutting_down"));
  main_->WaitIdle(kLastWordsSeconds);
  return false;
}

int RunUntilSignal(Server& server, const ServerConfig& config,
                   const std::function<void(const Server&)>& on_ready) {
  Signals signals;
  if (on_ready) on_ready(server);
  double last_good = NowSeconds(), last_look = last_good;
  while (true) {
    const Signals::Event event = signals.Wait(kSampleSeconds);
    if (event == Signals::Event::kStop) break;
    if (event == Signals::Event::kReload) server.Reload();
    const double now = NowSeconds();
    if (now - last_look > kFrozenSeconds) server.health().OnThaw(now);
    last_look = now;
    if (server.health().Live(now).good) last_good = now;
    if (now - last_good > kUnhealthyExitSeconds) {
      Log(LogLevel::kError, "unhealthy", {{"reason", server.health().Live(now).reason}});
      StopLog();
      _exit(kExitUnhealthy);
    }
  }
  Log(LogLevel::kInfo, "draining", {{"active", server.counters().active}, {"grace", config.grace}});
  const bool finished = server.Drain(config.grace);
  Log(LogLevel::kInfo, "stopped", {{"all_finished", finished}});
  return 0;
}

}  // namespace lathe::serve
