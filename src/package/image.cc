#include "package/image.h"

#include <ctime>

#include "base/status.h"

namespace lathe::package {
namespace {

constexpr int kHealthSeconds = 10, kHealthTimeoutSeconds = 5, kHealthRetries = 3;
constexpr int64_t kNanoseconds = 1'000'000'000;

std::string User() { return std::to_string(kUserId) + ":" + std::to_string(kUserId); }

// ["a", "b"], which Docker, too, reads as JSON.
std::string List(const std::vector<std::string>& words) { return DumpJson(Json(words)); }

// A quoted value of ENV and LABEL: $ would be a variable.
std::string Quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\' || c == '$') out += '\\';
    out += c;
  }
  return out + "\"";
}

}  // namespace

std::string Rfc3339(uint64_t seconds) {
  const time_t time = static_cast<time_t>(seconds);
  std::tm utc{};
  char text[32];
  if (gmtime_r(&time, &utc) == nullptr) return "1970-01-01T00:00:00Z";
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

Json OciConfig(const ImageConfig& config, const std::vector<LayerNote>& layers) {
  Json environment = Json::array(), labels = Json::object(), diff_ids = Json::array(),
       history = Json::array();
  for (const auto& [name, value] : config.environment) environment.push_back(name + "=" + value);
  for (const auto& [name, value] : config.labels) labels[name] = value;
  for (const LayerNote& layer : layers) {
    diff_ids.push_back("sha256:" + layer.diff_id);
    history.push_back(
        {{"created", config.created}, {"created_by", "lathe package"}, {"comment", layer.comment}});
  }
  Json run = {{"User", User()},
              {"ExposedPorts", {{std::to_string(config.port) + "/tcp", Json::object()}}},
              {"Env", environment},
              {"Entrypoint", config.entrypoint},
              {"Cmd", config.command},
              {"WorkingDir", "/"},
              {"Labels", labels},
              {"StopSignal", "SIGTERM"},
              {"Healthcheck",
               {{"Test", Json::array({"CMD"})},
                {"Interval", kHealthSeconds * kNanoseconds},
                {"Timeout", kHealthTimeoutSeconds * kNanoseconds},
                {"StartPeriod", config.health_start_seconds * kNanoseconds},
                {"Retries", kHealthRetries}}}};
  for (const std::string& word : config.health_command) run["Healthcheck"]["Test"].push_back(word);
  for (const std::string& volume : config.volumes) run["Volumes"][volume] = Json::object();
  return {{"created", config.created},
          {"architecture", config.architecture},
          {"os", "linux"},
          {"config", std::move(run)},
          {"rootfs", {{"type", "layers"}, {"diff_ids", std::move(diff_ids)}}},
          {"history", std::move(history)}};
}

std::string Dockerfile(const ImageConfig& config, const std::string& rootfs) {
  std::string out = "FROM scratch\nCOPY " + rootfs + "/ /\n";
  for (const auto& [name, value] : config.environment) out += "ENV " + name + "=" + Quoted(value) + "\n";
  for (const auto& [name, value] : config.labels) out += "LABEL " + Quoted(name) + "=" + Quoted(value) + "\n";
  for (const std::string& volume : config.volumes) out += "VOLUME " + List({volume}) + "\n";
  out += "USER " + User() + "\nWORKDIR /\n";
  out += StrFormat("EXPOSE %d/tcp\nSTOPSIGNAL SIGTERM\n", config.port);
  out += StrFormat("HEALTHCHECK --interval=%ds --timeout=%ds --start-period=%ds --retries=%d CMD ",
                   kHealthSeconds, kHealthTimeoutSeconds, config.health_start_seconds, kHealthRetries);
  out += List(config.health_command) + "\n";
  out += "ENTRYPOINT " + List(config.entrypoint) + "\nCMD " + List(config.command) + "\n";
  return out;
}

}  // namespace lathe::package
