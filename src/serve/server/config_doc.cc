// What the table of settings looks like from outside: schema, documentation, and the file that is in force.
#include "base/json.h"
#include "serve/quote.h"
#include "serve/server/config.h"

namespace lathe::serve {
namespace {

template <typename T>
const T& Value(const Setting& setting, const ServerConfig& config) {
  return config.*std::get<T ServerConfig::*>(setting.field);
}

std::string NumberText(double value) { return StrFormat("%.15g", value); }

// As a YAML (and JSON) value.
std::string ValueText(const Setting& setting, const ServerConfig& config) {
  switch (setting.type) {
    case SettingType::kBool: return Value<bool>(setting, config) ? "true" : "false";
    case SettingType::kInt: return std::to_string(Value<int>(setting, config));
    case SettingType::kBytes: return std::to_string(Value<uint64_t>(setting, config));
    case SettingType::kSeconds:
    case SettingType::kFraction: return NumberText(Value<double>(setting, config));
    case SettingType::kString: return DumpJson(Json(Value<std::string>(setting, config)));
    case SettingType::kStrings: return DumpJson(Json(Value<std::vector<std::string>>(setting, config)));
  }
  return {};
}

std::string SizeText(double bytes) {
  static constexpr const char* kUnits[] = {"", "K", "M", "G", "T"};
  int unit = 0;
  while (bytes >= 1024 && bytes / 1024 == static_cast<double>(static_cast<uint64_t>(bytes / 1024)) &&
         unit < 4) {
    bytes /= 1024;
    ++unit;
  }
  return NumberText(bytes) + kUnits[unit];
}

Json SchemaOf(const Setting& setting) {
  Json out = Json::object();
  switch (setting.type) {
    case SettingType::kBool: out["type"] = "boolean"; break;
    case SettingType::kInt:
      out["type"] = "integer";
      out["minimum"] = static_cast<int64_t>(setting.min);
      out["maximum"] = static_cast<int64_t>(setting.max);
      break;
    case SettingType::kBytes:
      out["type"] = Json::array({"integer", "string"});
      out["minimum"] = static_cast<int64_t>(setting.min);
      out["maximum"] = static_cast<int64_t>(setting.max);
      out["pattern"] = "^[0-9]+(\\.[0-9]+)?([KMGTkmgt](iB)?)?$";
      break;
    case SettingType::kSeconds:
    case SettingType::kFraction:
      out["type"] = "number";
      out["minimum"] = setting.min;
      out["maximum"] = setting.max;
      break;
    case SettingType::kString:
      out["type"] = "string";
      if (setting.one_of.empty()) {
        out["minLength"] = static_cast<int64_t>(setting.min);
        out["maxLength"] = static_cast<int64_t>(setting.max);
      } else {
        out["enum"] = setting.one_of;
      }
      break;
    case SettingType::kStrings:
      out["type"] = "array";
      out["maxItems"] = static_cast<int64_t>(setting.max);
      out["items"] = {{"type", "string"}, {"minLength", 1}};
      break;
  }
  out["default"] = *ParseJson(ValueText(setting, {}), setting.name);
  out["description"] =
      std::string(setting.help) + (*setting.unset != '\0' ? std::string("; default: ") + setting.unset : "");
  return out;
}

std::string RangeText(const Setting& setting) {
  switch (setting.type) {
    case SettingType::kBool: return "true, false";
    case SettingType::kInt:
    case SettingType::kFraction: return NumberText(setting.min) + " … " + NumberText(setting.max);
    case SettingType::kSeconds: return NumberText(setting.min) + " … " + NumberText(setting.max) + " s";
    case SettingType::kBytes: return SizeText(setting.min) + " … " + SizeText(setting.max);
    case SettingType::kStrings: return "list, at most " + NumberText(setting.max);
    case SettingType::kString: break;
  }
  std::string out;
  for (const std::string& choice : setting.one_of) {
    if (!choice.empty()) out += (out.empty() ? "" : ", ") + choice;
  }
  return out.empty() ? "text" : out;
}

}  // namespace

std::string DefaultText(const Setting& setting) {
  if (*setting.unset != '\0') return setting.unset;
  if (setting.type == SettingType::kBytes) return SizeText(static_cast<double>(Value<uint64_t>(setting, {})));
  if (setting.type == SettingType::kString) return Value<std::string>(setting, {});
  return ValueText(setting, {}) + (setting.type == SettingType::kSeconds ? " s" : "");
}

std::string ConfigSchemaJson() {
  Json properties = Json::object();
  for (const Setting& setting : Settings()) properties[setting.name] = SchemaOf(setting);
  const Json schema = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                       {"title", "Configuration of lathe serve"},
                       {"type", "object"},
                       {"additionalProperties", false},
                       {"properties", std::move(properties)}};
  return DumpJson(schema, 2) + "\n";
}

std::string PrintConfig(const ConfigWithSources& effective) {
  std::string out, section;
  for (const Setting& setting : Settings()) {
    if (section != setting.section) {
      section = setting.section;
      out += (out.empty() ? "# " : "\n# ") + section + "\n";
    }
    const auto source = effective.sources.find(setting.name);
    std::string comment = source == effective.sources.end() ? "default" : source->second;
    if (source == effective.sources.end() && *setting.unset != '\0')
      comment += ": " + std::string(setting.unset);
    out += std::string(setting.name) + ": " + ValueText(setting, effective.config) + "  # " + comment + "\n";
  }
  return out;
}

std::string ConfigMarkdown() {
  std::string out =
      "# Settings and limits of `lathe serve`\n\n"
      "Generated from `src/serve/server/settings.cc`, which is also the validator: `lathe serve "
      "--print-config-docs`.\n"
      "A setting is given as a flag, as a variable of the environment or in the file of `--config`; a flag "
      "wins over the\n"
      "environment, the environment over the file. Sizes take K, M, G and T (powers of 1024).\n";
  std::string section;
  for (const Setting& setting : Settings()) {
    if (section != setting.section) {
      section = setting.section;
      out += "\n## " + section +
             "\n\n| setting | flag | environment | range | default | |\n|---|---|---|---|---|---|\n";
    }
    out += "| `" + std::string(setting.name) + "` | `" + FlagName(setting) + "` | `" +
           EnvironmentName(setting) + "` | " + RangeText(setting) + " | " + DefaultText(setting) + " | " +
           setting.help + " |\n";
  }
  return out;
}

}  // namespace lathe::serve
