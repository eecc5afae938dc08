#include "compiler/fp8_keep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace lathe {
namespace {

TEST(Fp8Keep, TextAndBack) {
  for (const char* text :
       {"none", "first", "last", "first,last", "qkv", "o,gate_up", "first,last,qkv,o,gate_up,down"}) {
    const auto keep = ParseFp8Keep(text);
    ASSERT_TRUE(keep.ok()) << text;
    EXPECT_EQ(ToString(*keep), text);
  }
  EXPECT_EQ(ToString(*ParseFp8Keep("down,first,down")), "first,down");
  EXPECT_EQ(*ParseFp8Keep("none"), Fp8Keep{});
}

TEST(Fp8Keep, NamesWhatItDoesNotKnow) {
  for (const auto& [text, named] :
       std::vector<std::pair<const char*, const char*>>{{"", "\"\""},
                                                        {"first,", "\"\""},
                                                        {"q", "\"q\""},
                                                        {"first,none", "\"none\""},
                                                        {"o, down", "\" down\""}}) {
    const auto keep = ParseFp8Keep(text);
    ASSERT_FALSE(keep.ok()) << text;
    EXPECT_EQ(keep.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(keep.status().message(), ::testing::HasSubstr(named));
  }
}

TEST(Fp8Keep, WhichWeights) {
  struct Case {
    const char* keep;
    const char* weight;
    int layer;
    bool kept;
  };
  for (const Case& c : {Case{"none", "layers.0.q", 0, false},
                        {"first", "layers.0.down", 0, true},
                        {"first", "layers.7.down", 7, false},
                        {"last", "layers.7.gate", 7, true},
                        {"last", "layers.6.gate", 6, false},
                        {"qkv", "layers.3.v", 3, true},
                        {"qkv", "layers.3.o", 3, false},
                        {"o", "layers.3.o", 3, true},
                        {"gate_up", "layers.3.up", 3, true},
                        {"gate_up", "layers.3.down", 3, false},
                        {"down", "layers.3.down", 3, true}})
    EXPECT_EQ(Keeps(*ParseFp8Keep(c.keep), c.weight, c.layer, 8), c.kept) << c.keep << " " << c.weight;
}

}  // namespace
}  // namespace lathe
