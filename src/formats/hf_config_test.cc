// Config reading: every key accounted for, typed, in range.
#include "formats/hf_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"

namespace lathe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ConfigReader, ListsEveryKeyNobodyAskedFor) {
  const Json json = *ParseJson(R"({"a":1,"b":2,"c":{"x":1,"y":2},"d":null,"e":3})", "f");
  ConfigReader reader(json, "f");
  EXPECT_EQ(*reader.Int("a"), 1);
  constexpr const char* kIgnored[] = {"e"};
  reader.Ignore(kIgnored);
  ConfigReader child(*reader.Take("c"), "f", "c.");
  EXPECT_EQ(*child.Int("x"), 1);
  reader.Adopt(child);
  EXPECT_THAT(reader.Unknown(), ElementsAre("b", "d", "c.y"));
  EXPECT_THAT(reader.Finish().message(), HasSubstr("f: 3 unknown keys: 'b', 'd', 'c.y'"));
  EXPECT_EQ(reader.Finish().code(), StatusCode::kUnsupported);
}

TEST(ConfigReader, GettersCheckTypeAndRange) {
  const Json json = *ParseJson(
      R"({"i":5,"s":"x","n":null,"f":1.5,"list":[1,2],"names":["a"],"bad":[1,"x"],"whole":4.0})", "f");
  ConfigReader reader(json, "f");
  EXPECT_EQ(*reader.Size("i", 1, 5), 5);
  EXPECT_THAT(reader.Size("i", 6, 9).status().message(), HasSubstr("'i' is 5, expected 6 to 9"));
  EXPECT_THAT(reader.Size("n", 1, 5).status().message(), HasSubstr("'n' is missing"));
  EXPECT_EQ(*reader.SizeOr("n", -3, 1, 5), -3);
  EXPECT_EQ(*reader.Size("whole", 1, 5), 4);
  EXPECT_FALSE(reader.Int("s").ok());
  EXPECT_FALSE(reader.Int("f").ok());
  EXPECT_FALSE(reader.BoolOr("i", true).ok());
  EXPECT_EQ(*reader.NumberOr("absent", 2.5), 2.5);
  EXPECT_THAT(*reader.Ints("list"), ElementsAre(1, 2));
  EXPECT_THAT(*reader.Ints("i"), ElementsAre(5));
  EXPECT_TRUE(reader.Ints("n")->empty());
  EXPECT_FALSE(reader.Ints("bad").ok());
  EXPECT_FALSE(reader.Ints("s").ok());
  EXPECT_THAT(*reader.Strings("names"), ElementsAre("a"));
  EXPECT_FALSE(reader.Strings("list").ok());
}

TEST(ConfigReader, KeysThatMustBeOff) {
  constexpr const char* kKeys[] = {"x"};
  for (const char* off : {"null", "false", "0", "[]", "{}", "\"\""}) {
    const Json json = *ParseJson(std::string("{\"x\":") + off + "}", "f");
    ConfigReader reader(json, "f");
    EXPECT_TRUE(reader.IgnoreWhenOff(kKeys).ok()) << off;
    EXPECT_TRUE(reader.Finish().ok());
  }
  const Json json = *ParseJson(R"({"x":{"a":1}})", "f");
  ConfigReader reader(json, "f");
  EXPECT_THAT(reader.IgnoreWhenOff(kKeys).message(), HasSubstr("'x' is {\"a\":1}, a feature"));
}

TEST(ConfigDType, BothSpellings) {
  const auto read = [](const char* text) {
    const Json json = *ParseJson(text, "f");
    ConfigReader reader(json, "f");
    return ReadConfigDType(reader);
  };
  EXPECT_EQ(**read(R"({"torch_dtype":"float16"})"), DType::kF16);
  EXPECT_EQ(**read(R"({"dtype":"torch.bfloat16"})"), DType::kBf16);
  EXPECT_EQ(**read(R"({"dtype":"float32","torch_dtype":"float32"})"), DType::kF32);
  EXPECT_FALSE(read("{}")->has_value());
  EXPECT_THAT(read(R"({"dtype":"float32","torch_dtype":"float16"})").status().message(),
              HasSubstr("contradicts"));
  EXPECT_THAT(read(R"({"dtype":"int8"})").status().message(), HasSubstr("'int8', expected bfloat16"));
}

TEST(GenerationConfig, ReadsDefaultsAndChecksThem) {
  const std::string dir = ::testing::TempDir() + "/lathe_generation";
  std::filesystem::remove_all(dir);
  std::filesystem::create_directories(dir);
  const auto read = [&](const std::string& text) {
    EXPECT_TRUE(WriteFileAtomic(dir + "/generation_config.json", text).ok());
    return ReadGenerationConfig(dir);
  };
  EXPECT_TRUE(ReadGenerationConfig(dir)->eos_ids.empty());
  const auto full =
      read(R"({"eos_token_id":[7,8],"bos_token_id":1,"pad_token_id":[0],"temperature":0.6,"top_p":0.9,
                            "top_k":20,"repetition_penalty":1.05,"do_sample":true,"whatever":{"x":1}})");
  ASSERT_TRUE(full.ok()) << full.status().message();
  EXPECT_THAT(full->eos_ids, ElementsAre(7, 8));
  EXPECT_EQ(full->bos_id, 1);
  EXPECT_EQ(full->pad_id, 0);
  EXPECT_EQ(full->temperature, 0.6);
  EXPECT_EQ(full->top_p, 0.9);
  EXPECT_EQ(full->top_k, 20);
  EXPECT_EQ(full->repetition_penalty, 1.05);
  EXPECT_TRUE(full->do_sample);
  EXPECT_THAT(read(R"({"eos_token_id":3})")->eos_ids, ElementsAre(3));
  EXPECT_EQ(read("{}")->temperature, -1);
  for (const char* bad :
       {R"({"top_p":1.5})", R"({"top_p":0})", R"({"temperature":-1})", R"({"top_k":-1})",
        R"({"repetition_penalty":0})", R"({"do_sample":1})", R"({"eos_token_id":"x"})", "[]", "{"})
    EXPECT_FALSE(read(bad).ok()) << bad;
}

}  // namespace
}  // namespace lathe
