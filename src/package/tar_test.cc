#include "package/tar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include "package/gzip.h"

namespace lathe::package {
namespace {

using ::testing::HasSubstr;

Sink Into(std::string* out) {
  return [out](std::span<const std::byte> bytes) {
    out->append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return Status::Ok();
  };
}

std::string Octal(const std::string& archive, size_t offset, size_t size) {
  return archive.substr(offset, size).c_str();
}

// The sum that a reader takes: with blanks where the sum stands.
unsigned HeaderSum(const std::string& archive, size_t at) {
  unsigned sum = 0;
  for (size_t i = 0; i < 512; ++i)
    sum += i >= 148 && i < 156 ? 32u : static_cast<unsigned char>(archive[at + i]);
  return sum;
}

TEST(Tar, BytesOfAFolderAndAFile) {
  std::string out;
  TarWriter tar(Into(&out), 1234567890);
  ASSERT_TRUE(tar.Begin({.path = "usr", .folder = true, .mode = 0755}).ok());
  ASSERT_TRUE(tar.Begin({.path = "usr/x", .mode = 0640, .size = 5}).ok());
  ASSERT_TRUE(tar.Append("hello").ok());
  ASSERT_TRUE(tar.Finish().ok());
  ASSERT_EQ(out.size(), 5u * 512);  // folder, file, its content, two of zeros
  EXPECT_EQ(Octal(out, 0, 100), "usr/");
  EXPECT_EQ(out[156], '5');
  EXPECT_EQ(Octal(out, 100, 8), "0000755");
  const std::string file = out.substr(512);
  EXPECT_EQ(Octal(file, 0, 100), "usr/x");
  EXPECT_EQ(Octal(file, 100, 8), "0000640");
  EXPECT_EQ(Octal(file, 108, 8), "0000000");
  EXPECT_EQ(Octal(file, 116, 8), "0000000");
  EXPECT_EQ(Octal(file, 124, 12), "00000000005");
  EXPECT_EQ(Octal(file, 136, 12), "11145401322");  // 1234567890
  EXPECT_EQ(file[156], '0');
  EXPECT_EQ(file.substr(257, 8), std::string("ustar\00000", 8));
  EXPECT_EQ(file.substr(512, 6), std::string("hello\0", 6));
  for (const size_t at : {size_t{0}, size_t{512}})
    EXPECT_EQ(std::stoul(Octal(out, at + 148, 7), nullptr, 8), HeaderSum(out, at));
  EXPECT_EQ(out.substr(3 * 512), std::string(1024, '\0'));
}

TEST(Tar, LongNamesAndLargeFilesHavePaxRecords) {
  std::string out;
  const std::string path = std::string(60, 'a') + "/" + std::string(60, 'b');
  TarWriter tar(Into(&out), 0);
  ASSERT_TRUE(tar.Begin({.path = path, .size = uint64_t{1} << 33}).ok());
  ASSERT_EQ(out.size(), 3u * 512);  // the records' header, the records, the file's header
  EXPECT_EQ(out[156], 'x');
  EXPECT_THAT(out.substr(512, 512), HasSubstr("131 path=" + path + "\n"));
  EXPECT_THAT(out.substr(512, 512), HasSubstr("19 size=8589934592\n"));
  EXPECT_EQ(Octal(out, 1024, 100), path.substr(0, 100));
  // One byte less needs none.
  std::string smaller;
  TarWriter plain(Into(&smaller), 0);
  ASSERT_TRUE(plain.Begin({.path = "b", .size = (uint64_t{1} << 33) - 1}).ok());
  EXPECT_EQ(smaller.size(), 512u);
  EXPECT_EQ(Octal(smaller, 124, 12), "77777777777");
}

TEST(Tar, PathsThatCouldLeaveTheRootAreRefused) {
  for (const char* path : {"", "/etc/passwd", "../x", "a/../b", "a//b", "a/", ".", "a/.", "a\nb"}) {
    std::string out;
    TarWriter tar(Into(&out), 0);
    EXPECT_EQ(tar.Begin({.path = path}).code(), StatusCode::kInvalidArgument) << path;
    EXPECT_EQ(out, "");
  }
  for (const char* path : {"a", "a/b", "..a", "a..b/c...", ".dockerignore", "größe"}) {
    EXPECT_TRUE(IsSafePath(path)) << path;
  }
}

TEST(Tar, FaultsOfTheSinkAreHandedOn) {
  TarWriter tar([](std::span<const std::byte>) { return Status(StatusCode::kIo, "full"); }, 0);
  EXPECT_EQ(tar.Begin({.path = "a"}).message(), "full");
}

std::string Inflated(const std::string& gzip) {
  z_stream stream{};
  EXPECT_EQ(inflateInit2(&stream, 31), Z_OK);
  std::string out(size_t{4} << 20, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(gzip.data()));
  stream.avail_in = static_cast<uInt>(gzip.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(inflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  inflateEnd(&stream);
  return out;
}

TEST(Gzip, ComesBackAndNamesNoTime) {
  std::string text;
  for (int i = 0; i < 200000; ++i) text += std::to_string(i * 2654435761u % 1000003);
  std::string whole, pieces;
  {
    GzipWriter gzip(Into(&whole));
    ASSERT_TRUE(gzip.Append(std::as_bytes(std::span(text))).ok());
    ASSERT_TRUE(gzip.Finish().ok());
  }
  {
    GzipWriter gzip(Into(&pieces));
    for (size_t at = 0; at < text.size(); at += 4099)
      ASSERT_TRUE(
          gzip.Append(std::as_bytes(std::span(text).subspan(at, std::min<size_t>(4099, text.size() - at))))
              .ok());
    ASSERT_TRUE(gzip.Finish().ok());
  }
  EXPECT_EQ(Inflated(whole), text);
  EXPECT_EQ(whole, pieces);  // however the bytes came
  // RFC 1952: deflate, no flags, time 0, no speed, Unix.
  EXPECT_EQ(whole.substr(0, 10), std::string("\x1f\x8b\x08\0\0\0\0\0\0\x03", 10));
  std::string empty;
  GzipWriter gzip(Into(&empty));
  ASSERT_TRUE(gzip.Finish().ok());
  EXPECT_EQ(Inflated(empty), "");
}

}  // namespace
}  // namespace lathe::package
