#include "serve/server/config.h"

#include <gtest/gtest.h>

#include <set>

#include "base/file.h"
#include "base/json.h"
#include "serve/server/key_file.h"

namespace lathe::serve {
namespace {

using testing::Test;

std::string Message(const Status& status) { return status.ok() ? "ok" : status.message(); }

TEST(Settings, TableIsSound) {
  std::set<std::string> names;
  for (const Setting& setting : Settings()) {
    EXPECT_TRUE(names.insert(setting.name).second) << setting.name;
    EXPECT_LE(setting.min, setting.max) << setting.name;
    EXPECT_NE(*setting.help, '\0') << setting.name;
    // The default is a value that the setting takes.
    const auto default_value =
        ParseJson(ConfigSchemaJson(), "schema")->at("properties").at(setting.name).at("default");
    const std::string text = default_value.is_string()  ? default_value.get<std::string>()
                             : default_value.is_array() ? ""
                                                        : DumpJson(default_value);
    ConfigWithSources out;
    EXPECT_EQ(Message(SetFromText(setting, text, "default", &out)), "ok") << setting.name;
  }
}

TEST(Settings, EveryNumberAtItsEdges) {
  for (const Setting& setting : Settings()) {
    if (setting.type != SettingType::kInt && setting.type != SettingType::kSeconds &&
        setting.type != SettingType::kFraction && setting.type != SettingType::kBytes) {
      continue;
    }
    const auto set = [&](const std::string& text) {
      ConfigWithSources out;
      return SetFromText(setting, text, "here", &out);
    };
    const bool whole = setting.type != SettingType::kSeconds && setting.type != SettingType::kFraction;
    const double step = whole ? 1 : 0.01;
    EXPECT_TRUE(set(StrFormat("%.15g", setting.min)).ok()) << setting.name;
    EXPECT_TRUE(set(StrFormat("%.15g", setting.max)).ok()) << setting.name;
    for (const std::string& bad :
         {StrFormat("%.15g", setting.min - step), StrFormat("%.17g", setting.max + step), std::string("nan"),
          std::string("inf"), std::string("1e99"), std::string(""), std::string("x"), std::string("1 "),
          std::string("0x10"), std::string("--1")}) {
      const Status status = set(bad);
      EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << setting.name << " " << bad;
      EXPECT_NE(status.message().find(setting.name), std::string::npos);
      EXPECT_TRUE(status.message().starts_with("here: ")) << status.message();
    }
  }
}

TEST(Config, FileEnvironmentAndFlagsInTheirOrder) {
  ConfigWithSources out;
  ASSERT_EQ(
      Message(ApplyYaml(
          "port: 1\nmax_body_bytes: 2M\nmodel_aliases: [a, b]\nprefix_cache: false\n# x\nhost: \"::1\"\n",
          "c.yaml", &out)),
      "ok");
  // Names of other parts of lathe are no settings, and no fault.
  const char* environment[] = {
      "HOME=/",         "LATHE_PORT=2",     "LATHE_MAX_CONNECTIONS=7", "LATHE_ISA=avx2",
      "LATHE_NVRTC=/x", "LATHE_LIBCUDA=/x", "LATHE_STEP_TIMEOUT=9",    nullptr};
  ASSERT_EQ(Message(ApplyEnvironment(environment, &out)), "ok");
  ASSERT_EQ(Message(SetFromText(*FindSetting("max_connections"), "8", "flag --max-connections", &out)), "ok");
  EXPECT_EQ(out.config.port, 2);
  EXPECT_EQ(out.config.max_connections, 8);
  EXPECT_EQ(out.config.max_body_bytes, 2u << 20);
  EXPECT_EQ(out.config.model_aliases, (std::vector<std::string>{"a", "b"}));
  EXPECT_FALSE(out.config.prefix_cache);
  EXPECT_EQ(out.config.host, "::1");
  const std::string printed = PrintConfig(out);
  for (const char* line :
       {"port: 2  # environment LATHE_PORT\n", "max_connections: 8  # flag --max-connections\n",
        "max_body_bytes: 2097152  # c.yaml line 2\n", "workers: 2  # default\n"}) {
    EXPECT_NE(printed.find(line), std::string::npos) << line << printed;
  }
  // What is printed is a file that says the same.
  ConfigWithSources again;
  ASSERT_EQ(Message(ApplyYaml(printed, "printed", &again)), "ok");
  again.sources = out.sources;
  EXPECT_EQ(PrintConfig(again), printed);
}

TEST(Config, FaultsOfFilesNameTheLine) {
  const struct {
    const char *text, *says;
  } kCases[] = {
      {"port: 1\nprot: 2\n", "c.yaml line 2: there is no setting 'prot'"},
      {"port: 1\nhost: x\nport: 2\n", "c.yaml line 3: port is set twice"},
      {"a: b: c\n", "c.yaml line 1: not well-formed YAML"},
      {"- port\n", "must be a table of settings"},
      {"port\n", "must be a table of settings"},
      {"\nport: [1]\n", "c.yaml line 2: port must be a single value"},
      {"port: 1.5\n", "c.yaml line 1: port must be a whole number in [0, 65535], but is '1.5'"},
      {"port: 70000\n", "in [0, 65535]"},
      {"log_format: xml\n", "must be one of plain, json"},
      {"insecure_no_auth: yes\n", "must be true or false"},
      {"max_body_bytes: 8Q\n", "max_body_bytes must be a number like"},
      {"[a]: 1\n", "a setting's name"},
      {"port: *x\n", "not well-formed YAML"},
      {"model_aliases: ['a,b']\n", "has a comma"},
  };
  for (const auto& c : kCases) {
    ConfigWithSources out;
    const Status status = ApplyYaml(c.text, "c.yaml", &out);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << c.text;
    EXPECT_NE(status.message().find(c.says), std::string::npos) << c.text << status.message();
  }
  ConfigWithSources out;
  EXPECT_EQ(Message(ApplyYaml("", "c.yaml", &out)), "ok");
  EXPECT_FALSE(ApplyYaml(std::string(100000, '['), "c.yaml", &out).ok());
  EXPECT_FALSE(ApplyYaml(std::string(2 << 20, ' '), "c.yaml", &out).ok());
}

TEST(Config, UnknownVariablesAreErrorsButServiceLinksAreNot) {
  ConfigWithSources out;
  for (const char* bad : {"LATHE_PROT=1", "LATHE_=1", "LATHE_PORT=abc", "LATHE_HOSTS=x"}) {
    const char* environment[] = {bad, nullptr};
    EXPECT_FALSE(ApplyEnvironment(environment, &out).ok()) << bad;
  }
  const char* kubernetes[] = {"LATHE_SERVICE_HOST=10.0.0.1",          "LATHE_SERVICE_PORT=80",
                              "LATHE_SERVICE_PORT_HTTP=80",           "LATHE_PORT=tcp://10.0.0.1:80",
                              "LATHE_PORT_80_TCP=tcp://10.0.0.1:80",  "LATHE_PORT_80_TCP_PROTO=tcp",
                              "LATHE_CHAT_SERVICE_HOST=10.0.0.1",     "LATHE_CHAT_PORT=tcp://10.0.0.1:80",
                              "LATHE_CHAT_PORT_80_TCP_ADDR=10.0.0.1", nullptr};
  EXPECT_EQ(Message(ApplyEnvironment(kubernetes, &out)), "ok");
  EXPECT_TRUE(out.sources.empty());
}

TEST(Config, RefusesWhatIsUnsafe) {
  ServerConfig config;
  EXPECT_EQ(Message(CheckConfig(config)), "ok");
  for (const char* loopback : {"127.0.0.1", "127.8.8.8", "::1", "localhost"})
    EXPECT_TRUE(IsLoopback(loopback));
  for (const char* open : {"0.0.0.0", "::", "10.0.0.1", "192.168.0.1", "example.org", ""}) {
    EXPECT_FALSE(IsLoopback(open));
    config.host = open;
    EXPECT_NE(Message(CheckConfig(config)).find("--keys-file"), std::string::npos) << open;
  }
  config.host = "0.0.0.0";
  config.insecure_no_auth = true;
  EXPECT_EQ(Message(CheckConfig(config)), "ok");
  config.keys_file = "k";
  EXPECT_NE(Message(CheckConfig(config)), "ok");
  config.insecure_no_auth = false;
  EXPECT_EQ(Message(CheckConfig(config)), "ok");
  config.tls_cert = "c";
  EXPECT_NE(Message(CheckConfig(config)).find("tls_key"), std::string::npos);
  config.tls_key = "k";
  config.management_listen = "nonsense";
  EXPECT_NE(Message(CheckConfig(config)).find("ADDRESS:PORT"), std::string::npos);
  config.management_listen = "[::1]:9000";
  EXPECT_EQ(Message(CheckConfig(config)), "ok");
  EXPECT_EQ(ParseListen("[::1]:9000", "x")->first, "::1");
  config.stall_exit = 1;
  EXPECT_NE(Message(CheckConfig(config)).find("stall_exit"), std::string::npos);
}

// The published schema and the documentation are what the table says.
TEST(Config, PublishedFilesAreUpToDate) {
  const std::string root = LATHE_SOURCE_DIR;
  EXPECT_EQ(*ReadFile(root + "/docs/config-schema.json"), ConfigSchemaJson())
      << "lathe serve --print-config-schema > docs/config-schema.json";
  EXPECT_EQ(*ReadFile(root + "/docs/server-limits.md"), ConfigMarkdown())
      << "lathe serve --print-config-docs > docs/server-limits.md";
}

TEST(KeyFile, ReadsAndRefuses) {
  const std::string hash_a = KeyHashHex(HashKey("a")), hash_b = KeyHashHex(HashKey("b"));
  const auto keys =
      ParseKeys("keys:\n  - name: alice\n    sha256: " + hash_a +
                    "\n    max_concurrent: 4\n    tokens_per_minute: 1000\n    priority_cap: 2\n"
                    "  - {name: bob, sha256: " +
                    hash_b + "}\n",
                "k.yaml");
  ASSERT_TRUE(keys.ok()) << keys.status().message();
  ASSERT_EQ(keys->size(), 2u);
  EXPECT_EQ((*keys)[0].hash, HashKey("a"));
  EXPECT_EQ((*keys)[0].max_concurrent, 4);
  EXPECT_EQ((*keys)[0].max_tokens_per_minute, 1000u);
  EXPECT_EQ((*keys)[0].priority_cap, 2);
  EXPECT_TRUE(ParseKeys("{\"keys\": [{\"name\": \"a\", \"sha256\": \"" + hash_a + "\"}]}", "k.json").ok());

  const std::string good = "  - {name: a, sha256: " + hash_a + "}\n";
  const std::pair<std::string, const char*> cases[] = {
      {"", "list of 1 to"},
      {"keys: []\n", "list of 1 to"},
      {"keys: x\n", "list of 1 to"},
      {"keys:\n" + good + "more: 1\n", "one entry"},
      {"keys:\n  - a\n", "line 2: a key must be a table"},
      {"keys:\n" + good + good, "line 3: name or sha256 of 'a' is there twice"},
      {"keys:\n" + good + "  - {name: b, sha256: " + hash_a + "}\n", "is there twice"},
      {"keys:\n  - {name: a}\n", "needs name and sha256"},
      {"keys:\n  - {name: 'a b', sha256: " + hash_a + "}\n", "1 to 64 of"},
      {"keys:\n  - {name: a, sha256: 12}\n", "64 hex digits"},
      {"keys:\n  - {name: a, key: secret}\n", "no field 'key'"},
      {"keys:\n  - {name: a, sha256: " + hash_a + ", admin: true}\n", "no field 'admin'"},
      {"keys:\n  - {name: a, sha256: " + hash_a + ", max_concurrent: -1}\n", "whole number"},
      {"keys:\n  - {name: a, name: b, sha256: " + hash_a + "}\n", "set twice"},
  };
  for (const auto& [text, says] : cases) {
    const auto refused = ParseKeys(text, "k.yaml");
    ASSERT_FALSE(refused.ok()) << text;
    EXPECT_NE(refused.status().message().find(says), std::string::npos) << text << refused.status().message();
    EXPECT_EQ(refused.status().message().find("secret"), std::string::npos);
  }
}

}  // namespace
}  // namespace lathe::serve
