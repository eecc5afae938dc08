#include "settings.h"

#include <cstring>

#include "build_events.h"
#include "convert.h"
#include "serve/server/serve.h"

namespace lathe::python {
namespace {

bool ConcernsEngine(const serve::Setting& setting) {
  const std::string_view name = setting.name;
  return (std::strcmp(setting.section, "Model") == 0 && name != "model") || name == "max_queued_requests";
}

// A value as it would stand in a configuration file.
std::string SettingText(const serve::Setting& setting, nb::handle value) {
  if (nb::isinstance<nb::bool_>(value)) return value.ptr() == Py_True ? "true" : "false";
  if (!nb::isinstance<nb::list>(value) && !nb::isinstance<nb::tuple>(value)) {
    const nb::object path = nb::steal(PyOS_FSPath(value.ptr()));  // text, too
    if (path.is_valid()) return TextOf(path, setting.name);
    PyErr_Clear();
    return nb::cast<std::string>(nb::str(value));
  }
  std::string joined;
  for (nb::handle item : nb::iter(value)) {
    const std::string text = TextOf(item, setting.name);
    if (text.empty() || text.find(',') != std::string::npos)
      RaiseWrong(std::string("an item of ") + setting.name, "text without commas", item);
    joined += (joined.empty() ? "" : ",") + text;
  }
  return joined;
}

serve::ServerConfig Apply(nb::dict settings, serve::ServerConfig config) {
  serve::ConfigWithSources out{.config = std::move(config), .sources = {}};
  for (const auto& [key, value] : settings) {
    if (value.is_none()) continue;
    const std::string name = TextOf(key, "a setting's name");
    const serve::Setting* setting = serve::FindSetting(name);
    if (setting == nullptr)
      Raise(Error(StatusCode::kInvalidArgument,
                  "there is no setting '%.100s'; docs/server-limits.md lists all", name.c_str()));
    RaiseIfError(serve::SetFromText(*setting, SettingText(*setting, value), "", &out));
  }
  return std::move(out.config);
}

}  // namespace

std::vector<std::string> LlmSettingNames() {
  std::vector<std::string> names;
  for (const serve::Setting& setting : serve::Settings()) {
    if (ConcernsEngine(setting)) names.emplace_back(setting.name);
  }
  return names;
}

std::vector<std::string> ServerSettingNames() {
  std::vector<std::string> names;
  for (const serve::Setting& setting : serve::Settings()) names.emplace_back(setting.name);
  return names;
}

serve::ServerConfig ConfigOf(nb::dict settings) { return Apply(settings, {}); }

serve::ServerConfig LlmConfig(nb::dict settings) {
  serve::ServerConfig config;
  config.max_step_growth = 0;
  config.max_queued_requests = 1 << 16;
  return Apply(settings, std::move(config));
}

std::shared_ptr<EngineCell> OpenForConfig(const serve::ServerConfig& config, nb::handle events,
                                          const std::string& chat_template) {
  OpenOptions options{.model = config.model, .dtype = {}, .target = config.target, .engine = {}};
  if (!config.dtype.empty()) options.dtype = config.dtype;
  options.engine = ValueOrRaise(serve::EngineOptionsOf(config));
  if (!chat_template.empty()) options.engine.chat_template = chat_template;
  BuildTeller teller(events);
  options.engine.load_progress = teller.Loading();
  auto opened = [&]() -> Expected<OpenedModel> {
    const WithoutGil unlocked;
    LATHE_RETURN_IF_ERROR(CheckOpenOptions(options));
    LATHE_ASSIGN_OR_RETURN(
        options.model,
        FetchModel(
            {.model = config.model, .dtype = options.dtype, .target = config.target, .device = config.device},
            teller.Fetching(config.model)));
    auto model = OpenModel(options, teller.Events());
    return model;
  }();
  teller.RethrowIfRaised();
  return EngineCell::Create(ValueOrRaise(std::move(opened)));
}

}  // namespace lathe::python
