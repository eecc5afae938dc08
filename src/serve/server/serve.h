// `lathe serve` without the command line: the API, the metrics and the page over an engine, until a signal or
// for as long as the caller likes.
#pragma once

#include <functional>
#include <memory>

#include "lathe/engine.h"
#include "serve/server/server.h"

namespace lathe::serve {

// What the engine is to be loaded with. Errors: the template's file.
Expected<EngineOptions> EngineOptionsOf(const ServerConfig& config);

// A server with everything behind it: the API, the metrics, the page, the log. Several may share an engine
// and a process. Not thread-safe.
class App {
 public:
  // Listens, and is ready. `engine` must outlive it. Errors: those of Server::Start.
  static Expected<std::unique_ptr<App>> Start(Engine& engine, const ServerConfig& config);
  // Closes. Where the engine does not let go, what it holds is leaked rather than freed under it.
  ~App();
  App(const App&) = delete;
  App& operator=(const App&) = delete;

  Server& server();  // until Close
  const ServerConfig& config() const;
  // Ends the listeners (what still runs is cancelled) and waits for the engine to let go of this server's
  // requests, whatever others run on it. False: it did not, for ten seconds. Once.
  bool Close();

 private:
  struct Parts;
  explicit App(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

// Serves `engine` until SIGTERM or SIGINT; `on_ready` runs once requests are accepted and signals caught. The
// exit code, or the fault that kept it from starting. Switches core dumps of this process off, starts and
// stops the log.
Expected<int> Serve(Engine& engine, const ServerConfig& config,
                    const std::function<void(const Server&)>& on_ready);

}  // namespace lathe::serve
