// Synthetic checkpoints: the same bits as the reference generator, and directories that open.
#include "model/synth.h"

#include <sys/resource.h>

#include <cmath>
#include <csignal>

#include "formats/checkpoint.h"
#include "model/model_hash.h"
#include "model/shard.h"
#include "model/test_util.h"
#include "model/weight_source.h"

namespace lathe {
namespace {

using ::testing::HasSubstr;
using testing_util::Golden;
using testing_util::GoldenModels;
using testing_util::ScratchDir;
using testing_util::SmallConfig;
using testing_util::Synthesize;

// Sum of (k + 1) * bits[k], as in make_goldens.py.
uint64_t Checksum(std::span<const std::byte> bytes) {
  uint64_t sum = 0;
  for (size_t k = 0; k < bytes.size() / 2; ++k)
    sum += (k + 1) * (static_cast<uint64_t>(bytes[2 * k]) | static_cast<uint64_t>(bytes[2 * k + 1]) << 8);
  return sum;
}

TEST(Synth, HasTheBitsOfTheReferenceGenerator) {
  const std::string dir = ScratchDir("synth_golden") + "/m";
  for (const std::string& name : GoldenModels()) {
    const Json golden = Golden(name);
    Synthesize(golden["config"], dir, golden["seed"].get<uint64_t>());
    const auto checkpoint = Checkpoint::Open(dir);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    ASSERT_EQ(checkpoint->tensors().size(), golden["checksums"].size()) << name;
    for (const TensorView& tensor : checkpoint->tensors())
      ASSERT_EQ(std::to_string(Checksum(tensor.bytes)), golden["checksums"][tensor.name].get<std::string>())
          << name << " " << tensor.name;
  }
}

TEST(Synth, TableIsNormal) {
  std::vector<Bf16> table(65536);
  NormalTable(0.5, 0.25, table);
  double sum = 0, squares = 0;
  for (const Bf16 value : table) {
    sum += ToFloat(value);
    squares += ToFloat(value) * ToFloat(value);
  }
  const double mean = sum / 65536, variance = squares / 65536 - mean * mean;
  EXPECT_NEAR(mean, 0.5, 1e-3);
  EXPECT_NEAR(std::sqrt(variance), 0.25, 1e-3);
  EXPECT_LT(ToFloat(table[0]), 0.5 - 4 * 0.25);
}

TEST(Synth, AnyPartOfATensorIsThatPart) {
  std::vector<Bf16> table(65536), whole(1003), part(500);
  NormalTable(0, 1, table);
  SynthValues(3, "x", 0, table, whole);
  SynthValues(3, "x", 400, table, part);
  EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + 400));
  SynthValues(4, "x", 400, table, part);
  EXPECT_FALSE(std::equal(part.begin(), part.end(), whole.begin() + 400));
  SynthValues(3, "y", 400, table, part);
  EXPECT_FALSE(std::equal(part.begin(), part.end(), whole.begin() + 400));
}

TEST(Synth, ValuesAreTheSameInEveryType) {
  const std::string dir = ScratchDir("synth_types");
  Json config = SmallConfig();
  config["initializer_range"] = 0.05;
  std::vector<std::vector<float>> values;
  for (const char* type : {"bfloat16", "float32", "float16"}) {
    config["torch_dtype"] = type;
    Synthesize(config, dir + "/" + type);
    const auto source = WeightSource::Open(dir + "/" + type);
    ASSERT_TRUE(source.ok()) << source.status().message();
    const TensorView q = *source->Get(Role::kQ, 1);
    values.emplace_back(static_cast<size_t>(48 * 48));
    ASSERT_TRUE(ReadSlice(q, {{0, 48}, {0, 48}}, std::span(values.back())).ok());
  }
  EXPECT_EQ(values[0], values[1]);
  for (size_t i = 0; i < values[0].size(); ++i) EXPECT_NEAR(values[2][i], values[0][i], 3e-8);
}

TEST(Synth, VectorsArePlainUnlessAsked) {
  const std::string dir = ScratchDir("synth_plain");
  Json config = SmallConfig();
  config["attention_bias"] = true;
  ASSERT_TRUE(WriteFileAtomic(dir + "/c.json", DumpJson(config)).ok());
  uint64_t last = 0, all = 0;
  SynthOptions options;
  options.progress = [&](uint64_t done, uint64_t total) {
    EXPECT_GT(done, last);
    last = done;
    all = total;
  };
  ASSERT_TRUE(WriteSyntheticCheckpoint(dir + "/c.json", dir + "/m", options).ok());
  EXPECT_EQ(last, all);
  const auto source = WeightSource::Open(dir + "/m");
  ASSERT_TRUE(source.ok()) << source.status().message();
  std::vector<float> norm(48), bias(48);
  ASSERT_TRUE(ReadSlice(*source->Get(Role::kAttnNorm, 0), {{0, 48}, {0, 1}}, std::span(norm)).ok());
  ASSERT_TRUE(ReadSlice(*source->Get(Role::kQBias, 0), {{0, 48}, {0, 1}}, std::span(bias)).ok());
  EXPECT_EQ(norm, std::vector<float>(48, 1.0f));
  EXPECT_EQ(bias, std::vector<float>(48, 0.0f));
}

TEST(Synth, TokenizerCoversTheVocabulary) {
  const std::pair<int, std::string> special[] = {{1, "<|bos|>"}, {300, "<|eos|>"}};
  const auto text = SyntheticTokenizer(301, special);
  ASSERT_TRUE(text.ok());
  const Json json = *ParseJson(*text, "t");
  EXPECT_EQ(json["model"]["vocab"].size(), 301u);
  EXPECT_EQ(json["model"]["vocab"]["<|eos|>"].get<int>(), 300);
  EXPECT_EQ(json["model"]["vocab"]["!"].get<int>(), 34);  // byte 33, after one control token
  EXPECT_EQ(json["added_tokens"].size(), 2u);
  EXPECT_THAT(SyntheticTokenizer(257, special).status().message(), HasSubstr("257 is too small"));
}

TEST(Synth, FailuresLeaveNothing) {
  const std::string dir = ScratchDir("synth_fail");
  Json config = SmallConfig();
  config["vocab_size"] = 200;
  ASSERT_TRUE(WriteFileAtomic(dir + "/c.json", DumpJson(config)).ok());
  EXPECT_THAT(WriteSyntheticCheckpoint(dir + "/c.json", dir + "/m", {}).message(), HasSubstr("too small"));
  config["vocab_size"] = 301;
  config["initializer_range"] = -1;
  ASSERT_TRUE(WriteFileAtomic(dir + "/c.json", DumpJson(config)).ok());
  EXPECT_THAT(WriteSyntheticCheckpoint(dir + "/c.json", dir + "/m", {}).message(),
              HasSubstr("initializer_range"));
  config.erase("initializer_range");
  ASSERT_TRUE(WriteFileAtomic(dir + "/c.json", DumpJson(config)).ok());
  EXPECT_THAT(WriteSyntheticCheckpoint(dir + "/c.json", dir, {}).message(),
              HasSubstr("not an empty directory"));
  EXPECT_EQ(WriteSyntheticCheckpoint(dir + "/no.json", dir + "/m", {}).code(), StatusCode::kNotFound);
  std::vector<std::string> left;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) left.push_back(entry.path().filename());
  EXPECT_THAT(left, ::testing::ElementsAre("c.json"));
}

// A full disk, by way of the limit on a file's size.
TEST(Synth, AFullDiskLeavesNothing) {
  const std::string dir = ScratchDir("synth_full");
  ASSERT_TRUE(WriteFileAtomic(dir + "/c.json", DumpJson(SmallConfig())).ok());
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {.rlim_cur = 64 << 10, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status status = WriteSyntheticCheckpoint(dir + "/c.json", dir + "/m", {});
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(status.code(), StatusCode::kIo) << status.message();
  EXPECT_THAT(status.message(), HasSubstr("free some space"));
  std::vector<std::string> left;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) left.push_back(entry.path().filename());
  EXPECT_THAT(left, ::testing::ElementsAre("c.json"));
}

TEST(ModelHash, NoticesWhatMatters) {
  const std::string dir = ScratchDir("hash") + "/m";
  Synthesize(SmallConfig(), dir);
  const std::string first = *ModelHash(dir);
  EXPECT_EQ(first.size(), 32u);
  EXPECT_EQ(*ModelHash(dir), first);
  const std::string weights = dir + "/model.safetensors";
  const auto time = std::filesystem::last_write_time(weights);
  std::filesystem::last_write_time(weights, time + std::chrono::nanoseconds(1000));
  EXPECT_NE(*ModelHash(dir), first);
  std::filesystem::last_write_time(weights, time);
  EXPECT_EQ(*ModelHash(dir), first);
  for (const char* name :
       {"tokenizer.json", "chat_template.jinja", "generation_config.json", "config.json"}) {
    const std::string path = dir + "/" + name;
    const auto old_content = ReadFile(path);
    ASSERT_TRUE(WriteFileAtomic(path, "{}").ok());
    EXPECT_NE(*ModelHash(dir), first) << name;
    if (old_content.ok()) {
      ASSERT_TRUE(WriteFileAtomic(path, *old_content).ok());
    } else {
      std::filesystem::remove(path);
    }
    EXPECT_EQ(*ModelHash(dir), first) << name;
  }
  ASSERT_TRUE(WriteFileAtomic(dir + "/short.safetensors", "abc").ok());
  EXPECT_TRUE(ModelHash(dir).ok());
  EXPECT_NE(*ModelHash(dir), first);
  EXPECT_EQ(ModelHash(dir + "/none").status().code(), StatusCode::kNotFound);
  std::filesystem::remove(dir + "/config.json");
  EXPECT_THAT(ModelHash(dir).status().message(), HasSubstr("no config.json"));
}

}  // namespace
}  // namespace lathe
