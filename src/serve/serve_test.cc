#include <gtest/gtest.h>

#include "base/json.h"
#include "serve/log.h"
#include "serve/quote.h"
#include "serve/router.h"

namespace lathe::serve {
namespace {

TEST(HttpRequest, LooksUpByName) {
  HttpRequest request;
  request.headers = {{"a", "1"}, {"b", "2"}, {"a", "3"}};
  request.path_args = {{"name", "x"}};
  EXPECT_EQ(request.Header("a"), "1");
  EXPECT_EQ(request.Header("c"), "");
  EXPECT_EQ(request.PathArg("name"), "x");
  EXPECT_EQ(request.PathArg("other"), "");
}

TEST(Router, FindsRoutes) {
  Router router;
  const Handler none = [](auto, auto) {};
  router.Add("GET", "/", none);
  router.Add("GET", "/v1/models", none);
  router.Add("GET", "/v1/models/{name}", none);
  router.Add("POST", "/v2/models/{name}/generate", none);
  router.Add("DELETE", "/v1/models/{name}", none);
  const struct {
    const char *method, *path;
    int route;  // -1: none
    bool known;
    const char* arg;
  } kCases[] = {
      {"GET", "/", 0, true, ""},
      {"HEAD", "/v1/models", 1, true, ""},
      {"GET", "/v1/models/a.b-c_D9", 2, true, "a.b-c_D9"},
      {"DELETE", "/v1/models/x", 4, true, "x"},
      {"POST", "/v2/models/x/generate", 3, true, "x"},
      {"PUT", "/v1/models/x", -1, true, ""},
      {"GET", "/v1/models/", -1, false, ""},
      {"GET", "/v1/models/a b", -1, false, ""},
      {"GET", "/v1/models/a/b", -1, false, ""},
      {"GET", "/v1/models/../x", -1, false, ""},
      {"GET", "//v1/models", -1, false, ""},
      {"GET", "", -1, false, ""},
      {"GET", "/V1/models", -1, false, ""},
      {"HEAD", "/v2/models/x/generate", -1, true, ""},
  };
  for (const auto& c : kCases) {
    const Router::Match match = router.Find(c.method, c.path);
    const Route* want = c.route < 0 ? nullptr : &router.routes()[static_cast<size_t>(c.route)];
    EXPECT_EQ(match.route, want) << c.method << " " << c.path;
    EXPECT_EQ(match.path_known, c.known) << c.method << " " << c.path;
    EXPECT_EQ(match.path_args.empty() ? "" : match.path_args[0].second, c.arg) << c.path;
  }
  EXPECT_EQ(router.Find("PUT", "/v1/models/x").allow, "GET, HEAD, DELETE");
}

TEST(Quote, AnyBytesBecomeOneLineOfJson) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  const std::string quoted = QuoteJson(bytes);
  const auto parsed = ParseJson(quoted, "quoted");
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  for (const char c : quoted) EXPECT_TRUE(c >= ' ' && c < 0x7f);
  const auto error = ParseJson(ErrorJson("a \"b\"", ErrorType(401), "c"), "error");
  ASSERT_TRUE(error.ok());
  EXPECT_EQ((*error)["error"]["message"], "a \"b\"");
  EXPECT_EQ((*error)["error"]["type"], "authentication_error");
  EXPECT_TRUE((*error)["error"]["param"].is_null());
}

TEST(Log, LinesOfBothKinds) {
  const int64_t time = 1767225600123;  // 2026-01-01
  EXPECT_EQ(FormatLogLine(time, LogLevel::kInfo, "http",
                          {{"id", "a"}, {"path", "/x y"}, {"empty", ""}, {"n", 3}, {"s", 0.5}, {"ok", true}},
                          false),
            "2026-01-01T00:00:00.123Z info http id=a path=\"/x y\" n=3 s=0.5 ok=true");
  EXPECT_EQ(FormatLogLine(time, LogLevel::kError, "x", {{"id", "a\n\"b"}, {"n", uint64_t{7}}}, true),
            "{\"ts\":\"2026-01-01T00:00:00.123Z\",\"level\":\"error\",\"event\":\"x\",\"id\":"
            "\"a\\u000a\\\"b\",\"n\":7}");
  EXPECT_EQ(FormatLogLine(time, LogLevel::kWarn, "x", {{"id", "a\nb=c"}}, false),
            "2026-01-01T00:00:00.123Z warn x id=\"a\\u000ab=c\"");
}

TEST(Log, WritesWhatItsLevelAllowsAndIsSilentAfterwards) {
  testing::internal::CaptureStderr();
  Log(LogLevel::kError, "before", {});
  StartLog({.level = LogLevel::kWarn, .json = true});
  Log(LogLevel::kInfo, "too_low", {});
  for (int i = 0; i < 100; ++i) Log(LogLevel::kWarn, "line", {{"i", i}});
  StopLog();
  Log(LogLevel::kError, "after", {});
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 100);
  EXPECT_NE(text.find("\"i\":99}"), std::string::npos);
  EXPECT_EQ(text.find("before"), std::string::npos);
  EXPECT_EQ(text.find("too_low"), std::string::npos);
  EXPECT_EQ(text.find("after"), std::string::npos);
}

}  // namespace
}  // namespace lathe::serve
