#include "serve/server/config.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <optional>
#include <regex>
#include <utility>

namespace lathe::serve {
namespace {

// Read by other parts of lathe, or by its tests.
constexpr std::string_view kOtherVariables[] = {
    "LATHE_CONFIG", "LATHE_ISA",     "LATHE_PROFILE",      "LATHE_TRACE_STARTUP", "LATHE_DUMP_IR",
    "LATHE_SHARED", "LATHE_FAULT",   "LATHE_STEP_TIMEOUT", "LATHE_CUDA_SYNC",     "LATHE_CUDA_MEMORY",
    "LATHE_NVRTC",  "LATHE_LIBCUDA", "LATHE_CUBLASLT",     "LATHE_RUN_AHEAD"};

std::string Replace(std::string text, char from, char to) {
  std::replace(text.begin(), text.end(), from, to);
  return text;
}

std::optional<double> ParseNumber(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

// "4096", "512K", "16M", "4G", "1T", each also with "iB".
std::optional<double> ParseSize(std::string_view text) {
  if (text.size() > 3 && text.ends_with("iB")) text.remove_suffix(2);
  double scale = 1;
  if (!text.empty()) {
    const size_t power = std::string_view("KMGT").find(static_cast<char>(text.back() & ~0x20));
    if (power != std::string_view::npos && text.back() > '9') {
      scale = std::ldexp(1.0, 10 * (static_cast<int>(power) + 1));
      text.remove_suffix(1);
    }
  }
  const auto number = ParseNumber(text);
  if (!number) return std::nullopt;
  return *number * scale;
}

Status Bad(const Setting& setting, std::string_view text, const std::string& source,
           const std::string& expected) {
  const Status status = Error(StatusCode::kInvalidArgument, "%s must be %s, but is '%.100s'", setting.name,
                              expected.c_str(), std::string(text).c_str());
  return source.empty() ? status : status.WithContext(source);
}

std::string Range(const Setting& setting) { return StrFormat("in [%.15g, %.15g]", setting.min, setting.max); }

std::string Choices(const Setting& setting) {
  std::string out = "one of";
  for (const std::string& choice : setting.one_of) {
    if (!choice.empty()) out += (out == "one of" ? " " : ", ") + choice;
  }
  return out;
}

// A Service called lathe (or lathe-something) makes Kubernetes put these into every pod of its namespace.
bool IsServiceLink(const std::string& name, std::string_view value) {
  static const std::regex pattern(
      "LATHE_([A-Z0-9_]*_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_[A-Z]+)?)");
  const bool link = name == "LATHE_PORT" || name.ends_with("_PORT");
  if (link && (value.starts_with("tcp://") || value.starts_with("udp://") || value.starts_with("sctp://"))) {
    return true;
  }
  return name.size() < 256 && std::regex_match(name, pattern);
}

}  // namespace

const Setting* FindSetting(std::string_view name) {
  for (const Setting& setting : Settings()) {
    if (name == setting.name) return &setting;
  }
  return nullptr;
}

std::string FlagName(const Setting& setting) { return "--" + Replace(setting.name, '_', '-'); }

std::string EnvironmentName(const Setting& setting) {
  std::string name = "LATHE_";
  for (const char* c = setting.name; *c != '\0'; ++c)
    name += *c >= 'a' && *c <= 'z' ? static_cast<char>(*c - 32) : *c;
  return name;
}

Status SetFromText(const Setting& setting, std::string_view text, const std::string& source,
                   ConfigWithSources* out) {
  ServerConfig& config = out->config;
  switch (setting.type) {
    case SettingType::kBool: {
      const bool yes = text == "true" || text == "1", no = text == "false" || text == "0";
      if (!yes && !no) return Bad(setting, text, source, "true or false");
      config.*std::get<bool ServerConfig::*>(setting.field) = yes;
      break;
    }
    case SettingType::kInt: {
      const auto value = ParseNumber(text);
      if (!value || *value != std::floor(*value) || *value < setting.min || *value > setting.max) {
        return Bad(setting, text, source, "a whole number " + Range(setting));
      }
      config.*std::get<int ServerConfig::*>(setting.field) = static_cast<int>(*value);
      break;
    }
    case SettingType::kBytes: {
      const auto value = ParseSize(text);
      if (!value || *value != std::floor(*value) || *value < setting.min || *value > setting.max) {
        return Bad(setting, text, source, "a number like 4096, 512K, 16M or 4G " + Range(setting));
      }
      config.*std::get<uint64_t ServerConfig::*>(setting.field) = static_cast<uint64_t>(*value);
      break;
    }
    case SettingType::kSeconds:
    case SettingType::kFraction: {
      const auto value = ParseNumber(text);
      if (!value || *value < setting.min || *value > setting.max) {
        const bool seconds = setting.type == SettingType::kSeconds;
        return Bad(setting, text, source, (seconds ? "a number of seconds " : "a number ") + Range(setting));
      }
      config.*std::get<double ServerConfig::*>(setting.field) = *value;
      break;
    }
    case SettingType::kString: {
      const bool listed = setting.one_of.empty() || std::find(setting.one_of.begin(), setting.one_of.end(),
                                                              text) != setting.one_of.end();
      if (!listed) return Bad(setting, text, source, Choices(setting));
      if (static_cast<double>(text.size()) > setting.max || static_cast<double>(text.size()) < setting.min ||
          text.find('\0') != std::string_view::npos) {
        return Bad(setting, text, source, StrFormat("a text of %g to %g bytes", setting.min, setting.max));
      }
      config.*std::get<std::string ServerConfig::*>(setting.field) = std::string(text);
      break;
    }
    case SettingType::kStrings: {
      std::vector<std::string> items;
      for (size_t start = 0; start <= text.size() && !text.empty();) {
        const size_t comma = std::min(text.find(',', start), text.size());
        items.emplace_back(text.substr(start, comma - start));
        if (items.back().empty() || static_cast<double>(items.size()) > setting.max) {
          return Bad(setting, text, source, StrFormat("at most %g texts parted by commas", setting.max));
        }
        start = comma + 1;
      }
      config.*std::get<std::vector<std::string> ServerConfig::*>(setting.field) = std::move(items);
      break;
    }
  }
  out->sources[setting.name] = source;
  return {};
}

Status ApplyEnvironment(const char* const* environment, ConfigWithSources* out) {
  for (; environment != nullptr && *environment != nullptr; ++environment) {
    const std::string_view entry = *environment;
    if (!entry.starts_with("LATHE_")) continue;
    const size_t equals = std::min(entry.find('='), entry.size());
    const std::string name(entry.substr(0, equals));
    const std::string_view value = entry.substr(std::min(equals + 1, entry.size()));
    if (std::find(std::begin(kOtherVariables), std::end(kOtherVariables), name) != std::end(kOtherVariables))
      continue;
    if (IsServiceLink(name, value)) continue;
    const Setting* found = nullptr;
    for (const Setting& setting : Settings()) {
      if (EnvironmentName(setting) == name) found = &setting;
    }
    if (found == nullptr) {
      return Error(
          StatusCode::kInvalidArgument,
          "the environment variable %.100s is no setting of lathe serve; unset it, or see lathe serve "
          "--print-config for those there are",
          name.c_str());
    }
    LATHE_RETURN_IF_ERROR(SetFromText(*found, value, "environment " + name, out));
  }
  return {};
}

bool IsLoopback(std::string_view address) {
  const std::string text(address);
  if (text == "localhost" || text == "::1") return true;
  in_addr v4{};
  return inet_pton(AF_INET, text.c_str(), &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127;
}

Expected<std::pair<std::string, int>> ParseListen(std::string_view text, const char* name) {
  const size_t colon = text.rfind(':');
  std::string_view host = text.substr(0, colon);
  if (host.size() > 1 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  const auto port = colon == std::string_view::npos ? std::nullopt : ParseNumber(text.substr(colon + 1));
  if (host.empty() || !port || *port != std::floor(*port) || *port < 0 || *port > 65535) {
    return Error(StatusCode::kInvalidArgument, "%s must be ADDRESS:PORT, but is '%.100s'", name,
                 std::string(text).c_str());
  }
  return std::pair<std::string, int>(host, static_cast<int>(*port));
}

Status CheckConfig(const ServerConfig& config) {
  if (config.tls_cert.empty() != config.tls_key.empty()) {
    return Error(StatusCode::kInvalidArgument, "tls_cert and tls_key belong together, but %s is missing",
                 config.tls_cert.empty() ? "tls_cert" : "tls_key");
  }
  if (!IsLoopback(config.host) && config.keys_file.empty() && !config.insecure_no_auth) {
    return Error(
        StatusCode::kInvalidArgument,
        "listening on %s would let everybody who reaches it use the model: give --keys-file (lathe keys new "
        "NAME makes a key), or --insecure-no-auth if that is meant",
        config.host.c_str());
  }
  if (!config.keys_file.empty() && config.insecure_no_auth) {
    return Error(StatusCode::kInvalidArgument,
                 "keys_file and insecure_no_auth contradict each other; leave one out");
  }
  if (config.stall_exit < config.stall_unready) {
    return Error(StatusCode::kInvalidArgument, "stall_exit must be at least stall_unready (%g), but is %g",
                 config.stall_unready, config.stall_exit);
  }
  if (config.max_buffered_bytes < config.max_body_bytes) {
    return Error(StatusCode::kInvalidArgument,
                 "max_buffered_bytes must be at least max_body_bytes (%llu), but is %llu",
                 static_cast<unsigned long long>(config.max_body_bytes),
                 static_cast<unsigned long long>(config.max_buffered_bytes));
  }
  if (!config.management_listen.empty()) {
    LATHE_RETURN_IF_ERROR(ParseListen(config.management_listen, "management_listen").status());
  }
  return {};
}

}  // namespace lathe::serve
