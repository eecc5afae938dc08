// Everything together: configuration in, a server that answers out.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "lathe/engine.h"
#include "serve/http/keys.h"
#include "serve/http/server.h"
#include "serve/router.h"
#include "serve/server/admission.h"
#include "serve/server/config.h"
#include "serve/server/health.h"

namespace lathe::serve {

// A server on its listeners. Not thread-safe but for what its parts promise.
class Server {
 public:
  // Adds the routes of the API to `router`, given what they need.
  using AddRoutes = std::function<Status(Router* router, Admission* admission)>;

  // Listens, and is ready. `add_routes` fills the main listener, `add_metrics` (may be null) both. `engine`
  // and what the handlers use must outlive the server. Errors: those of configuration, key file, TLS files
  // and sockets.
  static Expected<std::unique_ptr<Server>> Start(Engine& engine, const ServerConfig& config,
                                                 const AddRoutes& add_routes,
                                                 const std::function<void(Router*)>& add_metrics);
  ~Server();

  const std::string& url() const { return url_; }  // "http://127.0.0.1:8000"
  int port() const { return main_->port(); }
  int management_port() const { return management_ == nullptr ? 0 : management_->port(); }

  // Key file and TLS files again. What is not usable changes nothing, and is logged.
  void Reload();
  // No new work: 503, /readyz 503, connections end with their answers.
  void BeginDrain();
  // Waits for running requests, for `grace` seconds at most; then they get an error and their connections
  // end. True when all finished.
  bool Drain(double grace_seconds);

  Health& health() { return *health_; }
  AdmissionControl& admission() { return *admission_; }
  HttpServer::Counters counters() const { return main_->counters(); }

 private:
  Server() = default;
  Status Open(Engine& engine, const ServerConfig& config, const AddRoutes& add_routes,
              const std::function<void(Router*)>& add_metrics);
  Status OpenManagement(const ServerConfig& config, const std::function<void(Router*)>& add_metrics);

  ServerConfig config_;
  std::string url_;
  std::shared_ptr<KeyRing> keys_;  // null: no keys
  std::unique_ptr<Health> health_;
  std::unique_ptr<HealthSampler> sampler_;
  std::unique_ptr<AdmissionControl> admission_;
  Router router_, management_router_;
  std::unique_ptr<HttpServer> main_, management_;
};

// The exit code of a process whose engine no longer gets on, or failed for good.
inline constexpr int kExitUnhealthy = 70;

// Runs `server` until SIGTERM or SIGINT, then drains it: 0. `on_ready` runs once those are caught. A stalled
// or failed engine ends the process with kExitUnhealthy, as its threads cannot be joined.
int RunUntilSignal(Server& server, const ServerConfig& config,
                   const std::function<void(const Server&)>& on_ready = {});

}  // namespace lathe::serve
