// Against transformers (version pinned in the files, float32): random models of every family and RoPE type,
// regenerated from (config, seed), and tales-16m. Made by tests/golden/make_goldens.py.
//
// f32 engines: every logprob of the reference's ten best tokens within 1e-3. bf16 engines: within 0.03, and
// the same next token wherever the reference's margin is over 0.05.
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

}  // namespace
}  // namespace lathe
