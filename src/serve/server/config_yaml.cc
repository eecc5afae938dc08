// YAML files: the configuration and the API keys. yaml-cpp stands behind this file alone.
#include <sys/stat.h>
#include <yaml-cpp/yaml.h>

#include <set>

#include "base/file.h"
#include "serve/http/fields.h"
#include "serve/server/config.h"
#include "serve/server/key_file.h"

namespace lathe::serve {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;
constexpr size_t kMaxKeys = 10000;

std::string At(const std::string& path, const YAML::Node& node) {
  return StrFormat("%s line %d", path.c_str(), node.Mark().line + 1);
}

// The root of a document; every exception of the library ends here.
Expected<YAML::Node> ParseYaml(std::string_view text, const std::string& path) {
  if (text.size() > kMaxFileBytes) {
    return Error(StatusCode::kInvalidArgument, "%s is longer than %zu bytes", path.c_str(), kMaxFileBytes);
  }
  // Aliases could make a small file huge; no setting needs them.
  try {
    return YAML::Load(std::string(text));
  } catch (const YAML::Exception& fault) {
    return Error(StatusCode::kInvalidArgument, "%s line %d: not well-formed YAML: %s", path.c_str(),
                 fault.mark.line + 1, fault.msg.c_str());
  }
}

Expected<std::string> ScalarText(const YAML::Node& node, const std::string& where, const std::string& name) {
  if (node.IsNull()) return std::string();
  if (node.IsScalar()) return node.Scalar();
  return Error(StatusCode::kInvalidArgument, "%s: %s must be a single value, not a list or a table",
               where.c_str(), name.c_str());
}

Expected<std::string> SettingText(const Setting& setting, const YAML::Node& value, const std::string& where) {
  if (setting.type != SettingType::kStrings || !value.IsSequence())
    return ScalarText(value, where, setting.name);
  std::string joined;
  for (const YAML::Node& item : value) {
    LATHE_ASSIGN_OR_RETURN(const std::string text, ScalarText(item, where, setting.name));
    if (text.empty() || text.find(',') != std::string::npos) {
      return Error(StatusCode::kInvalidArgument, "%s: an item of %s is empty or has a comma", where.c_str(),
                   setting.name);
    }
    joined += (joined.empty() ? "" : ",") + text;
  }
  return joined;
}

Status ApplyNode(const YAML::Node& root, const std::string& path, ConfigWithSources* out) {
  if (root.IsNull()) return {};  // an empty file
  if (!root.IsMap()) {
    return Error(StatusCode::kInvalidArgument, "%s must be a table of settings (name: value)", path.c_str());
  }
  std::set<std::string> seen;
  for (const auto& item : root) {
    const std::string where = At(path, item.first);
    LATHE_ASSIGN_OR_RETURN(const std::string name, ScalarText(item.first, where, "a setting's name"));
    const Setting* setting = FindSetting(name);
    if (setting == nullptr) {
      return Error(StatusCode::kInvalidArgument,
                   "%s: there is no setting '%.100s'; docs/server-limits.md lists all", where.c_str(),
                   name.c_str());
    }
    if (!seen.insert(name).second) {
      return Error(StatusCode::kInvalidArgument, "%s: %s is set twice", where.c_str(), name.c_str());
    }
    LATHE_ASSIGN_OR_RETURN(const std::string text, SettingText(*setting, item.second, where));
    LATHE_RETURN_IF_ERROR(SetFromText(*setting, text, where, out));
  }
  return {};
}

Expected<uint64_t> WholeNumber(const std::string& text, const std::string& where, const char* name,
                               uint64_t max) {
  uint64_t value = 0;
  bool good = !text.empty() && text.size() <= 15;
  for (const char c : text) {
    good = good && c >= '0' && c <= '9';
    value = good ? value * 10 + static_cast<uint64_t>(c - '0') : 0;
  }
  if (good && value <= max) return value;
  return Error(StatusCode::kInvalidArgument, "%s: %s must be a whole number in [0, %llu], but is '%.100s'",
               where.c_str(), name, static_cast<unsigned long long>(max), text.c_str());
}

Status SetKeyField(const std::string& name, const std::string& text, const std::string& where,
                   KeyEntry* key) {
  if (name == "name") {
    if (!IsRequestId(text)) {
      return Error(StatusCode::kInvalidArgument, "%s: a key's name must be 1 to 64 of [A-Za-z0-9._-]",
                   where.c_str());
    }
    key->name = text;
  } else if (name == "sha256") {
    auto hash = ParseKeyHash(text);
    LATHE_RETURN_IF_ERROR(hash.status().WithContext(where));
    key->hash = *hash;
  } else if (name == "max_concurrent") {
    LATHE_ASSIGN_OR_RETURN(const uint64_t value, WholeNumber(text, where, "max_concurrent", 1 << 20));
    key->max_concurrent = static_cast<int>(value);
  } else if (name == "tokens_per_minute") {
    LATHE_ASSIGN_OR_RETURN(key->max_tokens_per_minute,
                           WholeNumber(text, where, "tokens_per_minute", 1000000000000));
  } else if (name == "priority_cap") {
    LATHE_ASSIGN_OR_RETURN(const uint64_t value, WholeNumber(text, where, "priority_cap", 1000));
    key->priority_cap = static_cast<int>(value);
  } else {
    return Error(StatusCode::kInvalidArgument,
                 "%s: a key has no field '%.100s'; there are name, sha256, max_concurrent, tokens_per_minute "
                 "and priority_cap",
                 where.c_str(), name.c_str());
  }
  return {};
}

Expected<KeyEntry> ParseKey(const YAML::Node& node, const std::string& path) {
  const std::string where = At(path, node);
  if (!node.IsMap()) return Error(StatusCode::kInvalidArgument, "%s: a key must be a table", where.c_str());
  KeyEntry key;
  std::set<std::string> seen;
  for (const auto& item : node) {
    const std::string at = At(path, item.first);
    LATHE_ASSIGN_OR_RETURN(const std::string name, ScalarText(item.first, at, "a field's name"));
    LATHE_ASSIGN_OR_RETURN(const std::string text, ScalarText(item.second, at, name));
    if (!seen.insert(name).second) {
      return Error(StatusCode::kInvalidArgument, "%s: %.100s is set twice", at.c_str(), name.c_str());
    }
    LATHE_RETURN_IF_ERROR(SetKeyField(name, text, at, &key));
  }
  if (!seen.contains("name") || !seen.contains("sha256")) {
    return Error(StatusCode::kInvalidArgument, "%s: a key needs name and sha256", where.c_str());
  }
  return key;
}

Expected<std::vector<KeyEntry>> KeysOfNode(const YAML::Node& root, const std::string& path) {
  const bool good = root.IsMap() && root.size() == 1 && root["keys"] && root["keys"].IsSequence();
  if (!good || root["keys"].size() == 0 || root["keys"].size() > kMaxKeys) {
    return Error(StatusCode::kInvalidArgument, "%s must have one entry, 'keys', a list of 1 to %zu keys",
                 path.c_str(), kMaxKeys);
  }
  std::vector<KeyEntry> keys;
  std::set<std::string> names;
  std::set<KeyHash> hashes;
  for (const YAML::Node& node : root["keys"]) {
    LATHE_ASSIGN_OR_RETURN(KeyEntry key, ParseKey(node, path));
    if (!names.insert(key.name).second || !hashes.insert(key.hash).second) {
      return Error(StatusCode::kInvalidArgument, "%s: name or sha256 of '%s' is there twice",
                   At(path, node).c_str(), key.name.c_str());
    }
    keys.push_back(std::move(key));
  }
  return keys;
}

}  // namespace

Status ApplyYaml(std::string_view text, const std::string& path, ConfigWithSources* out) {
  LATHE_ASSIGN_OR_RETURN(const YAML::Node root, ParseYaml(text, path));
  try {
    return ApplyNode(root, path, out);
  } catch (const YAML::Exception& fault) {
    return Error(StatusCode::kInvalidArgument, "%s: %s", path.c_str(), fault.what());
  }
}

Expected<std::vector<KeyEntry>> ParseKeys(std::string_view text, const std::string& path) {
  LATHE_ASSIGN_OR_RETURN(const YAML::Node root, ParseYaml(text, path));
  try {
    return KeysOfNode(root, path);
  } catch (const YAML::Exception& fault) {
    return Error(StatusCode::kInvalidArgument, "%s: %s", path.c_str(), fault.what());
  }
}

Expected<std::vector<KeyEntry>> ReadKeyFile(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) == 0 && (info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return Error(StatusCode::kInvalidArgument,
                 "%s may be written by others than its owner, who could add keys; chmod 640 it",
                 path.c_str());
  }
  LATHE_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxFileBytes));
  return ParseKeys(text, path);
}

}  // namespace lathe::serve
