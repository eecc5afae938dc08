// The server's table of settings, from Python values.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine_cell.h"
#include "python.h"
#include "serve/server/config.h"

namespace lathe::python {

// Those that concern the model and its engine, but for the model itself: the options of an LLM.
std::vector<std::string> LlmSettingNames();
std::vector<std::string> ServerSettingNames();

// A configuration with `settings` set: numbers, True and False, texts, lists of texts. Raises for unknown
// names, and for values as SetFromText does.
serve::ServerConfig ConfigOf(nb::dict settings);
// The same, beginning with what an engine is by itself: nothing bounds its steps and its queue is long.
serve::ServerConfig LlmConfig(nb::dict settings);

// Opens config.model. `events`: None, or a lathe._progress.Events. chat_template: a source that replaces the
// model's.
std::shared_ptr<EngineCell> OpenForConfig(const serve::ServerConfig& config, nb::handle events,
                                          const std::string& chat_template = "");

}  // namespace lathe::python
