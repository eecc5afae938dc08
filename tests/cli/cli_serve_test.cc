// `lathe serve` and `lathe keys` as a user meets them: what they refuse, what they print, that they end well.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <regex>

#include "fixture.h"

namespace lathe::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ServeTest : public CliTest {};

// The whole answer to `request`, whose connection the server ends.
std::string Ask(int port, const std::string& request) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
      send(fd, request.data(), request.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request.size())) {
    char bytes[4096];
    for (ssize_t n = 0; (n = recv(fd, bytes, sizeof bytes, 0)) > 0;)
      answer.append(bytes, static_cast<size_t>(n));
  }
  close(fd);
  return answer;
}

std::string Get(const std::string& path) {
  return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
}

TEST_F(ServeTest, RefusesBeforeItBuildsAnything) {
  const std::string model = "/nonexistent";
  ExpectUsage(Lathe({"serve"}), "serve needs a model");
  ExpectUsage(Lathe({"serve", model, "--prot", "1"}), "did you mean --port?");
  ExpectUsage(Lathe({"serve", model, "--port", "70000"}),
              "--port: port must be a whole number in [0, 65535]");
  ExpectFault(Lathe({"serve", model, "--host", "0.0.0.0"}), "--insecure-no-auth");
  ExpectFault(Lathe({"serve", model, "--keys-file", dir() + "/none.yaml"}), "keys_file: ");
  ExpectFault(Lathe({"serve", model, "--tls-cert", "cert.pem"}), "tls_key is missing");
  ExpectFault(Lathe({"serve", model}, {.environment = {"LATHE_PROT=1"}}), "LATHE_PROT is no setting");
  ExpectFault(Lathe({"serve", model}), "neither an engine file nor a model directory");
  WriteWhole(dir() + "/c.yaml", "port: 1\n\nprot: 2\n");
  ExpectFault(Lathe({"serve", model, "--config", dir() + "/c.yaml"}),
              "c.yaml line 3: there is no setting 'prot'");
}

TEST_F(ServeTest, PrintsWhatIsInForceAndWhereItComesFrom) {
  WriteWhole(dir() + "/c.yaml", "model: m\nport: 1\nworkers: 3\n");
  const ProcessResult printed =
      Lathe({"serve", "--config", dir() + "/c.yaml", "--idle-timeout", "5", "--print-config"},
            {.environment = {"LATHE_PORT=2"}});
  EXPECT_EQ(printed.exit_code, 0);
  EXPECT_THAT(printed.out, HasSubstr("port: 2  # environment LATHE_PORT\n"));
  EXPECT_THAT(printed.out, HasSubstr("c.yaml line 3\n"));
  EXPECT_THAT(printed.out, HasSubstr("idle_timeout: 5  # flag --idle-timeout\n"));
  EXPECT_EQ(Lathe({"serve", "--print-config-schema"}).out,
            ReadWhole(LATHE_SOURCE_DIR "/docs/config-schema.json"));
}

TEST_F(ServeTest, KeysAreShownOnceAndFitTheFile) {
  const ProcessResult made = Lathe({"keys", "new", "alice"});
  EXPECT_EQ(made.exit_code, 0);
  EXPECT_TRUE(std::regex_match(made.out, std::regex("lathe-[A-Za-z0-9_-]{43}\n"))) << made.out;
  EXPECT_THAT(made.err, HasSubstr("  - name: alice\n    sha256: "));
  EXPECT_THAT(made.err, Not(HasSubstr(made.out.substr(0, made.out.size() - 1))));
  WriteWhole(dir() + "/keys.yaml", "keys:\n" + made.err.substr(made.err.find("  - name")));
  ASSERT_EQ(chmod((dir() + "/keys.yaml").c_str(), 0620), 0);
  ExpectFault(Lathe({"serve", "/nonexistent", "--keys-file", dir() + "/keys.yaml"}), "chmod");
  ASSERT_EQ(chmod((dir() + "/keys.yaml").c_str(), 0600), 0);
  ExpectFault(Lathe({"serve", "/nonexistent", "--keys-file", dir() + "/keys.yaml"}),
              "neither an engine file");
  ExpectFault(Lathe({"keys", "new", "a/b"}), "a key's name must be");
}

TEST_F(ServeTest, ServesUntilInterrupted) {
  TerminalProcess server(Program({"serve", Engine(), "--port", "0"}), Environment());
  ASSERT_TRUE(server.WaitFor("Playground:")) << server.screen();
  std::smatch url;
  ASSERT_TRUE(std::regex_search(server.screen(), url, std::regex("http://127\\.0\\.0\\.1:([0-9]+)/v1/")));
  const int port = std::stoi(url[1]);
  EXPECT_THAT(Ask(port, Get("/readyz")), HasSubstr("HTTP/1.1 200 OK"));
  EXPECT_THAT(Ask(port, Get("/v1/models")), HasSubstr("max_model_len"));
  const std::string body = R"({"prompt":"Once upon a time","max_tokens":4,"temperature":0})";
  EXPECT_THAT(Ask(port,
                  "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: "
                  "application/json\r\nContent-Length: " +
                      std::to_string(body.size()) + "\r\n\r\n" + body),
              HasSubstr("\"finish_reason\":\"length\""));
  EXPECT_THAT(server.screen(), Not(HasSubstr("Once upon a time\",\"max_tokens\":4")));
  server.Type("\x03");
  EXPECT_EQ(server.WaitForExit(), 0);
}

}  // namespace
}  // namespace lathe::testing
