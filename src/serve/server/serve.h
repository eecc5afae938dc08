// `lathe serve` without the command line: the API, the metrics and the page over an engine, until a signal.
#pragma once

#include <functional>

#include "lathe/engine.h"
#include "serve/server/server.h"

namespace lathe::serve {

// What the engine is to be loaded with. Errors: the template's file.
Expected<EngineOptions> EngineOptionsOf(const ServerConfig& config);

// Serves `engine` until SIGTERM or SIGINT; `on_ready` runs once when requests are accepted. The exit code, or
// the fault that kept it from starting. Switches core dumps of this process off, starts and stops the log.
Expected<int> Serve(Engine& engine, const ServerConfig& config,
                    const std::function<void(const Server&)>& on_ready);

}  // namespace lathe::serve
