#include <array>

#include "base/status.h"
#include "serve/openai/openapi.h"

namespace lathe::serve {
namespace {

std::string Number(double value) {
  if (value >= 9.2e18) return "2^63 - 1";
  if (value <= -9.2e18) return "-2^63";
  return StrFormat("%.15g", value);
}

std::string Between(const ParamSpec& spec) {
  return std::string(spec.open_min ? "(" : "[") + Number(spec.min) + ", " + Number(spec.max) + "]";
}

std::string Bytes(const ParamSpec& spec) {
  if (spec.max > 0)
    return (spec.min > 0 ? Number(spec.min) + " to " : "at most ") + Number(spec.max) + " bytes";
  return spec.min > 0 ? "at least " + Number(spec.min) + " byte" : "";
}

std::string_view TypeName(ParamType type) {
  switch (type) {
    case ParamType::kBool: return "boolean";
    case ParamType::kInt: return "integer";
    case ParamType::kNumber: return "number";
    case ParamType::kString: return "string";
    case ParamType::kScalar: return "boolean, number or string";
    case ParamType::kStrings: return "strings";
    case ParamType::kStringOrStrings: return "string or strings";
    case ParamType::kInts: return "integers";
    case ParamType::kPrompt: return "string, strings, ids or lists of ids";
    case ParamType::kObject: return "object";
    case ParamType::kObjects: return "objects";
    case ParamType::kStringOrObject: return "string or object";
    case ParamType::kStringOrObjects: return "string or objects";
    case ParamType::kBiases: return "object of numbers";
    case ParamType::kAny: return "any";
  }
  return "";
}

// "1 to 256 bytes each, at most 16".
std::string Range(const ParamSpec& spec) {
  if (spec.handling == Handling::kRefused)
    return spec.neutral.empty() ? "not supported" : "only `" + std::string(spec.neutral) + "`";
  std::string out;
  if (!spec.one_of.empty()) {
    out = "`" + std::string(spec.one_of) + "`";
    for (size_t at = 0; (at = out.find('|', at)) != std::string::npos; at += 4) out.replace(at, 1, "`, `");
  } else if (spec.type == ParamType::kInt || spec.type == ParamType::kNumber) {
    out = Between(spec);
  } else if (spec.type == ParamType::kInts || spec.type == ParamType::kBiases) {
    out = Between(spec) + " each";
  } else {
    out = Bytes(spec);
    if (!out.empty() && (spec.type == ParamType::kStrings || spec.type == ParamType::kStringOrStrings))
      out += " each";
  }
  if (spec.max_items > 0) out += (out.empty() ? "at most " : ", at most ") + std::to_string(spec.max_items);
  return out;
}

std::string In(const ParamSpec& spec) {
  static constexpr std::array<std::pair<Endpoint, const char*>, 6> kShort = {{{kChat, "chat"},
                                                                              {kCompletions, "completions"},
                                                                              {kEmbeddings, "embeddings"},
                                                                              {kTokenize, "tokenize"},
                                                                              {kDetokenize, "detokenize"},
                                                                              {kGenerate, "generate"}}};
  std::string out;
  for (const auto& [endpoint, name] : kShort) {
    if ((spec.endpoints & endpoint) == 0) continue;
    out += (out.empty() ? "" : ", ") + std::string(name);
  }
  return out;
}

std::string Default(const ParamSpec& spec) {
  if (spec.required) return "**required**";
  return std::string(spec.fallback);
}

}  // namespace

std::string ParamDoc(const ParamTable& table) {
  std::string out =
      "# Parameters of the HTTP API\n\n"
      "Printed from the table that checks requests (`src/serve/openai/param_rows.cc`), with the limits as "
      "they are\n"
      "unless the operator moves them. A parameter that is not here is refused by name, as is a value "
      "outside its\n"
      "range. `null` counts as absent. \"Ignored\" parameters are taken for the sake of clients that send "
      "them.\n\n"
      "| parameter | of | type | range | default | meaning |\n|---|---|---|---|---|---|\n";
  for (const ParamSpec& spec : table.rows()) {
    const std::string ignored = spec.handling == Handling::kIgnored ? "Ignored. " : "";
    out += "| `" + spec.name + "` | " + In(spec) + " | " + std::string(TypeName(spec.type)) + " | " +
           Range(spec) + " | " + Default(spec) + " | " + ignored + std::string(spec.meaning) + " |\n";
  }
  return out;
}

}  // namespace lathe::serve
