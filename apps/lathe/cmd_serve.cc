// `lathe serve`: an OpenAI-compatible server over one model.
#include <unistd.h>

#include <cstdio>
#include <map>
#include <memory>

#include "base/file.h"
#include "base/status.h"
#include "commands.h"
#include "model_options.h"
#include "serve/server/config.h"
#include "serve/server/serve.h"
#include "terminal/terminal.h"
#include "trace.h"

extern char** environ;

namespace lathe::cli {
namespace {

using serve::ConfigWithSources;
using serve::Setting;
using serve::SettingType;

struct Options {
  std::optional<std::string> model, config_file;
  std::map<const Setting*, std::string> texts;  // flags with a value
  std::map<const Setting*, bool> switches;      // flags without
  bool print_config = false, print_schema = false, print_docs = false;
};

std::string KindOf(const Setting& setting) {
  switch (setting.type) {
    case SettingType::kBool: return "BOOL";
    case SettingType::kInt: return "N";
    case SettingType::kBytes: return "SIZE";
    case SettingType::kSeconds: return "SECONDS";
    case SettingType::kFraction: return "X";
    case SettingType::kString: return "TEXT";
    case SettingType::kStrings: return "A,B";
  }
  return "TEXT";
}

// On by naming it, off by leaving it out.
bool IsSwitch(const Setting& setting) {
  return setting.type == SettingType::kBool &&
         !(serve::ServerConfig{}.*std::get<bool serve::ServerConfig::*>(setting.field));
}

// The file, then the environment, then the flags.
Expected<ConfigWithSources> Effective(const Options& options) {
  ConfigWithSources out;
  std::optional<std::string> file = options.config_file;
  const char* variable = std::getenv("LATHE_CONFIG");
  if (!file && variable != nullptr && *variable != '\0') file = variable;
  if (file) {
    LATHE_ASSIGN_OR_RETURN(const std::string text, ReadFile(*file, 1 << 20));
    LATHE_RETURN_IF_ERROR(ApplyYaml(text, *file, &out));
  }
  LATHE_RETURN_IF_ERROR(ApplyEnvironment(environ, &out));
  for (const auto& [setting, text] : options.texts) {
    LATHE_RETURN_IF_ERROR(SetFromText(*setting, text, "flag " + FlagName(*setting), &out));
  }
  for (const auto& [setting, given] : options.switches) {
    if (given) LATHE_RETURN_IF_ERROR(SetFromText(*setting, "true", "flag " + FlagName(*setting), &out));
  }
  if (options.model)
    LATHE_RETURN_IF_ERROR(SetFromText(*serve::FindSetting("model"), *options.model, "argument", &out));
  return out;
}

// What to type next, for people; a log beside it tells machines.
void Greet(const serve::Server& server, const serve::ServerConfig& config, const ModelInfo& model) {
  const Style style(DescribeTerminal(STDERR_FILENO));
  const std::string key = config.keys_file.empty() ? "" : " -H \"Authorization: Bearer $KEY\"";
  const std::string trust = config.tls_cert.empty() ? "" : " --cacert " + config.tls_cert;
  const std::string name = config.model_name.empty() ? model.name : config.model_name;
  const bool chat = model.has_chat_template || !config.chat_template.empty();
  const std::string body =
      chat ? R"({"model":")" + name + R"(","messages":[{"role":"user","content":"Hello"}],"max_tokens":64})"
           : R"({"model":")" + name + R"(","prompt":"Once upon a time","max_tokens":64})";
  std::fprintf(stderr,
               "%s %s\n\n  curl%s %s/v1/%s%s -H \"Content-Type: application/json\" -d '%s'\n\n%s %s/\n",
               style.Bold("lathe: serving").c_str(), name.c_str(), trust.c_str(), server.url().c_str(),
               chat ? "chat/completions" : "completions", key.c_str(), body.c_str(),
               style.Bold("Playground:").c_str(), server.url().c_str());
}

Expected<int> Run(const Options& options) {
  if (options.print_schema) {
    std::fputs(serve::ConfigSchemaJson().c_str(), stdout);
    return kExitOk;
  }
  if (options.print_docs) {
    std::fputs(serve::ConfigMarkdown().c_str(), stdout);
    return kExitOk;
  }
  LATHE_ASSIGN_OR_RETURN(const ConfigWithSources effective, Effective(options));
  const serve::ServerConfig& config = effective.config;
  LATHE_RETURN_IF_ERROR(CheckConfig(config));
  if (options.print_config) {
    std::fputs(PrintConfig(effective).c_str(), stdout);
    return kExitOk;
  }
  if (config.model.empty()) {
    std::fputs("lathe: serve needs a model: lathe serve MODEL, or 'model' in the file of --config\n", stderr);
    return kExitUsage;
  }
  LATHE_RETURN_IF_ERROR(CheckFiles(config));
  ModelOptions model;
  model.path = config.model;
  if (!config.dtype.empty()) model.dtype = config.dtype;
  model.target = config.target;
  LATHE_ASSIGN_OR_RETURN(model.engine, serve::EngineOptionsOf(config));
  LATHE_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, OpenModel(model));
  TraceStage("engine loaded");
  return serve::Serve(*engine, config, [&](const serve::Server& server) {
    TraceStage("listening");
    Greet(server, config, engine->model());
  });
}

void DeclareSettings(Command& command, const std::shared_ptr<Options>& options) {
  for (const Setting& setting : serve::Settings()) {
    if (std::string_view(setting.name) == "model") continue;  // the argument
    const std::string flag = FlagName(setting);
    if (IsSwitch(setting)) {
      command.Flag(flag, &options->switches[&setting], setting.help);
      continue;
    }
    command.Parsed(flag, KindOf(setting), setting.help, serve::DefaultText(setting),
                   [options, &setting](const std::string& text) {
                     options->texts[&setting] = text;
                     ConfigWithSources scratch;
                     return SetFromText(setting, text, "", &scratch);
                   });
  }
}

}  // namespace

void AddServe(Command& root) {
  auto options = std::make_shared<Options>();
  Command command = root.Sub("serve", "Serve a model over HTTP, as OpenAI's clients expect it",
                             "lathe serve models/tales-16m --port 8000");
  command.Argument("MODEL", &options->model,
                   "An engine file, a model's directory (built once into the cache), or ORG/NAME of a hub");
  command.Option("--config", &options->config_file, "YAML file with settings (docs/server-limits.md)",
                 "none");
  command.Flag("--print-config", &options->print_config,
               "Print every setting in force and where it comes from, and exit");
  command.Flag("--print-config-schema", &options->print_schema,
               "Print the JSON schema of the file of --config, and exit");
  command.Flag("--print-config-docs", &options->print_docs, "Print docs/server-limits.md, and exit");
  DeclareSettings(command, options);
  command.OnRun([options] { return Run(*options); });
}

}  // namespace lathe::cli
