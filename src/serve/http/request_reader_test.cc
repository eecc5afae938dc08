#include "serve/http/request_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace lathe::serve {
namespace {

using State = RequestReader::State;

// Feeds `bytes` in pieces of `piece`; requests that came out, then the state at the end.
std::vector<HttpRequest> FeedAll(RequestReader& reader, std::string_view bytes, size_t piece) {
  std::vector<HttpRequest> out;
  std::string pending;
  while (!bytes.empty() || !pending.empty()) {
    const size_t n = std::min(piece, bytes.size());
    pending.append(bytes.substr(0, n));
    bytes.remove_prefix(n);
    bool progress = n > 0;
    while (true) {
      const size_t used = reader.Feed(pending);
      pending.erase(0, used);
      if (reader.state() == State::kFault) return out;
      if (reader.state() == State::kDone) {
        out.push_back(reader.Take());
        progress = true;
      } else if (used == 0) {
        break;
      } else {
        progress = true;
      }
    }
    if (!progress) break;
  }
  return out;
}

TEST(RequestReader, AnyCutOfAPipelineGivesTheSameRequests) {
  const std::string bytes =
      "\r\nGET /a?x=1 HTTP/1.1\r\nHost: h\r\nX-One:  two \r\n\r\n"
      "POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
      "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
      "3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n"
      "GET /d HTTP/1.0\r\n\r\n";
  for (const size_t piece : {size_t{1}, size_t{2}, size_t{3}, size_t{7}, size_t{50}, bytes.size()}) {
    RequestReader reader({});
    const auto requests = FeedAll(reader, bytes, piece);
    ASSERT_EQ(requests.size(), 4u) << "piece " << piece;
    EXPECT_EQ(requests[0].path, "/a");
    EXPECT_EQ(requests[0].query, "x=1");
    EXPECT_EQ(requests[0].Header("x-one"), "two");
    EXPECT_EQ(requests[1].body, "hello");
    EXPECT_EQ(requests[2].body, "abcde");
    EXPECT_EQ(requests[2].Header("trailer"), "");
    EXPECT_EQ(requests[3].path, "/d");
    EXPECT_EQ(reader.state(), State::kHead);
  }
}

TEST(RequestReader, Refusals) {
  const std::string host = "Host: h\r\n";
  const struct {
    std::string bytes;
    int status;
  } cases[] = {
      {"\x16\x03\x01\x02 not http\r\n\r\n", 400},
      {"GET / HTTP/2.0\r\n" + host + "\r\n", 505},
      {"GET / HTTP/1.1\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n" + host + host + "\r\n", 400},
      {"GET /%zz HTTP/1.1\r\n" + host + "\r\n", 400},
      {"GET /\x01 HTTP/1.1\r\n" + host + "\r\n", 400},
      {"GET / HTTP/1.1\r\n" + host + "bad field: x\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n" + host + ": x\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n" + host + "x: a\x01" + "b\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\n" + host + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400},
      {"POST / HTTP/1.1\r\n" + host + "Content-Length: -1\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\n" + host + "Content-Length: 99999999999999999999\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\n" + host + "Content-Length: 8388609\r\n\r\n", 413},
      {"POST / HTTP/1.1\r\n" + host + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
       400},
      {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
       400},
      {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip\r\n\r\n", 501},
      {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
      {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked, gzip\r\n\r\n", 501},
      {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501},
      {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400},
      {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n3\r\nabcdefg\r\n", 400},
      {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", 400},
      {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n800001\r\n", 413},
      {"GET / HTTP/1.1\r\n" + host + "X: " + std::string(17 << 10, 'x') + "\r\n\r\n", 431},
      {"GET /" + std::string(17 << 10, 'x') + " HTTP/1.1\r\n" + host + "\r\n", 431},
  };
  for (const auto& c : cases) {
    for (const size_t piece : {size_t{1}, c.bytes.size()}) {
      RequestReader reader({});
      EXPECT_TRUE(FeedAll(reader, c.bytes, piece).empty());
      ASSERT_EQ(reader.state(), State::kFault) << c.bytes.substr(0, 120);
      EXPECT_EQ(reader.fault().status, c.status) << c.bytes.substr(0, 120);
      EXPECT_FALSE(reader.fault().code.empty());
    }
  }
}

TEST(RequestReader, TooManyFields) {
  std::string bytes = "GET / HTTP/1.1\r\nHost: h\r\n";
  for (int i = 0; i < 200; ++i) bytes += "a: b\r\n";
  RequestReader reader({});
  FeedAll(reader, bytes + "\r\n", bytes.size());
  ASSERT_EQ(reader.state(), State::kFault);
  EXPECT_EQ(reader.fault().status, 431);
}

TEST(RequestReader, ChunkedBodyStopsAtItsLimit) {
  RequestReader reader({.header_bytes = 1024, .body_bytes = 10});
  FeedAll(reader,
          "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: "
          "chunked\r\n\r\n6\r\nabcdef\r\n6\r\nabcdef\r\n0\r\n\r\n",
          1000);
  ASSERT_EQ(reader.state(), State::kFault);
  EXPECT_EQ(reader.fault().status, 413);
}

TEST(RequestReader, KeepAlive) {
  const struct {
    const char* bytes;
    bool keep;
  } kCases[] = {
      {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", true},
      {"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", false},
      {"GET / HTTP/1.0\r\n\r\n", false},
      {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true},
  };
  for (const auto& c : kCases) {
    RequestReader reader({});
    reader.Feed(c.bytes);
    ASSERT_EQ(reader.state(), State::kDone);
    EXPECT_EQ(reader.keep_alive(), c.keep) << c.bytes;
  }
}

}  // namespace
}  // namespace lathe::serve
