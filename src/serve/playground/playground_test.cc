#include "serve/playground/playground.h"

#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <sstream>

#include "serve/playground/embedded.h"

namespace lathe::serve {
namespace {

class OneAnswer : public Responder {
 public:
  void Send(int s, std::string_view t, std::string b, HeaderList extra) override {
    status = s;
    type = t;
    body = std::move(b);
    headers = std::move(extra);
  }
  void StartStream(int, std::string_view, HeaderList) override {}
  bool Write(std::string) override { return false; }
  void Finish() override {}
  void OnDisconnect(std::function<void()>) override {}
  bool disconnected() const override { return false; }

  std::string Header(std::string_view name) const {
    for (const auto& [key, value] : headers) {
      if (key == name) return value;
    }
    return "";
  }

  int status = 0;
  std::string type, body;
  HeaderList headers;
};

OneAnswer Get(const Router& router, const std::string& path, HeaderList headers = {}) {
  auto answer = std::make_shared<OneAnswer>();
  const auto match = router.Find("GET", path);
  if (match.route == nullptr) return *answer;
  auto request = std::make_shared<HttpRequest>();
  request->headers = std::move(headers);
  match.route->handler(request, answer);
  return *answer;
}

std::string ReadPageFile(std::string_view name) {
  std::ifstream in(std::string(LATHE_SOURCE_DIR "/src/serve/playground/page/") + std::string(name),
                   std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

TEST(Playground, ServesItsFiles) {
  Router router;
  RegisterPlayground(&router);
  const struct {
    const char *path, *file, *type;
  } kCases[] = {
      {"/", "index.html", "text/html; charset=utf-8"},
      {"/playground/style.css", "style.css", "text/css; charset=utf-8"},
      {"/playground/app.js", "app.js", "text/javascript; charset=utf-8"},
      {"/playground/icon.svg", "icon.svg", "image/svg+xml"},
  };
  EXPECT_EQ(std::size(kCases), PlaygroundFiles().size());
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.path);
    const OneAnswer whole = Get(router, c.path);
    EXPECT_EQ(whole.status, 200);
    EXPECT_EQ(whole.type, c.type);
    EXPECT_EQ(whole.body, ReadPageFile(c.file));
    EXPECT_FALSE(whole.body.empty());
    const std::string policy = whole.Header("Content-Security-Policy");
    EXPECT_TRUE(policy.starts_with("default-src 'none'; ")) << policy;
    EXPECT_EQ(policy.find("unsafe"), std::string::npos);

    const std::string tag = whole.Header("ETag");
    ASSERT_EQ(tag.size(), 18u);
    for (const std::string& known : {tag, "W/\"x\", " + tag, std::string("*")}) {
      const OneAnswer same = Get(router, c.path, {{"if-none-match", known}});
      EXPECT_EQ(same.status, 304);
      EXPECT_EQ(same.body, "");
      EXPECT_EQ(same.Header("ETag"), tag);
    }
    EXPECT_EQ(Get(router, c.path, {{"if-none-match", "\"0\""}}).status, 200);
  }
  EXPECT_EQ(Get(router, "/playground/other.js").status, 0);
}

TEST(Playground, AsksNobodyElseAndInsertsNoMarkup) {
  size_t size = 0;
  std::string all;
  for (const EmbeddedFile& file : PlaygroundFiles()) {
    size += file.bytes.size();
    all += file.bytes;
  }
  EXPECT_LT(size, 60u * 1024);
  printf("playground: %zu bytes\n", size);

  const std::string svg_namespace = "http://www.w3.org/2000/svg";  // a name; nothing is fetched from it
  for (size_t at; (at = all.find(svg_namespace)) != std::string::npos;) all.erase(at, svg_namespace.size());
  for (const char* forbidden :
       {"://", "src=\"//", "href=\"//", "url(", "@import", "innerHTML", "outerHTML", "insertAdjacentHTML",
        "document.write", "eval(", "new Function", "style=\"", "<style", "javascript:", "srcdoc"}) {
    EXPECT_EQ(all.find(forbidden), std::string::npos) << forbidden;
  }
  EXPECT_FALSE(std::regex_search(all, std::regex("<[a-z][^>]*\\son[a-z]+=")));
}

TEST(Playground, EveryReferenceExists) {
  Router router;
  RegisterPlayground(&router);
  const std::string page = ReadPageFile("index.html"), script = ReadPageFile("app.js");
  const std::regex local("(?:src|href)=\"(/[^\"]+)\"");
  int n = 0;
  for (auto it = std::sregex_iterator(page.begin(), page.end(), local); it != std::sregex_iterator();
       ++it, ++n) {
    EXPECT_EQ(Get(router, (*it)[1]).status, 200) << (*it)[1];
  }
  EXPECT_GE(n, 4);
  const std::regex by_id("\\$\\(\"([a-z-]+)\"\\)");
  for (auto it = std::sregex_iterator(script.begin(), script.end(), by_id); it != std::sregex_iterator();
       ++it) {
    EXPECT_NE(page.find("id=\"" + (*it)[1].str() + "\""), std::string::npos) << (*it)[1];
  }
}

}  // namespace
}  // namespace lathe::serve
