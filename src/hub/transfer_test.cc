// The client and the downloads against servers in the same process. The whole protocol, against a double that
// the official client works with too, is in tests/hub.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <random>

#include "base/file.h"
#include "hub/pull.h"
#include "hub/test_engine.h"
#include "hub/test_server.h"

namespace lathe::hub {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// No proxy of the machine's may come between.
class HubTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"})
      ::unsetenv(name);
    dir_ = fs::temp_directory_path() / ("lathe_hub_test_" + std::to_string(::getpid()));
    fs::create_directories(dir_);
  }
  void TearDown() override {
    ::unsetenv("http_proxy");
    ::unsetenv("no_proxy");
    fs::remove_all(dir_);
  }

  std::unique_ptr<HttpClient> Client(const std::string& token_url = "", double timeout = 5) {
    HttpOptions options;
    options.idle_timeout = timeout;
    options.user_agent = "test";
    if (!token_url.empty()) {
      options.token = "secret";
      options.token_origin = ParseUrl(token_url)->Origin();
    }
    auto client = HttpClient::Create(options);
    EXPECT_TRUE(client.ok());
    return *std::move(client);
  }

  static HttpRequest Get(const std::string& url) {
    HttpRequest request;
    request.url = *ParseUrl(url);
    return request;
  }

  fs::path dir_;
};

TEST_F(HubTest, KeepsConnectionsAndFindsAClosedOne) {
  std::atomic<int> n{0};
  TestServer server([&](const TestRequest&) { return TestServer::Answer(200, std::to_string(++n)); });
  const auto client = Client();
  for (int i = 1; i <= 3; ++i) EXPECT_EQ(client->Send(Get(server.Url("/a")))->body, std::to_string(i));
  EXPECT_EQ(server.connections(), 1);
  // Closed by the server between two requests, or in the very moment of the second: a new one is made.
  TestServer closing([&](const TestRequest& r) {
    return r.connection == 1 && n > 3 ? "" : TestServer::Answer(200, std::to_string(++n));
  });
  EXPECT_EQ(client->Send(Get(closing.Url()))->body, "4");
  EXPECT_EQ(client->Send(Get(closing.Url()))->body, "5");
  EXPECT_EQ(closing.connections(), 2);
}

TEST_F(HubTest, BodiesOfAllKinds) {
  const std::map<std::string, std::pair<std::string, std::string>> answers = {
      {"/chunked",
       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nTrailer: "
        "t\r\n\r\n",
        "abcdefg"}},
      {"/close", {"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end", "until the end"}},
      {"/interim",
       {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"}},
      {"/empty", {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""}},
  };
  TestServer server([&](const TestRequest& request) { return answers.at(request.target).first; });
  const auto client = Client();
  for (const auto& [path, answer] : answers) {
    const auto response = client->Send(Get(server.Url(path)));
    ASSERT_TRUE(response.ok()) << path << response.status().message();
    EXPECT_EQ(response->body, answer.second) << path;
  }
}

TEST_F(HubTest, AnswersThatAreNone) {
  const std::map<std::string, std::string> answers = {
      {"/nothing", ""},
      {"/other", "SSH-2.0-OpenSSH\r\n\r\n"},
      {"/short", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nabc"},
      {"/half", "HTTP/1.1 200 OK\r\nConnection: close\r\nX: y"},
      {"/long", "HTTP/1.1 200 OK\r\nX: " + std::string(100 << 10, 'x') + "\r\n\r\n"},
      {"/chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"},
  };
  TestServer server([&](const TestRequest& request) { return answers.at(request.target); });
  const auto client = Client();
  for (const auto& [path, answer] : answers)
    EXPECT_EQ(client->Send(Get(server.Url(path))).status().code(), StatusCode::kUnavailable) << path;
  TestServer gzip(
      [](const TestRequest&) { return TestServer::Answer(200, "x", "Content-Encoding: gzip\r\n"); });
  EXPECT_THAT(client->Send(Get(gzip.Url())).status().message(), HasSubstr("told not to"));
}

TEST_F(HubTest, SilenceEnds) {
  std::atomic<bool> stop{false};
  TestServer server([&](const TestRequest&) {
    while (!stop) ::usleep(10'000);
    return std::string();
  });
  const auto response = Client("", 0.2)->Send(Get(server.Url()));
  stop = true;
  EXPECT_EQ(response.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(response.status().message(), HasSubstr("no byte for 0.2 s"));
}

TEST_F(HubTest, RedirectsAndTheToken) {
  TestServer cdn([](const TestRequest&) { return TestServer::Answer(200, "content"); });
  TestServer hub([&](const TestRequest& request) {
    if (request.target == "/same") return TestServer::Answer(302, "moved", "Location: /here?x=1\r\n");
    if (request.target == "/away")
      return TestServer::Answer(302, "", "X-Linked-Size: 7\r\nLocation: " + cdn.Url("/f") + "\r\n");
    if (request.target == "/loop") return TestServer::Answer(301, "", "Location: loop\r\n");
    if (request.target == "/file") return TestServer::Answer(302, "", "Location: file:///etc/passwd\r\n");
    return TestServer::Answer(200, request.target);
  });
  const auto client = Client(hub.Url());
  EXPECT_EQ(client->Send(Get(hub.Url("/same")))->body, "/here?x=1");
  const auto away = client->Send(Get(hub.Url("/away")));
  EXPECT_EQ(away->body, "content");
  EXPECT_EQ(away->FirstHeader("x-linked-size"), "7");
  EXPECT_EQ(away->url.ToString(), cdn.Url("/f"));
  for (const TestRequest& request : hub.requests())
    EXPECT_EQ(request.Header("Authorization"), "Bearer secret");
  EXPECT_EQ(cdn.requests().at(0).Header("Authorization"), "");
  EXPECT_THAT(client->Send(Get(hub.Url("/loop"))).status().message(), HasSubstr("more than 10 times"));
  EXPECT_FALSE(client->Send(Get(hub.Url("/file"))).ok());
  HttpRequest head = Get(hub.Url("/away"));
  head.method = "HEAD";
  head.stay_on_origin = true;
  EXPECT_EQ(cdn.requests().size(), 1u);
}

TEST_F(HubTest, ProxyOfPlainHttp) {
  TestServer proxy([](const TestRequest& request) { return TestServer::Answer(200, request.target); });
  const std::string address = proxy.Url();
  ::setenv("http_proxy", ("http://me:word@" + address.substr(7)).c_str(), 1);
  ::setenv("no_proxy", "localhost, .inside.example", 1);
  EXPECT_EQ(Client()->Send(Get("http://nowhere.example/x"))->body, "http://nowhere.example/x");
  EXPECT_EQ(proxy.requests().at(0).Header("Proxy-Authorization"), "Basic " + Base64("me:word"));
  EXPECT_EQ(Client()->Send(Get("http://a.inside.example:1/x")).status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(proxy.requests().size(), 1u);
}

// A hub with one repository, acme/m, of files in memory, without a CDN.
class MemoryHub {
 public:
  static constexpr char kCommit[] = "0123456789012345678901234567890123456789";

  std::string Serve(const TestRequest& request) {
    const std::string resolve = std::string("/acme/m/resolve/") + kCommit + "/";
    if (request.target == "/api/models/acme/m/revision/main")
      return TestServer::Answer(200, std::string("{\"sha\": \"") + kCommit + "\"}");
    if (request.target.starts_with("/api/models/acme/m/tree/")) return TestServer::Answer(200, List());
    if (!request.target.starts_with(resolve))
      return TestServer::Answer(404, "{}", "X-Error-Code: RepoNotFound\r\n");
    const auto at = files.find(request.target.substr(resolve.size()));
    if (at == files.end()) return TestServer::Answer(404, "{}", "X-Error-Code: EntryNotFound\r\n");
    ++fetches;
    if (fault) {
      if (const std::string instead = fault(request); !instead.empty()) return instead;
    }
    size_t begin = 0, end = at->second.size();
    const std::string range = request.Header("Range");
    if (!range.empty() && std::sscanf(range.c_str(), "bytes=%zu-%zu", &begin, &end) == 2) ++end;
    const std::string body = at->second.substr(begin, end - begin);
    if (range.empty()) return TestServer::Answer(200, body);
    return TestServer::Answer(206, body,
                              "Content-Range: bytes " + std::to_string(begin) + "-" +
                                  std::to_string(end - 1) + "/" + std::to_string(at->second.size()) + "\r\n");
  }

  std::map<std::string, std::string> files;
  std::function<std::string(const TestRequest&)> fault;  // "": none this time
  std::atomic<int> fetches{0};

 private:
  std::string List() const {
    Json list = Json::array();
    for (const auto& [path, content] : files)
      list.push_back({{"type", "file"},
                      {"path", path},
                      {"size", content.size()},
                      {"oid", DigestOf(DigestKind::kGitBlob, content)},
                      {"lfs", {{"oid", DigestOf(DigestKind::kSha256, content)}, {"size", content.size()}}}});
    return DumpJson(list);
  }
};

class PullTest : public HubTest {
 protected:
  void SetUp() override {
    HubTest::SetUp();
    std::mt19937 rng(3);
    std::string weights(20 << 20, '\0');
    for (size_t i = 0; i < weights.size(); i += 4) {
      const uint32_t word = rng();
      std::memcpy(weights.data() + i, &word, 4);
    }
    hub_.files = {{"config.json", "{}"}, {"model.safetensors", weights}, {"x.bin", "pickle"}};
    HubConfig config;
    config.endpoint = *ParseUrl(server_.Url());
    config.endpoint.target = "";
    config.cache_dir = (dir_ / "hub").string();
    config.idle_timeout = 5;
    config.first_retry_delay = 0.01;
    api_ = *HubApi::Create(config);
    options_.want = Want::kWeights;
    options_.download.connections = 3;
  }

  Expected<Pulled> Run() { return Pull(*api_, *ParseRepoName("acme/m"), options_); }

  // Every file that was wanted is there with the right bytes, and nothing half-written.
  void ExpectWhole(const Expected<Pulled>& pulled) {
    ASSERT_TRUE(pulled.ok()) << pulled.status().message();
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(pulled->snapshot)) {
      found.push_back(entry.path().filename().string());
      EXPECT_EQ(*ReadFile(entry.path().string()), hub_.files.at(found.back()));
      EXPECT_TRUE(entry.is_symlink());
    }
    std::sort(found.begin(), found.end());
    EXPECT_THAT(found, ElementsAre("config.json", "model.safetensors"));
    for (const auto& entry : fs::directory_iterator(Blobs()))
      EXPECT_EQ(entry.path().filename().string().find('.'), std::string::npos) << entry.path();
    EXPECT_EQ(*ReadFile((dir_ / "hub/models--acme--m/refs/main").string()), MemoryHub::kCommit);
  }

  fs::path Blobs() const { return dir_ / "hub/models--acme--m/blobs"; }

  MemoryHub hub_;
  TestServer server_{[this](const TestRequest& request) { return hub_.Serve(request); }};
  std::unique_ptr<HubApi> api_;
  PullOptions options_;
};

TEST_F(PullTest, FetchesOnce) {
  uint64_t done = 0, total = 0;
  options_.download.progress = [&](const DownloadProgress& now) {
    done = now.done_bytes;
    total = now.total_bytes;
    return true;
  };
  ExpectWhole(Run());
  EXPECT_EQ(done, total);
  const int fetches = hub_.fetches;
  EXPECT_EQ(fetches, 4);  // one small file, and pieces of 8 MiB
  ExpectWhole(Run());
  EXPECT_EQ(hub_.fetches, fetches);
}

TEST_F(PullTest, CutsAndBusyServers) {
  std::atomic<int> n{0};
  hub_.fault = [&](const TestRequest& request) -> std::string {
    if (request.Header("Range").empty()) return "";
    switch (++n) {
      case 1: return TestServer::Answer(429, "", "Retry-After: 0\r\n");
      case 2: return TestServer::Answer(503, "");
      case 3:
        return "HTTP/1.1 206 x\r\nContent-Length: 100\r\nContent-Range: bytes 7-106/20971520\r\nConnection: "
               "close\r\n\r\n";
      case 4: return "HTTP/1.1 206 x\r\nConnection: close\r\nX";
      default: return "";
    }
  };
  ExpectWhole(Run());
}

TEST_F(PullTest, LengthsThatAreLies) {
  std::atomic<int> n{0};
  hub_.fault = [&](const TestRequest& request) -> std::string {
    unsigned long long begin = 0, last = 0;
    if (std::sscanf(request.Header("Range").c_str(), "bytes=%llu-%llu", &begin, &last) != 2) return "";
    const std::string& file = hub_.files["model.safetensors"];
    const std::string asked = file.substr(begin, last + 1 - begin);
    const std::string range = StrFormat("Content-Range: bytes %llu-%llu/%zu\r\nConnection: close\r\n\r\n",
                                        begin, last, file.size());
    switch (++n) {
      case 1:  // less than it says
        return StrFormat("HTTP/1.1 206 x\r\nContent-Length: %zu\r\n", asked.size()) + range +
               asked.substr(0, 50);
      case 2:  // more than was asked for
        return StrFormat("HTTP/1.1 206 x\r\nContent-Length: %zu\r\n", asked.size() + 9) + range + asked +
               "and more.";
      case 3:  // the whole file and more, and nothing said of how much
        return "HTTP/1.1 200 x\r\nConnection: close\r\n\r\n" + file + "and more.";
      default: return "";
    }
  };
  ExpectWhole(Run());
  EXPECT_GE(n, 4);
}

TEST_F(PullTest, NothingByHttpBesideHttps) {
  HttpOptions options;
  options.token = "secret";
  options.token_origin = "https://hub.example";
  const auto refused =
      (*HttpClient::Create(options))->Send(Get(server_.Url("/api/models/acme/m/revision/main")));
  EXPECT_EQ(refused.status().code(), StatusCode::kUnsupported);
  EXPECT_THAT(refused.status().message(), HasSubstr("an address without TLS (" + server_.Url("/api")));
  EXPECT_TRUE(server_.requests().empty());
}

TEST_F(PullTest, GivesUpAndGoesOnFromThere) {
  hub_.fault = [](const TestRequest& request) {
    return request.Header("Range").starts_with("bytes=1677") ? TestServer::Answer(500, "") : "";
  };
  const auto failed = Run();
  EXPECT_EQ(failed.status().code(), StatusCode::kUnavailable) << failed.status().message();
  EXPECT_FALSE(fs::exists(dir_ / "hub/models--acme--m/refs/main"));
  hub_.fault = nullptr;
  hub_.fetches = 0;
  ExpectWhole(Run());
  EXPECT_LE(hub_.fetches, 3);
}

TEST_F(PullTest, WrongBytes) {
  std::atomic<int> left{1};
  hub_.fault = [&](const TestRequest& request) {
    if (!request.target.ends_with("config.json") || left-- <= 0) return std::string();
    return TestServer::Answer(200, "[]");
  };
  ExpectWhole(Run());
  fs::remove_all(dir_ / "hub");
  left = 100;
  const auto failed = Run();
  EXPECT_EQ(failed.status().code(), StatusCode::kCorrupt);
  EXPECT_THAT(failed.status().message(), HasSubstr("config.json of acme/m came with the hash"));
}

TEST_F(PullTest, AnotherSizeThanListed) {
  hub_.fault = [](const TestRequest& request) {
    return request.target.ends_with("config.json") ? TestServer::Answer(200, "{ }") : std::string();
  };
  EXPECT_THAT(Run().status().message(), HasSubstr("has 2 bytes by the hub's list, but the server has 3"));
}

TEST_F(PullTest, NoRoom) {
  options_.download.free_bytes = [](const std::string&) { return Expected<uint64_t>(uint64_t{20'000'000}); };
  const auto failed = Run();
  EXPECT_EQ(failed.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(failed.status().message(), HasSubstr("needs 21.0 MB more, but the disk of"));
  EXPECT_EQ(hub_.fetches, 0);
  EXPECT_FALSE(fs::exists(Blobs()));
}

TEST_F(PullTest, StopsWhenAsked) {
  options_.download.progress = [](const DownloadProgress& now) { return now.done_bytes == 0; };
  hub_.fault = [](const TestRequest&) {
    ::usleep(50'000);
    return std::string();
  };
  EXPECT_EQ(Run().status().code(), StatusCode::kCancelled);
  options_.download.progress = nullptr;
  ExpectWhole(Run());
}

TEST_F(PullTest, WaitsForWhoeverHoldsTheLock) {
  const std::string etag = DigestOf(DigestKind::kSha256, hub_.files["model.safetensors"]);
  const RepoCache cache((dir_ / "hub").string(), *ParseRepoName("acme/m"));
  ASSERT_TRUE(cache.Prepare(MemoryHub::kCommit).ok());
  auto lock = BlobLock::Try(cache.LockPath(etag));
  ASSERT_TRUE(lock.ok() && lock->has_value());
  EXPECT_FALSE(BlobLock::Try(cache.LockPath(etag))->has_value());
  bool waited = false;
  options_.download.progress = [&](const DownloadProgress& now) {
    if (!now.waiting_for.empty() && lock->has_value()) {
      waited = now.waiting_for == "model.safetensors";
      lock->reset();
    }
    return true;
  };
  ExpectWhole(Run());
  EXPECT_TRUE(waited);
}

TEST_F(PullTest, MissingRepository) {
  const auto missing = Pull(*api_, *ParseRepoName("acme/other"), options_);
  EXPECT_EQ(missing.status().code(), StatusCode::kNotFound);
  EXPECT_THAT(missing.status().message(), HasSubstr("acme/other is not there, or is private"));
}

TEST_F(PullTest, TakesTheEngineThatFits) {
  const auto entry = [](const std::string& name, const std::string& target) {
    EngineEntry engine = TestEngine(target);
    engine.file = name + ".lathe";
    engine.size = name.size();
    engine.sha256 = Sha256Hex(name);
    return engine;
  };
  const EngineEntry here = entry("here", "cpu:avx2"), there = entry("there", "cuda:sm_90a");
  hub_.files["here.lathe"] = "here";
  hub_.files["there.lathe"] = "there";
  hub_.files[kIndexFile] = EngineIndexText({here, there});
  options_.want = Want::kEither;
  options_.fitness = [](const EngineEntry& engine) { return engine.target == "cpu:avx2" ? 1 : -1; };
  const auto fits = Run();
  ASSERT_TRUE(fits.ok()) << fits.status().message();
  EXPECT_EQ(*ReadFile(fits->path), "here");
  EXPECT_FALSE(FileExists(fits->snapshot + "/there.lathe"));
  EXPECT_FALSE(FileExists(fits->snapshot + "/model.safetensors"));
  // None fits: the weights, or, where there are none, a sentence.
  options_.fitness = [](const EngineEntry&) { return -1; };
  const auto weights = Run();
  ASSERT_TRUE(weights.ok());
  EXPECT_EQ(weights->path, weights->snapshot);
  EXPECT_TRUE(FileExists(weights->path + "/model.safetensors"));
  hub_.files.erase("model.safetensors");
  EXPECT_EQ(Run().status().code(), StatusCode::kMismatch);
  // An entry whose file is another by now is none.
  options_.fitness = [](const EngineEntry&) { return 1; };
  hub_.files["here.lathe"] = "HERE";
  hub_.files["there.lathe"] = "THERE";
  EXPECT_FALSE(Run().ok());
}

}  // namespace
}  // namespace lathe::hub
