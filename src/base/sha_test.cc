#include "base/sha.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"

namespace lathe {
namespace {

constexpr char kAbc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr char kMillion[] = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

// The examples of FIPS 180.
TEST(Sha, Answers) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), kAbc);
  EXPECT_EQ(HexText(Sha256Of("abc")), kAbc);
  Sha sha1(Sha::Kind::kSha1);
  sha1.Update("abc");
  EXPECT_EQ(sha1.Finish(), "a9993e364706816aba3e25717850c26c9cd0d89d");
}

TEST(Sha, InPieces) {
  Sha sha;
  const std::string thousand(1000, 'a');
  for (int i = 0; i < 500; ++i) sha.Update(thousand);
  Sha moved(std::move(sha));
  for (int i = 0; i < 500; ++i) moved.Update(std::as_bytes(std::span(thousand)));
  Sha assigned(Sha::Kind::kSha1);
  assigned = std::move(moved);
  EXPECT_EQ(assigned.Finish(), kMillion);
}

TEST(Sha, OfFiles) {
  const std::string path = testing::TempDir() + "/sha_test.bin";
  ASSERT_TRUE(WriteFileAtomic(path, std::string(999'999, 'a')).ok());
  Sha sha;
  sha.Update("a");
  ASSERT_TRUE(sha.UpdateFromFile(path).ok());
  EXPECT_EQ(sha.Finish(), kMillion);
  std::filesystem::remove(path);
  Sha other;
  const Status missing = other.UpdateFromFile(path);
  EXPECT_EQ(missing.code(), StatusCode::kNotFound);
  EXPECT_NE(missing.message().find(path), std::string::npos);
  EXPECT_EQ(other.UpdateFromFile(testing::TempDir()).code(), StatusCode::kIo);
}

}  // namespace
}  // namespace lathe
