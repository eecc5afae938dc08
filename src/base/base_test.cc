// Tests of src/base: values at the edges, faults with their words.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "base/bf16.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/rng.h"

namespace lathe {
namespace {

using ::testing::HasSubstr;

TEST(Bf16, RoundsToNearestEvenAndKeepsNan) {
  EXPECT_EQ(ToFloat(ToBf16(1.0f)), 1.0f);
  EXPECT_EQ(ToBf16(1.00390625f).bits, ToBf16(1.0f).bits);       // halfway, to even
  EXPECT_EQ(ToBf16(1.01171875f).bits, ToBf16(1.015625f).bits);  // halfway, to even (up)
  EXPECT_TRUE(std::isnan(ToFloat(ToBf16(NAN))));
  EXPECT_TRUE(std::isinf(ToFloat(ToBf16(3.4e38f))));
}

// Every number of half comes back, what lies between two goes to the nearer one, from halfway to the even
// one.
TEST(Half, RoundsToNearestEven) {
  for (uint32_t h = 0; h < 0x7c00; ++h) {
    const float value = HalfToFloat(static_cast<uint16_t>(h));
    const float next = h == 0x7bff ? 65536.0f : HalfToFloat(static_cast<uint16_t>(h + 1));
    const float middle = (value + next) / 2;
    const uint16_t even = static_cast<uint16_t>(h % 2 == 0 ? h : h + 1);
    ASSERT_EQ(ToHalf(value).bits, h);
    ASSERT_EQ(ToHalf(-value).bits, h | 0x8000u);
    ASSERT_EQ(ToHalf(middle).bits, even) << h;
    ASSERT_EQ(ToHalf(std::nextafter(middle, 0.0f)).bits, h) << h;
    ASSERT_EQ(ToHalf(std::nextafter(middle, next)).bits, h + 1) << h;
  }
  EXPECT_EQ(ToHalf(1e30f).bits, 0x7c00);
  EXPECT_EQ(ToHalf(-INFINITY).bits, 0xfc00);
  EXPECT_TRUE(std::isnan(ToFloat(ToHalf(NAN))));
  EXPECT_FALSE(IsFinite(ToHalf(65520.0f)));
  EXPECT_TRUE(IsFinite(ToHalf(-65519.0f)));
}

TEST(Half, ConvertsAllFiniteValuesByDefinition) {
  for (uint32_t h = 0; h < 0x10000u; ++h) {
    const int exponent = (h >> 10) & 0x1f;
    if (exponent == 31) continue;
    const double mantissa = (h & 0x3ff) / 1024.0;
    double want = exponent == 0 ? std::ldexp(mantissa, -14) : std::ldexp(1 + mantissa, exponent - 15);
    if (h & 0x8000) want = -want;
    ASSERT_EQ(HalfToFloat(static_cast<uint16_t>(h)), static_cast<float>(want)) << h;
  }
}

TEST(Json, RefusesWhatIsNotCleanJson) {
  EXPECT_THAT(ParseJson("{\"a\":1,\"a\":2}", "f").status().message(), HasSubstr("'a' appears twice"));
  EXPECT_THAT(ParseJson("{\"a\":", "f").status().message(), HasSubstr("f: not valid JSON at byte"));
  EXPECT_THAT(ParseJson(std::string(100, '['), "f").status().message(), HasSubstr("deeper than 64"));
  EXPECT_THAT(ParseJson("{} x", "f").status().message(), HasSubstr("not valid JSON"));
  EXPECT_TRUE(ParseJson("{\"a\":\"]]]]\\\"[[\"}", "f", {.max_depth = 1}).ok());
}

// Json keeps an object's keys in a list; parsing must not look through it for each key.
TEST(Json, TimeIsLinearInTheKeysOfAnObject) {
  constexpr int kKeys = 300'000;
  std::string text = "{";
  for (int i = 0; i < kKeys; ++i) text += StrFormat("\"%d\":%d,", i, i);
  text.back() = '}';
  for (const bool duplicates : {false, true}) {
    const double begin = NowSeconds();
    const auto json = ParseJson(text, "f", {.allow_duplicate_keys = duplicates});
    ASSERT_TRUE(json.ok());
    EXPECT_EQ(json->size(), size_t{kKeys});
    EXPECT_EQ(json->front(), 0);
    EXPECT_EQ(json->back(), kKeys - 1);
    EXPECT_LT(NowSeconds() - begin, 5) << "a minute when quadratic";
  }
}

TEST(Json, BuildsWhatTheTextSays) {
  for (const char* text :
       {R"({"b":[1,-2,0.5,"x",true,null,{"c":{},"d":[[],[{}]]}],"a":18446744073709551615})", "[]", "7",
        R"("\u00e9\n")", "null", "false", R"([[1,2],[3,[4,{"e":"f"}]],5])"}) {
    const auto json = ParseJson(text, "f");
    ASSERT_TRUE(json.ok()) << text;
    EXPECT_EQ(*json, Json::parse(text)) << text;
  }
  EXPECT_EQ((*ParseJson(R"({"a":1,"b":2,"a":{"c":3}})", "f", {.allow_duplicate_keys = true})).dump(),
            R"({"a":{"c":3},"b":2})");
  for (const char* text : {"", "{", "[1,", "1e400", "NaN", "{\"a\" 1}", "[1]]", "{\"a\":1,}", "\"\xff\""})
    EXPECT_THAT(ParseJson(text, "f").status().message(), HasSubstr("not valid JSON")) << text;
}

TEST(Json, TypedLookupsNameTheKeyAndWhatWasFound) {
  const Json j = *ParseJson(R"({"i":3,"f":1.5,"big":18446744073709551615,"s":"x","n":null})", "f");
  EXPECT_EQ(*JsonInt(j, "i", "f"), 3);
  EXPECT_THAT(JsonInt(j, "f", "f").status().message(), HasSubstr("key 'f' must be an integer, found 1.5"));
  EXPECT_FALSE(JsonInt(j, "big", "f").ok());
  EXPECT_THAT(JsonInt(j, "none", "f").status().message(), HasSubstr("'none' is missing"));
  EXPECT_EQ(*JsonIntOr(j, "n", 7, "f"), 7);
  EXPECT_FALSE(JsonBoolOr(j, "s", false, "f").ok());
}

TEST(File, AtomicFileNeverReplacesADevice) {
  const auto file = AtomicFile::Create("/dev/null");
  EXPECT_EQ(file.status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(file.status().message().find("not a regular file"), std::string::npos);
}

TEST(File, AtomicFileLeavesNothingUnlessCommitted) {
  const std::string dir = ::testing::TempDir() + "/lathe_base_file";
  std::filesystem::remove_all(dir);
  ASSERT_TRUE(MakeDirs(dir + "/a/b").ok());
  const std::string path = dir + "/a/b/out";
  {
    auto file = AtomicFile::Create(path);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->Append("half").ok());
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir + "/a/b"));
  ASSERT_TRUE(WriteFileAtomic(path, "whole").ok());
  EXPECT_EQ(*ReadFile(path), "whole");
  EXPECT_EQ(ReadFile(path, 3).status().code(), StatusCode::kCorrupt);
  EXPECT_EQ(ReadFile(dir + "/no").status().code(), StatusCode::kNotFound);
  EXPECT_THAT(ReadFile(dir).status().message(), HasSubstr("is a directory"));
  EXPECT_EQ(MappedFile::Open(path)->size(), 5u);
}

TEST(File, ReadsFilesThatDoNotKnowTheirSize) {
  EXPECT_THAT(*ReadFile("/proc/self/status"), HasSubstr("VmRSS"));
  EXPECT_EQ(ReadFile("/proc/self/status", 10).status().code(), StatusCode::kCorrupt);
}

TEST(Hash, KnownValueAndIncrementalEqualsWhole) {
  const std::string text = "lathe compiles a model for one machine";
  Hasher whole, parts;
  whole.Update(text);
  parts.Update(text.substr(0, 7));
  parts.Update(text.substr(7));
  EXPECT_EQ(whole.Hex(), parts.Hex());
  EXPECT_EQ(whole.Hex().size(), 32u);
  EXPECT_NE(Hash64(std::as_bytes(std::span(text))), Hash64(std::as_bytes(std::span(text)), 1));
}

TEST(Rng, IsReproducibleAndUniformEnough) {
  Rng a(7), b(7);
  double sum = 0;
  for (int i = 0; i < 10000; ++i) {
    ASSERT_EQ(a.Next(), b.Next());
    sum += CounterUniform(3, static_cast<uint64_t>(i));
  }
  EXPECT_NEAR(sum / 10000, 0.5, 0.015);
}

}  // namespace
}  // namespace lathe
