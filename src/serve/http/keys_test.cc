#include "serve/http/keys.h"

#include <gtest/gtest.h>

#include <set>

#include "serve/http/raw_client.h"
#include "serve/http/server.h"

namespace lathe::serve {
namespace {

KeyEntry Entry(const std::string& name, const std::string& key) {
  KeyEntry entry;
  entry.name = name;
  entry.hash = HashKey(key);
  entry.priority_cap = 3;
  return entry;
}

TEST(Keys, HashesAndFreshKeys) {
  EXPECT_EQ(KeyHashHex(HashKey("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(*ParseKeyHash(KeyHashHex(HashKey("x"))), HashKey("x"));
  for (const std::string& bad :
       {std::string(), std::string(63, 'a'), std::string(65, 'a'), std::string(64, 'g')}) {
    EXPECT_FALSE(ParseKeyHash(bad).ok());
  }
  std::set<std::string> keys;
  for (int i = 0; i < 100; ++i) {
    const std::string key = *NewKey();
    EXPECT_EQ(key.size(), 49u);
    EXPECT_TRUE(key.starts_with("lathe-"));
    for (const char c : key) EXPECT_TRUE(isalnum(c) || c == '-' || c == '_') << key;
    keys.insert(key);
  }
  EXPECT_EQ(keys.size(), 100u);
}

TEST(KeyRing, PrincipalsAndSalts) {
  KeyRing ring({Entry("alice", "a"), Entry("bob", "b")});
  const auto alice = ring.Authorize("a", "1.2.3.4").principal, bob = ring.Authorize("b", "1.2.3.4").principal;
  ASSERT_TRUE(alice && bob);
  EXPECT_EQ(alice->name, "alice");
  EXPECT_EQ(alice->priority_cap, 3);
  EXPECT_EQ(alice->salt.size(), 64u);
  EXPECT_NE(alice->salt, bob->salt);
  EXPECT_EQ(ring.Authorize("a", "9.9.9.9").principal->salt, alice->salt);
  EXPECT_NE(KeyRing({Entry("alice", "a")}).Authorize("a", "").principal->salt, alice->salt);
  EXPECT_FALSE(ring.Authorize("", "1.2.3.4").principal);
  EXPECT_FALSE(ring.Authorize("c", "1.2.3.4").principal);
  ring.Replace({Entry("carol", "c")});
  EXPECT_FALSE(ring.Authorize("a", "1.2.3.4").principal);
  EXPECT_TRUE(ring.Authorize("c", "1.2.3.4").principal);
}

TEST(KeyRing, FailuresOfAnAddressAreLimited) {
  KeyRing ring({Entry("alice", "a")});
  int refused = 0;
  for (int i = 0; i < 40; ++i) refused += ring.Authorize("x", "1.1.1.1").too_many_failures ? 1 : 0;
  EXPECT_GE(refused, 9);
  EXPECT_LE(refused, 10);
  EXPECT_FALSE(ring.Authorize("x", "2.2.2.2").too_many_failures);
  EXPECT_TRUE(ring.Authorize("a", "1.1.1.1").principal);
  for (int i = 0; i < 10000; ++i) ring.Authorize("x", std::to_string(i));  // memory stays bounded
}

// Every route, known or not, with every method: nothing without a key.
TEST(KeyRing, StandsBeforeTheRouter) {
  Router router;
  const Handler hello = [](auto request, auto responder) {
    responder->Send(200, "text/plain", request->principal.name, {});
  };
  for (const char* path : {"/", "/livez", "/metrics", "/v1/models", "/v1/models/{name}"})
    router.Add("GET", path, hello);
  router.Add("POST", "/v1/chat/completions", hello);
  HttpOptions options;
  options.port = 0;
  options.authenticator = std::make_shared<KeyRing>(std::vector{Entry("alice", "secret")});
  auto server = HttpServer::Start(options, &router);
  ASSERT_TRUE(server.ok());
  const int port = (*server)->port();
  const std::string paths[] = {
      "/", "/livez", "/metrics", "/v1/models", "/v1/models/x", "/v1/chat/completions", "/nowhere"};
  int n = 0;
  for (const std::string& path : paths) {
    for (const char* method : {"GET", "POST", "HEAD", "OPTIONS"}) {
      const std::string line = std::string(method) + " " + path + " HTTP/1.1\r\nHost: h\r\n";
      RawClient client(port);
      const RawAnswer without = client.Ask(line + "\r\n");
      EXPECT_EQ(without.status, ++n <= 30 ? 401 : 429) << line;
      EXPECT_TRUE(n > 30 || without.Field("WWW-Authenticate").starts_with("Basic")) << line;
      for (const char* key : {"Authorization: Bearer secret\r\n", "X-Api-Key: secret\r\n",
                              "Authorization: Basic dXNlcjpzZWNyZXQ=\r\n"}) {
        const int status = RawClient(port).Ask(line + key + "\r\n").status;
        EXPECT_TRUE(status != 401 && status != 429) << status << line << key;
      }
    }
  }
  RawClient client(port);
  EXPECT_EQ(client.Ask(Get("/", "Authorization: Bearer secret\r\n")).body, "alice");
  // A body is not waited for.
  EXPECT_EQ(RawClient(port)
                .Ask("POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n")
                .status,
            401);
  // The browser's own password is no leave for pages of other sites.
  const std::string foreign = "Sec-Fetch-Site: cross-site\r\n";
  EXPECT_EQ(RawClient(port)
                .Ask(Post("/v1/chat/completions", "", foreign + "Authorization: Basic dXNlcjpzZWNyZXQ=\r\n"))
                .status,
            403);
  EXPECT_EQ(RawClient(port)
                .Ask(Post("/v1/chat/completions", "", foreign + "Authorization: Bearer secret\r\n"))
                .status,
            200);
}

}  // namespace
}  // namespace lathe::serve
