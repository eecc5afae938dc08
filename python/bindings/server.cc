// lathe._lathe.Server: `lathe serve` inside a Python process.
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "convert.h"
#include "engine_cell.h"
#include "serve/server/serve.h"
#include "settings.h"

namespace lathe::python {
namespace {

class PyServer {
 public:
  static Expected<std::shared_ptr<PyServer>> Start(const EngineCell& cell, const serve::ServerConfig& config);
  ~PyServer() { (void)Stop(0); }

  const std::string& url() const { return url_; }
  int port() const { return port_; }
  bool running() const;
  // Drains for `grace` seconds at most, then ends it; false when requests were cut short. Again: no effect.
  Expected<bool> Stop(double grace);
  // Serves until SIGTERM or SIGINT, as `lathe serve` does. `on_ready` runs once those are caught.
  Status Run(const std::function<void()>& on_ready);

 private:
  explicit PyServer(std::shared_ptr<Engine> engine)
      : engine_(std::move(engine)), fork_generation_(ForkGeneration()) {}

  std::shared_ptr<Engine> engine_;
  const int fork_generation_;
  std::string url_;
  int port_ = 0;
  mutable std::mutex mutex_;
  std::unique_ptr<serve::App> app_;  // guarded by mutex_; null: stopped
};

// Servers to be stopped before the interpreter ends. Never destroyed.
struct Registry {
  std::mutex mutex;
  std::vector<std::weak_ptr<PyServer>> servers;  // guarded by mutex
};
Registry& AllServers() {
  static auto* const registry = new Registry;
  return *registry;
}

Expected<std::shared_ptr<PyServer>> PyServer::Start(const EngineCell& cell,
                                                    const serve::ServerConfig& config) {
  LATHE_ASSIGN_OR_RETURN(std::shared_ptr<Engine> engine, cell.Use());
  std::shared_ptr<PyServer> server(new PyServer(std::move(engine)));
  LATHE_ASSIGN_OR_RETURN(server->app_, serve::App::Start(*server->engine_, config));
  server->url_ = server->app_->server().url();
  server->port_ = server->app_->server().port();
  Registry& all = AllServers();
  const std::lock_guard lock(all.mutex);
  std::erase_if(all.servers, [](const auto& other) { return other.expired(); });
  all.servers.push_back(server);
  return server;
}

bool PyServer::running() const {
  if (ForkGeneration() != fork_generation_) return false;
  const std::lock_guard lock(mutex_);
  return app_ != nullptr;
}

Expected<bool> PyServer::Stop(double grace) {
  if (ForkGeneration() != fork_generation_) {  // its threads are in another process
    (void)app_.release();
    (void)new std::shared_ptr<Engine>(std::move(engine_));
    return true;
  }
  const WithoutGil unlocked;
  const std::lock_guard lock(mutex_);
  if (app_ == nullptr) return true;
  const bool finished = app_->server().Drain(grace);
  const std::unique_ptr<serve::App> app = std::move(app_);
  if (!app->Close()) {
    (void)new std::shared_ptr<Engine>(std::move(engine_));
    return Error(StatusCode::kUnavailable,
                 "the engine did not let go of the server's requests within 10 seconds");
  }
  engine_.reset();
  return finished;
}

Status PyServer::Run(const std::function<void()>& on_ready) {
  // The handlers of signals are the process'.
  static std::atomic<bool> taken{false};
  if (taken.exchange(true))
    return Error(StatusCode::kUnavailable,
                 "another server of this process blocks already: serve with blocking=False");
  const WithoutGil unlocked;
  const std::lock_guard lock(mutex_);
  if (app_ != nullptr) {
    serve::RunUntilSignal(app_->server(), app_->config(), [&](const serve::Server&) { on_ready(); });
  }
  taken = false;
  return Status::Ok();
}

void CloseAllServers() {
  std::vector<std::weak_ptr<PyServer>> servers;
  {
    const std::lock_guard lock(AllServers().mutex);
    servers.swap(AllServers().servers);
  }
  for (const auto& weak : servers) {
    if (const std::shared_ptr<PyServer> server = weak.lock()) (void)server->Stop(0);
  }
}

// The configuration is checked, files included, before a model is opened.
serve::ServerConfig CheckedConfig(nb::dict settings) {
  const serve::ServerConfig config = ConfigOf(settings);
  RaiseIfError(serve::CheckConfig(config));
  RaiseIfError(serve::CheckFiles(config));
  return config;
}

std::shared_ptr<PyServer> StartServer(const EngineCell& cell, nb::dict settings) {
  const serve::ServerConfig config = CheckedConfig(settings);
  auto started = [&] {
    const WithoutGil unlocked;
    return PyServer::Start(cell, config);
  }();
  return ValueOrRaise(std::move(started));
}

void RunBlocking(PyServer& server, nb::callable on_ready) {
  RaiseIfError(server.Run([&] {
    const nb::gil_scoped_acquire locked;
    try {
      on_ready();
    } catch (nb::python_error& error) {
      error.discard_as_unraisable(on_ready);
    }
  }));
}

}  // namespace

void BindServer(nb::module_& module) {
  nb::class_<PyServer>(module, "Server", "A server in this process.")
      .def_static("start", &StartServer, nb::arg("engine"), nb::arg("settings"))
      .def_prop_ro("url", &PyServer::url)
      .def_prop_ro("port", &PyServer::port)
      .def_prop_ro("running", &PyServer::running)
      .def(
          "stop", [](PyServer& s, double grace) { return ValueOrRaise(s.Stop(grace)); }, nb::arg("grace"))
      .def("run", &RunBlocking, nb::arg("on_ready"));
  module.def(
      "check_server", [](nb::dict settings) { CheckedConfig(settings); }, nb::arg("settings"));
  module.def(
      "open_for_server",
      [](nb::dict settings, nb::handle events) { return OpenForConfig(CheckedConfig(settings), events); },
      nb::arg("settings"), nb::arg("events").none());
  module.def("stop_all_servers", &CloseAllServers, "Stops every server of the process.");
}

}  // namespace lathe::python
