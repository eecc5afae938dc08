// What the tests of this folder read.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <map>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "text/template/chat_template.h"

namespace lathe {

inline std::string DataDir() { return std::string(LATHE_SOURCE_DIR) + "/tests/data/templates"; }

// Where files lie that may not be copied into the repository. May be absent.
inline std::string SharedDir() {
  const char* env = std::getenv("LATHE_SHARED");
  return env != nullptr ? env : std::string(LATHE_SOURCE_DIR) + "/../shared";
}

inline Json ReadData(const std::string& name) {
  Expected<Json> json = ReadJsonFile(DataDir() + "/" + name, {.max_depth = 80});
  EXPECT_TRUE(json.ok()) << json.status().message();
  return json.ok() ? *std::move(json) : Json();
}

// The clock of tests/golden/template_reference.py.
inline RenderOptions GoldenOptions() {
  RenderOptions options;
  options.now = [] {
    std::tm now{};
    now.tm_year = 2026 - 1900;
    now.tm_mon = 6;
    now.tm_mday = 24;
    now.tm_hour = 13;
    now.tm_min = 5;
    now.tm_sec = 9;
    now.tm_wday = 5;
    now.tm_yday = 204;
    return now;
  };
  return options;
}

inline Expected<Rendered> RenderSource(std::string_view source, const Json& context,
                                       const RenderOptions& options = GoldenOptions()) {
  LATHE_ASSIGN_OR_RETURN(const ChatTemplate parsed, ChatTemplate::Parse(source));
  return parsed.Render(context, options);
}

struct Conversation {
  std::string name;
  Json context;
};

inline std::vector<Conversation> ReadConversations() {
  std::vector<Conversation> out;
  for (const Json& entry : ReadData("conversations.json")) {
    Conversation conversation{entry["name"].get<std::string>(), entry["context"]};
    if (entry.contains("repeat")) {
      for (Json& message : conversation.context["messages"]) {
        const std::string once = message["content"].get<std::string>();
        std::string content;
        for (int i = 0; i < entry["repeat"].get<int>(); ++i) content += once;
        message["content"] = content;
      }
    }
    out.push_back(std::move(conversation));
  }
  return out;
}

// Name to source of every template with expected outputs; those that are not here are reported and left out.
inline std::map<std::string, std::string> ReadTemplates() {
  std::map<std::string, std::string> out;
  const Json expected = ReadData("expected.json");
  for (const auto& [name, results] : expected.items()) {
    const std::string own = DataDir() + "/" + name + ".jinja";
    const std::string model = std::string(LATHE_SOURCE_DIR) + "/models/" + name + "/chat_template.jinja";
    const std::string shared = SharedDir() + "/templates/" + name + ".jinja";
    for (const std::string& path : {own, model, shared}) {
      if (!FileExists(path)) continue;
      Expected<std::string> source = ReadFile(path);
      EXPECT_TRUE(source.ok()) << source.status().message();
      if (source.ok()) out[name] = *source;
      break;
    }
    if (!out.contains(name)) std::printf("%s is not on this machine: left out\n", shared.c_str());
  }
  return out;
}

}  // namespace lathe
