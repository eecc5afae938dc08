// safetensors: what is written reads back; whatever contradicts the format is refused with its words.
#include "formats/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/rng.h"
#include "formats/safetensors_writer.h"

namespace lathe {
namespace {

using ::testing::HasSubstr;

// Length field, header and `data_size` bytes of data.
std::string FileBytes(const std::string& header, size_t data_size) {
  std::string out(8, '\0');
  for (size_t i = 0; i < 8; ++i) out[i] = static_cast<char>((header.size() >> (8 * i)) & 0xff);
  return out + header + std::string(data_size, 'x');
}

Expected<std::vector<SafetensorsEntry>> Parse(const std::string& bytes) {
  return ParseSafetensors(std::as_bytes(std::span(bytes)), "f");
}

constexpr char kGood[] =
    R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2],"data_offsets":[12,20]},)"
    R"("a":{"data_offsets":[0,12],"shape":[2,3],"dtype":"BF16"},"e":{"dtype":"I8","shape":[0,4],"data_offsets":[20,20]}}  )";

TEST(Safetensors, ReadsEntriesByOffset) {
  const auto entries = Parse(FileBytes(kGood, 20));
  ASSERT_TRUE(entries.ok()) << entries.status().message();
  ASSERT_EQ(entries->size(), 3u);
  const uint64_t data = 8 + sizeof kGood - 1;
  const SafetensorsEntry& a = (*entries)[0];
  EXPECT_EQ(a.name, "a");
  EXPECT_EQ(a.dtype, DType::kBf16);
  EXPECT_EQ(a.shape, Shape({2, 3}));
  EXPECT_EQ(a.begin, data);
  EXPECT_EQ(a.end, data + 12);
  EXPECT_EQ((*entries)[1].name, "b");
  EXPECT_EQ((*entries)[1].begin, data + 12);
  EXPECT_EQ((*entries)[2].shape, Shape({0, 4}));
  EXPECT_TRUE(Parse(FileBytes("{}", 0)).ok());
}

struct Hostile {
  const char* what;
  std::string header;
  size_t data;
  const char* message;
};

std::string One(const std::string& fields) { return R"({"t":{)" + fields + "}}"; }

TEST(Safetensors, RefusesEveryContradiction) {
  const std::string f32 = R"("dtype":"F32",)";
  const Hostile cases[] = {
      {"not JSON", "{\"t\":", 0, "not valid JSON at byte"},
      {"not an object", "[]", 0, "an array where the format allows none"},
      {"bare number", "7", 0, "a number where"},
      {"trailing text", "{} {}", 0, "not valid JSON"},
      {"invalid UTF-8", "{\"\xff\":{}}", 0, "not valid JSON"},
      {"entry not an object", R"({"t":[1]})", 0, "'t' has an array"},
      {"metadata not strings", R"({"__metadata__":{"a":1}})", 0, "a number where"},
      {"nested metadata", R"({"__metadata__":{"a":{}}})", 0, "an object where"},
      {"duplicate name", R"({"t":{"dtype":"I8","shape":[],"data_offsets":[0,1]},"t":{}})", 1,
       "names 't' twice"},
      {"duplicate metadata", R"({"__metadata__":{},"__metadata__":{}})", 0, "names '__metadata__' twice"},
      {"duplicate field", One(f32 + f32 + R"("shape":[1],"data_offsets":[0,4])"), 4, "has the key 'dtype'"},
      {"unknown field", One(f32 + R"("shape":[1],"data_offsets":[0,4],"more":1)"), 4, "has the key 'more'"},
      {"no dtype", One(R"("shape":[1],"data_offsets":[0,4])"), 4, "lacks dtype"},
      {"no shape", One(f32 + R"("data_offsets":[0,4])"), 4, "lacks dtype, shape"},
      {"no offsets", One(f32 + R"("shape":[1])"), 4, "lacks dtype, shape or data_offsets"},
      {"unknown dtype", One(R"("dtype":"F4","shape":[1],"data_offsets":[0,4])"), 4, "element type 'F4'"},
      {"dtype not a string", One(R"("dtype":3,"shape":[1],"data_offsets":[0,4])"), 4, "a number where"},
      {"five dimensions", One(f32 + R"("shape":[1,1,1,1,1],"data_offsets":[0,4])"), 4,
       "more than 4 dimensions"},
      {"negative dimension", One(f32 + R"("shape":[-1],"data_offsets":[0,4])"), 4, "negative number -1"},
      {"fractional dimension", One(f32 + R"("shape":[1.5],"data_offsets":[0,4])"), 4, "the number 1.5"},
      {"dimension above int64", One(f32 + R"("shape":[9223372036854775808],"data_offsets":[0,4])"), 4,
       "dimension of 9223372036854775808"},
      {"dimension above uint64", One(f32 + R"("shape":[99999999999999999999],"data_offsets":[0,4])"), 4,
       "the number 99999999999999999999"},
      {"overflowing shape", One(f32 + R"("shape":[4294967296,4294967296],"data_offsets":[0,4])"), 4,
       "too large"},
      {"overflowing bytes", One(f32 + R"("shape":[4611686018427387904],"data_offsets":[0,4])"), 4,
       "too large"},
      {"one offset", One(f32 + R"("shape":[1],"data_offsets":[0])"), 4, "not two numbers"},
      {"three offsets", One(f32 + R"("shape":[1],"data_offsets":[0,4,4])"), 4, "a number where"},
      {"negative offset", One(f32 + R"("shape":[1],"data_offsets":[-4,0])"), 4, "negative number -4"},
      {"offsets reversed", One(f32 + R"("shape":[1],"data_offsets":[4,0])"), 4, "[4, 0) of the data"},
      {"past the end", One(f32 + R"("shape":[2],"data_offsets":[0,8])"), 4, "cut short"},
      {"offset near 2^64",
       One(f32 + R"("shape":[1],"data_offsets":[18446744073709551612,18446744073709551615])"), 4,
       "cut short"},
      {"range unlike shape", One(f32 + R"("shape":[1],"data_offsets":[0,8])"), 8, "needs 4 bytes"},
      {"data after the last", One(f32 + R"("shape":[1],"data_offsets":[0,4])"), 5, "goes on to byte 5"},
      {"gap",
       R"({"a":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"I8","shape":[2],"data_offsets":[3,5]}})",
       5, "leaving a gap after byte 2"},
      {"gap at the start", One(R"("dtype":"I8","shape":[2],"data_offsets":[1,3])"), 3,
       "leaving a gap after byte 0"},
      {"overlap",
       R"({"a":{"dtype":"I8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"I8","shape":[3],"data_offsets":[2,5]}})",
       5, "overlapping byte 3"},
      {"same range twice",
       R"({"a":{"dtype":"I8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"I8","shape":[3],"data_offsets":[0,3]}})",
       3, "overlapping byte 3"},
      {"deep nesting", One(f32 + R"("shape":[[[[1]]]],"data_offsets":[0,4])"), 4, "an array where"},
      {"null", R"({"t":null})", 0, "null where"},
      {"boolean", R"({"t":true})", 0, "a boolean where"},
  };
  for (const Hostile& c : cases) {
    const auto entries = Parse(FileBytes(c.header, c.data));
    ASSERT_FALSE(entries.ok()) << c.what;
    EXPECT_THAT(entries.status().message(), HasSubstr(c.message)) << c.what;
    EXPECT_THAT(entries.status().message(), ::testing::StartsWith("f: ")) << c.what;
  }
}

TEST(Safetensors, RefusesHostileLengthsWithoutAllocating) {
  EXPECT_THAT(Parse("").status().message(), HasSubstr("0 bytes are too few"));
  EXPECT_THAT(Parse("1234567").status().message(), HasSubstr("too few"));
  for (const uint64_t length :
       {uint64_t{3}, kMaxSafetensorsHeader + 1, uint64_t{1} << 40, ~uint64_t{0}, ~uint64_t{0} - 8}) {
    std::string bytes = FileBytes("{}", 0);
    for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>((length >> (8 * i)) & 0xff);
    EXPECT_THAT(Parse(bytes).status().message(), HasSubstr("the header should have")) << length;
  }
}

TEST(Safetensors, RefusesEveryTruncation) {
  const std::string whole = FileBytes(kGood, 20);
  for (size_t size = 0; size < whole.size(); ++size)
    ASSERT_FALSE(Parse(whole.substr(0, size)).ok()) << "of " << size << " bytes";
}

// A flipped bit may hit a name or padding and leave a valid file; whatever is accepted must still be sound.
TEST(Safetensors, TwoThousandFlippedBitsNeverGiveAViewOutsideTheFile) {
  const std::string whole = FileBytes(kGood, 20);
  Rng rng(5);
  int refused = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string bytes = whole;
    const uint64_t bit = rng.Below((whole.size() - 20) * 8);
    bytes[bit / 8] = static_cast<char>(static_cast<unsigned char>(bytes[bit / 8]) ^ (1u << (bit % 8)));
    const auto entries = Parse(bytes);
    if (!entries.ok()) {
      ++refused;
      EXPECT_FALSE(entries.status().message().empty());
      continue;
    }
    for (const SafetensorsEntry& entry : *entries) {
      ASSERT_LE(entry.begin, entry.end);
      ASSERT_LE(entry.end, bytes.size());
      ASSERT_EQ(entry.end - entry.begin, static_cast<uint64_t>(*entry.shape.NumElements()) *
                                             static_cast<uint64_t>(SizeOf(entry.dtype)));
    }
  }
  EXPECT_GT(refused, 1500);
}

class WriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = ::testing::TempDir() + "/lathe_safetensors_writer";
    std::filesystem::remove_all(dir_);
    std::filesystem::create_directories(dir_);
  }
  std::string dir_;
};

TEST_F(WriterTest, WhatIsWrittenInPiecesReadsBack) {
  const std::string text = "0123456789abcdefghijklmnopqrstuv";
  auto writer = SafetensorsWriter::Create(
      dir_ + "/m", {{"x", DType::kBf16, {2, 4}}, {"none", DType::kF32, {0}}, {"y\"", DType::kF32, {4}}}, 0);
  ASSERT_TRUE(writer.ok());
  for (size_t at = 0; at < text.size(); at += 5)
    ASSERT_TRUE(
        writer->Append(std::as_bytes(std::span(text).subspan(at, std::min<size_t>(5, text.size() - at))))
            .ok());
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/m.safetensors"));
  EXPECT_EQ(writer->Append(std::as_bytes(std::span("z"))).code(), StatusCode::kInternal);
  ASSERT_TRUE(writer->Commit().ok());
  const auto file = SafetensorsFile::Open(dir_ + "/m.safetensors");
  ASSERT_TRUE(file.ok()) << file.status().message();
  const TensorView y = file->View(file->entries().back());
  EXPECT_EQ(y.name, "y\"");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(y.bytes.data()), y.bytes.size()), text.substr(16));
  EXPECT_EQ(file->entries()[0].begin % 64, 0u);
}

TEST_F(WriterTest, AnUnfinishedWriterLeavesNothing) {
  {
    auto writer =
        SafetensorsWriter::Create(dir_ + "/m", {{"x", DType::kF32, {4}}, {"y", DType::kF32, {4}}}, 16);
    ASSERT_TRUE(writer.ok());
    const std::string part(20, 'x');
    ASSERT_TRUE(writer->Append(std::as_bytes(std::span(part))).ok());
    EXPECT_EQ(writer->Commit().code(), StatusCode::kInternal);
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir_));
  EXPECT_FALSE(
      SafetensorsWriter::Create(dir_ + "/m", {{"x", DType::kF32, {1}}, {"x", DType::kF32, {1}}}, 0).ok());
  EXPECT_FALSE(SafetensorsWriter::Create(dir_ + "/m", {{"x", DType::kF32, {int64_t{1} << 62}}}, 0).ok());
}

}  // namespace
}  // namespace lathe
