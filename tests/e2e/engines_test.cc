// Engines of every instruction set say the same; engines that do not belong here are refused in one sentence,
// before a weight is read.
#include <cmath>
#include <cstring>

#include "base/clock.h"
#include "e2e_util.h"
#include "formats/engine_file.h"
#include "kernels/cpu/registry.h"
#include "plan/plan.h"

namespace lathe {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(Isas, AgreeOnLogitsAndTokens) {
  std::vector<TokenId> ids = {0, 5893, 607, 264, 563, 480, 314, 264, 455, 446};
  std::vector<float> want;
  for (const Isa isa : UsableIsas()) {
    const std::string target = "cpu:" + std::string(ToString(isa));
    auto engine = LoadEngine(BuiltEngine(TalesDir(), {.dtype = DType::kF32, .target = target}));
    ASSERT_NE(engine, nullptr);
    const auto logits = engine->Logits(ids);
    ASSERT_TRUE(logits.ok()) << logits.status().message();
    if (want.empty()) want = *logits;
    double worst = 0;
    for (size_t i = 0; i < want.size(); ++i)
      worst = std::max(worst, static_cast<double>(std::abs((*logits)[i] - want[i])));
    EXPECT_LE(worst, 1e-3) << target;
  }
}

// A copy of an engine with another identity or other plans; weights as they are.
std::string Forge(const std::string& source, const std::string& name,
                  const std::function<void(EngineIdentity*, Json* plan)>& change) {
  auto reader = EngineReader::Open(source);
  EXPECT_TRUE(reader.ok());
  const std::string path = ScratchDir() + "/" + name + ".lathe";
  auto writer = EngineWriter::Create(path);
  EngineIdentity identity = reader->identity();
  for (const BlobInfo& blob : reader->blobs()) {
    std::string content(*reader->TextBlob(blob.name));
    if (blob.name.starts_with("plan.")) {
      Json plan = *ParseJson(content, name);
      change(&identity, &plan);
      content = DumpJson(plan);
    }
    EXPECT_TRUE(writer->AddBlob(blob.name, content).ok());
  }
  EXPECT_TRUE(writer->Finish(identity, reader->model(), reader->build_info()).ok());
  return path;
}

std::string Refusal(const std::string& path) {
  const double start = NowSeconds();
  const auto engine = Engine::Load(path, {});
  EXPECT_LT(NowSeconds() - start, 1.0);
  EXPECT_FALSE(engine.ok());
  return engine.status().message();
}

TEST(Identity, AnotherMachinesEngineIsRefusedWithBothNamesAndTheCommand) {
  const std::string path =
      Forge(BuiltEngine(TalesDir()), "sve", [](EngineIdentity* id, Json*) { id->target = "cpu:sve2"; });
  EXPECT_THAT(Refusal(path), AllOf(HasSubstr("is for cpu:sve2"), HasSubstr("this machine runs cpu:"),
                                   HasSubstr("lathe build DIR -o")));
}

TEST(Identity, AKernelThatThisBinaryLacksIsNamed) {
  const std::string path = Forge(BuiltEngine(TalesDir()), "kernel", [](EngineIdentity*, Json* plan) {
    for (Json& tactic : (*plan)["tactics"])
      for (Json& bucket : tactic["buckets"]) bucket["kernel"] = "avx9000_magic";
  });
  EXPECT_THAT(Refusal(path), AllOf(HasSubstr("avx9000_magic"), HasSubstr("lathe build")));
}

TEST(Identity, APlanThatPointsOutsideIsRefused) {
  const std::string path = Forge(BuiltEngine(TalesDir()), "outside", [](EngineIdentity*, Json* plan) {
    (*plan)["weights"][0]["offset"] = uint64_t{1} << 40;
  });
  EXPECT_THAT(Refusal(path), HasSubstr("does not fit"));
}

TEST(Limits, APromptLongerThanTheContextIsRefusedWithBothNumbers) {
  auto engine = LoadEngine(BuiltEngine(TalesDir()), {.max_context = 64});
  ASSERT_NE(engine, nullptr);
  const Answer answer = RunAlone(*engine, GreedyRequest(Prompt::Ids(std::vector<TokenId>(100, 17)), 5));
  EXPECT_EQ(answer.finish, FinishReason::kError);
  EXPECT_THAT(answer.error.message(), AllOf(HasSubstr("100"), HasSubstr("64")));
}

TEST(Limits, AContextThatCannotBeHeldIsRefusedUnlessItIsTheDefault) {
  const std::string path = BuiltEngine(TalesDir());
  EXPECT_THAT(Engine::Load(path, {.max_context = 4096}).status().message(),
              AllOf(HasSubstr("4096"), HasSubstr("2048")));
  EXPECT_THAT(Engine::Load(path, {.kv_bytes = 1 << 20, .max_context = 2048}).status().message(),
              AllOf(HasSubstr("--kv-bytes"), HasSubstr("1.0 MiB")));
  auto fitted = LoadEngine(path, {.kv_bytes = 1 << 20});
  ASSERT_NE(fitted, nullptr);
  EXPECT_LT(fitted->model().max_context, 2048);
  EXPECT_GT(fitted->model().max_context, 16);
}

}  // namespace
}  // namespace lathe
