// Every setting of the server, once: name, type, range, default and help stand in one table, from which the
// flags, the configuration file, the environment, the JSON schema and docs/server-limits.md are made.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"

namespace lathe::serve {

struct ServerConfig {
  // Model and engine. Zeros: the engine chooses (include/lathe/engine.h).
  std::string model, dtype, target = "auto", chat_template;
  int threads = 0, context = 0, max_sequences = 0, max_step_tokens = 0;
  uint64_t kv_bytes = 0, host_kv_memory = 0;
  bool prefix_cache = true;
  int max_step_growth = 2;
  int device = 0;
  double gpu_memory_fraction = 0.9;
  bool deterministic = false;
  // API.
  std::string model_name;
  std::vector<std::string> model_aliases;
  std::string tool_format = "auto", reasoning_format = "auto";
  bool allow_special_tokens = false;
  double request_timeout = 0;
  int max_n = 8, max_prompts = 128;
  // Network.
  std::string host = "127.0.0.1", management_listen, tls_cert, tls_key;
  int port = 8000, io_threads = 1, workers = 2, max_connections = 1024;
  uint64_t max_header_bytes = 16 << 10, max_body_bytes = 8 << 20, max_buffered_bytes = 256 << 20;
  uint64_t write_backlog_bytes = 4 << 20;
  double read_timeout = 10, idle_timeout = 75, write_timeout = 30, comment_interval = 10;
  // Who may.
  std::string keys_file;
  bool insecure_no_auth = false;
  // Admission.
  int max_queued_requests = 4096;
  uint64_t max_queued_tokens = 0;
  // Health and the end.
  double stall_unready = 10, stall_exit = 60, grace = 30;
  // Log.
  std::string log_format = "plain", log_level = "info";
};

enum class SettingType : uint8_t { kBool, kInt, kBytes, kSeconds, kFraction, kString, kStrings };

struct Setting {
  const char* name;  // in files; "--name-with-dashes" as a flag, LATHE_NAME in the environment
  const char* section;
  SettingType type;
  double min = 0, max = 0;  // of numbers; `max` is also the longest string
  std::vector<std::string> one_of;
  std::variant<bool ServerConfig::*, int ServerConfig::*, uint64_t ServerConfig::*, double ServerConfig::*,
               std::string ServerConfig::*, std::vector<std::string> ServerConfig::*>
      field;
  const char* unset;  // what an empty or zero default means; "" when it means itself
  const char* help;
};

const std::vector<Setting>& Settings();
const Setting* FindSetting(std::string_view name);
std::string DefaultText(const Setting& setting);      // as people read it: "1024", "the model's"
std::string FlagName(const Setting& setting);         // "--max-connections"
std::string EnvironmentName(const Setting& setting);  // "LATHE_MAX_CONNECTIONS"

// A configuration and where each value that is not the default came from.
struct ConfigWithSources {
  ServerConfig config;
  std::map<std::string, std::string, std::less<>> sources;
};

// One value as text ("512M", "true", "a,b" for a list). Errors: kInvalidArgument with `source` (unless ""),
// range and value.
Status SetFromText(const Setting& setting, std::string_view text, const std::string& source,
                   ConfigWithSources* out);

// A configuration file. Errors name file and line: syntax, unknown and repeated keys, kinds, ranges.
Status ApplyYaml(std::string_view text, const std::string& path, ConfigWithSources* out);

// LATHE_* of `environment` (as of environ(7)). Unknown ones are errors, but for those that other parts of
// lathe read and those that Kubernetes makes of a Service called lathe.
Status ApplyEnvironment(const char* const* environment, ConfigWithSources* out);

// What no single setting can tell: TLS without a key, a public address without API keys, ...
Status CheckConfig(const ServerConfig& config);
// What CheckConfig cannot tell without reading: key file, certificate and key are there and usable. For
// before a model is loaded or built.
Status CheckFiles(const ServerConfig& config);
bool IsLoopback(std::string_view address);
// "ADDRESS:PORT", brackets around IPv6.
Expected<std::pair<std::string, int>> ParseListen(std::string_view text, const char* name);

// The JSON schema of the file, the file that says what is in force (with a comment on each source), and the
// documentation.
std::string ConfigSchemaJson();
std::string PrintConfig(const ConfigWithSources& effective);
std::string ConfigMarkdown();

}  // namespace lathe::serve
