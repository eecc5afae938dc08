// Ids and texts equal to the reference implementations': the project's vectors and our own goldens.
#include <algorithm>

#include "text/test_data.h"

namespace lathe::text {
namespace {

// ---- The vectors: pieces separated by a marker line, ids of each on a line, no special tokens ----

struct VectorCase {
  const char* vectors;
  const char* subject;
};

class VectorsTest : public testing::TestWithParam<VectorCase> {};

TEST_P(VectorsTest, AllEqual) {
  const auto& all = RealSubjects();
  const auto subject =
      std::find_if(all.begin(), all.end(), [](const Subject& s) { return s.name == GetParam().subject; });
  ASSERT_NE(subject, all.end());
  const Tokenizer* tokenizer = Load(*subject);
  if (tokenizer == nullptr) return;
  const std::string base = DataDir() + "/vectors/" + GetParam().vectors;
  const std::string input = ReadOrDie(base + ".inp");
  const std::vector<std::string> outputs = Lines(ReadOrDie(base + ".out"));
  constexpr std::string_view kMarker = "\n__ggml_vocab_test__\n";
  size_t count = 0;
  for (size_t pos = 0; pos < input.size() && count < outputs.size(); ++count) {
    const size_t end = std::min(input.find(kMarker, pos), input.size());
    const std::string text = input.substr(pos, end - pos);
    EXPECT_EQ(tokenizer->Encode(text, {.add_special_tokens = false}), ParseIds(outputs[count]))
        << "'" << text << "'";
    pos = end + kMarker.size();
  }
  EXPECT_EQ(count, outputs.size());
  EXPECT_GE(count, 40u);
}

INSTANTIATE_TEST_SUITE_P(All, VectorsTest,
                         testing::Values(VectorCase{"gpt-2", "gpt2"}, VectorCase{"llama-bpe", "llama3"},
                                         VectorCase{"llama-spm", "llama2"},
                                         VectorCase{"llama-spm", "llama2_json"}),
                         [](const auto& info) { return std::string(info.param.subject); });

// ---- Goldens ----

class GoldenTest : public testing::TestWithParam<Subject> {};

TEST_P(GoldenTest, TextEncodesAndDecodes) {
  const Tokenizer* tokenizer = Load(GetParam());
  if (tokenizer == nullptr) return;
  for (const GoldenLine& line : ReadGolden(GetParam().golden + ".text")) {
    const std::vector<int32_t> ids = tokenizer->Encode(line.text);
    EXPECT_EQ(ids, line.ids) << DumpJson(line.text);
    EXPECT_EQ(tokenizer->Decode(line.ids), line.decoded) << DumpJson(line.text);
  }
}

TEST_P(GoldenTest, ControlTextEncodes) {
  if (!FileExists(DataDir() + "/" + GetParam().golden + ".control.golden")) return;
  const Tokenizer* tokenizer = Load(GetParam());
  if (tokenizer == nullptr) return;
  for (const GoldenLine& line : ReadGolden(GetParam().golden + ".control")) {
    EXPECT_EQ(tokenizer->Encode(line.text, {.parse_special = true}), line.ids) << DumpJson(line.text);
    EXPECT_EQ(tokenizer->Decode(line.ids), line.decoded) << DumpJson(line.text);
  }
}

TEST_P(GoldenTest, RandomIdsDecode) {
  // Vocabularies that share text goldens still number their control tokens differently.
  if (GetParam().golden != GetParam().name) return;
  if (!FileExists(DataDir() + "/" + GetParam().golden + ".decode.golden")) return;
  const Tokenizer* tokenizer = Load(GetParam());
  if (tokenizer == nullptr) return;
  for (const GoldenLine& line : ReadGolden(GetParam().golden + ".decode", false))
    EXPECT_EQ(tokenizer->Decode(line.ids), line.decoded) << testing::PrintToString(line.ids);
}

INSTANTIATE_TEST_SUITE_P(Real, GoldenTest, testing::ValuesIn(RealSubjects()), SubjectName);
INSTANTIATE_TEST_SUITE_P(Synthetic, GoldenTest, testing::ValuesIn(SyntheticSubjects()), SubjectName);

TEST(GoldenStringsTest, AreManyAndDiverse) {
  EXPECT_GE(GoldenStrings().size(), 300u);
  EXPECT_GE(SyntheticSubjects().size(), 18u);
}

}  // namespace
}  // namespace lathe::text
