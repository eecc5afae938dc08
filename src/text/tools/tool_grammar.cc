// The grammar that forces a tool call, and what a chat template says about the format.
#include <set>

#include "base/json.h"
#include "base/status.h"
#include "text/tools/output_parser.h"

namespace lathe {
namespace {

bool Contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// A literal of the grammar.
std::string Quote(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '"' || c == '\\') out.push_back('\\');
    out.push_back(c);
  }
  return out + '"';
}

struct Tool {
  std::string name;
  std::string schema;  // JSON text; of an object
};

Expected<Tool> ReadTool(const Json& entry, size_t index) {
  const std::string where = StrFormat("tools[%zu]", index);
  const auto function = entry.is_object() ? entry.find("function") : entry.end();
  if (!entry.is_object() || function == entry.end() || !function->is_object()) {
    return Error(StatusCode::kInvalidArgument, "%s: expected an object with an object \"function\"",
                 where.c_str());
  }
  Tool tool;
  LATHE_ASSIGN_OR_RETURN(tool.name, JsonString(*function, "name", where + ".function"));
  if (tool.name.empty()) {
    return Error(StatusCode::kInvalidArgument, "%s.function.name: expected a name, found an empty string",
                 where.c_str());
  }
  Json schema = Json::object();
  if (const auto found = function->find("parameters"); found != function->end() && !found->is_null())
    schema = *found;
  if (schema.is_object() && !schema.contains("type") && !schema.contains("$ref")) schema["type"] = "object";
  if (!schema.is_object() || (schema.contains("type") && schema["type"] != "object")) {
    return Error(StatusCode::kInvalidArgument, "%s.function.parameters: expected a JSON schema of an object",
                 where.c_str());
  }
  tool.schema = DumpJson(schema);
  return tool;
}

Expected<std::vector<Tool>> ReadTools(const std::string& tools_json, const std::string& forced_name) {
  LATHE_ASSIGN_OR_RETURN(const Json list, ParseJson(tools_json, "tools"));
  if (!list.is_array() || list.empty()) {
    return Error(StatusCode::kInvalidArgument, "tools: expected an array of at least one tool");
  }
  std::vector<Tool> tools;
  std::set<std::string> seen;
  for (size_t i = 0; i < list.size(); ++i) {
    LATHE_ASSIGN_OR_RETURN(Tool tool, ReadTool(list[i], i));
    if (!seen.insert(tool.name).second) {
      return Error(StatusCode::kInvalidArgument,
                   "tools[%zu].function.name: \"%s\" is the name of an earlier tool", i, tool.name.c_str());
    }
    if (forced_name.empty() || forced_name == tool.name) tools.push_back(std::move(tool));
  }
  if (tools.empty()) {
    return Error(StatusCode::kInvalidArgument, "tool_choice: \"%s\" is not the name of one of the %zu tools",
                 forced_name.c_str(), list.size());
  }
  return tools;
}

}  // namespace

ToolFormat DetectToolFormat(std::string_view source) {
  if (Contains(source, "[TOOL_CALLS]")) return ToolFormat::kMistral;
  // Some templates put XML-like calls between the same marks (<function=name>, <arg_key>).
  if (Contains(source, "<tool_call>") && !Contains(source, "<function=") && !Contains(source, "<arg_key>")) {
    return ToolFormat::kHermes;
  }
  // Llama 3.2's template does without the tag: what it asks for is known by the words for the format.
  if (Contains(source, "<|python_tag|>") || Contains(source, R"({"name": function name, "parameters":)")) {
    return ToolFormat::kLlama3Json;
  }
  return ToolFormat::kNone;
}

bool DetectReasoning(std::string_view source) { return Contains(source, "</think>"); }

bool PromptOpensReasoning(std::string_view prompt) {
  const size_t end = prompt.find_last_not_of(" \n\r\t");
  return end != std::string_view::npos && prompt.substr(0, end + 1).ends_with("<think>");
}

Expected<std::optional<OutputFormat>> ToolGrammar(ToolFormat format, const std::string& tools_json,
                                                  const std::string& forced_name, bool parallel,
                                                  bool markers_are_tokens) {
  if (format == ToolFormat::kNone) return std::optional<OutputFormat>();
  LATHE_ASSIGN_OR_RETURN(const std::vector<Tool> tools, ReadTools(tools_json, forced_name));

  const std::string token = markers_are_tokens ? "%token " : "";
  std::string root;
  switch (format) {
    case ToolFormat::kNone: break;
    case ToolFormat::kHermes:
      root = parallel ? "root ::= call (\"\\n\" call)*\n" : "root ::= call\n";
      root += "call ::= " + token + R"("<tool_call>" "\n" object "\n" )" + token + R"("</tool_call>")";
      break;
    case ToolFormat::kLlama3Json:
      root = parallel ? R"(root ::= object ("; " object)*)" : "root ::= object";
      break;
    case ToolFormat::kMistral:
      root = "root ::= " + token + R"("[TOOL_CALLS]" "[" object)";
      root += parallel ? R"( (", " object)* "]")" : R"( "]")";
      break;
  }
  const char* key = format == ToolFormat::kLlama3Json ? "parameters" : "arguments";
  std::string objects = "\nobject ::=", arguments;
  for (size_t i = 0; i < tools.size(); ++i) {
    const std::string head = "{\"name\": " + DumpJson(tools[i].name) + ", \"" + key + "\": ";
    const std::string rule = "arguments-" + std::to_string(i);
    objects += (i > 0 ? " | " : " ") + Quote(head) + " " + rule + " \"}\"";
    arguments += rule + " ::= %json " + tools[i].schema + "\n";
  }
  OutputFormat out;
  out.kind = OutputFormat::Kind::kGrammar;
  out.source = root + objects + "\n" + arguments;
  return std::optional(std::move(out));
}

}  // namespace lathe
