// Against transformers (version pinned in the files, float32): random models of every family and RoPE type,
// regenerated from (config, seed), and tales-16m. Made by tests/golden/make_goldens.py.
//
// f32 engines: every logprob of the reference's ten best tokens within 1e-3. bf16 engines: within 0.03, the
// rms of all positions at most 0.7 of transformers' own in bf16, and the same next token wherever the
// reference's margin is over 0.05.
#include <set>

#include "golden_check.h"
#include "kernels/cpu/registry.h"

namespace lathe {
namespace {

// The classes that the best instruction set of this machine offers.
std::vector<NumericClass> ClassesHere() {
  const auto classes = ClassesOf(UsableIsas().back());
  return {classes.begin(), classes.end()};
}

class Golden : public ::testing::TestWithParam<std::tuple<std::string, NumericClass>> {};

TEST_P(Golden, LogprobsAndGreedyTokens) {
  const auto& [name, numeric] = GetParam();
  BuildSpec spec{.dtype = WeightType(numeric)};
  if (spec.dtype == DType::kBf16) spec.numeric = numeric;
  CheckGolden(name, spec);
}

INSTANTIATE_TEST_SUITE_P(Families, Golden,
                         ::testing::Combine(::testing::ValuesIn(GoldenNames()),
                                            ::testing::ValuesIn(ClassesHere())),
                         [](const auto& info) {
                           std::string name =
                               std::get<0>(info.param) + "_" + std::string(ToString(std::get<1>(info.param)));
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// What a matmul of a gpu_ model reads is a multiple of 64, and together they have every size of head and
// every number of query heads to a key head: the GPU's tests would otherwise see a refusal, or miss a kernel.
TEST(GpuGoldens, HaveSizesThatKernelsTakeAndCoverThem) {
  std::set<int> dims, groups;
  for (const std::string& name : GpuGoldenNames()) {
    if (name == "tales-16m") continue;
    const auto golden = ReadJsonFile(LATHE_SOURCE_DIR "/tests/golden/" + name + ".json");
    ASSERT_TRUE(golden.ok()) << golden.status().message();
    const Json& config = (*golden)["config"];
    const int hidden = config["hidden_size"].get<int>(), heads = config["num_attention_heads"].get<int>();
    const int dim = config.contains("head_dim") ? config["head_dim"].get<int>() : hidden / heads;
    EXPECT_EQ(hidden % 64, 0) << name;
    EXPECT_EQ(config["intermediate_size"].get<int>() % 64, 0) << name;
    EXPECT_EQ(heads * dim % 64, 0) << name;
    dims.insert(dim);
    groups.insert(heads / config["num_key_value_heads"].get<int>());
  }
  EXPECT_EQ(dims, (std::set<int>{64, 80, 96, 128, 256}));
  EXPECT_EQ(groups, (std::set<int>{1, 2, 3, 4, 5, 6, 7, 8}));
}

}  // namespace
}  // namespace lathe
