#include "hub/config.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "base/file.h"

namespace lathe::hub {
namespace {

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool IsTrue(std::string value) {
  std::transform(value.begin(), value.end(), value.begin(), [](unsigned char c) { return std::toupper(c); });
  return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
}

// "~" and "~/..." as a shell has them.
std::string ExpandHome(const std::string& path) {
  const std::string home = Variable("HOME");
  return !home.empty() && (path == "~" || path.starts_with("~/")) ? home + path.substr(1) : path;
}

std::string FirstOf(std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (std::string value = Variable(name); !value.empty()) return value;
  return "";
}

std::string Trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

// HF_HOME; "" where nothing says where that is.
std::string HubHome() {
  if (const std::string home = Variable("HF_HOME"); !home.empty()) return ExpandHome(home);
  if (const std::string xdg = Variable("XDG_CACHE_HOME"); !xdg.empty())
    return ExpandHome(xdg) + "/huggingface";
  const std::string home = Variable("HOME");
  return home.empty() ? "" : home + "/.cache/huggingface";
}

Status ReadToken(const std::string& home, HubConfig* config) {
  const char* variable = Trimmed(Variable("HF_TOKEN")).empty() ? "HUGGING_FACE_HUB_TOKEN" : "HF_TOKEN";
  config->token = Trimmed(Variable(variable));
  config->token_source = variable;
  if (config->token.empty()) {
    std::string path = ExpandHome(Variable("HF_TOKEN_PATH"));
    if (path.empty() && !home.empty()) path = home + "/token";
    config->token_source = path;
    if (!path.empty() && FileExists(path)) {
      LATHE_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, 64 << 10));
      config->token = Trimmed(text);
    }
  }
  const bool plain =
      std::all_of(config->token.begin(), config->token.end(), [](char c) { return c > ' ' && c < 127; });
  if (!plain || config->token.size() > 4096)
    return Error(StatusCode::kInvalidArgument,
                 "the token of %s has blanks, control characters or more than 4096 bytes; set it to one that "
                 "https://huggingface.co/settings/tokens shows",
                 config->token_source.c_str());
  return Status::Ok();
}

}  // namespace

Expected<HubConfig> ConfigFromEnvironment() {
  HubConfig config;
  std::string endpoint = Trimmed(Variable("HF_ENDPOINT"));
  if (endpoint.empty()) endpoint = "https://huggingface.co";
  auto url = ParseUrl(endpoint);
  if (!url.ok()) return url.status().WithContext("HF_ENDPOINT");
  config.endpoint = *std::move(url);
  while (config.endpoint.target.ends_with('/')) config.endpoint.target.pop_back();

  const std::string home = HubHome();
  config.cache_dir = ExpandHome(FirstOf({"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}));
  if (config.cache_dir.empty() && !home.empty()) config.cache_dir = home + "/hub";
  if (config.cache_dir.empty())
    return Status(StatusCode::kInvalidArgument,
                  "there is no place for downloaded models: set HF_HOME, HF_HUB_CACHE or HOME");
  config.offline = IsTrue(FirstOf({"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}));
  LATHE_RETURN_IF_ERROR(ReadToken(home, &config));
  if (const std::string text = Variable("HF_HUB_DOWNLOAD_TIMEOUT"); !text.empty()) {
    char* end = nullptr;
    config.idle_timeout = std::strtod(text.c_str(), &end);
    if (*end != '\0' || !(config.idle_timeout >= 1 && config.idle_timeout <= 3600))
      return Error(StatusCode::kInvalidArgument,
                   "HF_HUB_DOWNLOAD_TIMEOUT must be in [1, 3600] seconds, but is '%s'", text.c_str());
  }
  return config;
}

}  // namespace lathe::hub
