#include "serve/http/fields.h"

#include <gtest/gtest.h>

#include "serve/http/head.h"

namespace lathe::serve {
namespace {

TEST(Fields, RequestIds) {
  EXPECT_TRUE(IsRequestId("a.B_9-"));
  EXPECT_TRUE(IsRequestId(std::string(64, 'x')));
  for (const std::string& bad : {std::string(), std::string(65, 'x'), std::string("a b"), std::string("a\nb"),
                                 std::string("ä"), std::string("<script>")}) {
    EXPECT_FALSE(IsRequestId(bad)) << bad;
  }
  EXPECT_TRUE(IsRequestId(NewRequestId()));
  EXPECT_NE(NewRequestId(), NewRequestId());
}

TEST(Fields, TraceParents) {
  const std::string id = "4bf92f3577b34da6a3ce929d0e0e4736";
  const struct {
    const char* value;
    bool good;
  } kCases[] = {
      {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true},
      {"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra", true},
      {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra", false},
      {"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false},
      {"00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false},
      {"00-00000000000000000000000000000000-00f067aa0ba902b7-01", false},
      {"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false},
      {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0", false},
      {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g", false},
      {"00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false},
      {"", false},
  };
  for (const auto& c : kCases) EXPECT_EQ(TraceId(c.value), c.good ? id : "") << c.value;
}

TEST(Fields, KeysOfAuthorization) {
  EXPECT_EQ(KeyOfAuthorization("Bearer abc"), "abc");
  EXPECT_EQ(KeyOfAuthorization("bearer  abc"), "abc");
  EXPECT_EQ(KeyOfAuthorization("Basic dXNlcjprZXk="), "key");  // user:key
  EXPECT_EQ(KeyOfAuthorization("Basic dXNlcjprOmV5"), "k:ey");
  EXPECT_EQ(KeyOfAuthorization("Basic a2V5Og=="), "key");  // key:
  for (const char* bad :
       {"", "Bearer", "Basic", "Basic ", "Basic !!!!", "Basic a2V5", "Digest x", "Bearerabc"}) {
    EXPECT_EQ(KeyOfAuthorization(bad), std::nullopt) << bad;
  }
}

TEST(Fields, Targets) {
  EXPECT_EQ(ParseTarget("/a%20b?q=%20")->path, "/a b");
  EXPECT_EQ(ParseTarget("/a%20b?q=%20")->query, "q=%20");
  EXPECT_EQ(ParseTarget("http://host:1/x?y")->path, "/x");
  EXPECT_EQ(ParseTarget("http://host")->path, "/");
  EXPECT_EQ(ParseTarget("/a#b")->path, "/a");
  for (const char* bad : {"", "x", "/%", "/%0", "/%zz", "/%00", "host:80", "**"}) {
    EXPECT_FALSE(ParseTarget(bad).has_value()) << bad;
  }
}

TEST(Fields, LocalHostNames) {
  for (const char* good :
       {"localhost", "LocalHost:8000", "a.localhost", "127.0.0.1:80", "[::1]:80", "10.0.0.7"}) {
    EXPECT_TRUE(IsLocalHostName(good)) << good;
  }
  for (const char* bad :
       {"", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[::1", "1.2.3"}) {
    EXPECT_FALSE(IsLocalHostName(bad)) << bad;
  }
}

TEST(Head, FieldsCannotBreakOut) {
  const std::string head = FormatHead({.status = 200, .content_type = "a/b\r\nX: 1", .request_id = "id"},
                                      {{"Y", "1\r\nZ: 2"}, {"Cache-Control", "max-age=5"}});
  EXPECT_EQ(head.find("\r\nX:"), std::string::npos);
  EXPECT_EQ(head.find("\r\nZ:"), std::string::npos);
  EXPECT_NE(head.find("Cache-Control: max-age=5"), std::string::npos);
  EXPECT_EQ(head.find("no-store"), std::string::npos);
  EXPECT_TRUE(head.ends_with("\r\n\r\n"));
}

}  // namespace
}  // namespace lathe::serve
