// Against transformers (version pinned in the files, float32): random models of every family and RoPE type,
// regenerated from (config, seed), and tales-16m. Made by tests/golden/make_goldens.py.
//
// f32 engines: every logprob of the reference's ten best tokens within 1e-3. bf16 engines: within 0.03, and
// the same next token wherever the reference's margin is over 0.05.
#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "e2e_util.h"
#include "kernels/cpu/registry.h"
#include "model/synth.h"

namespace lathe {
namespace {

std::vector<std::string> GoldenNames() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(LATHE_SOURCE_DIR "/tests/golden")) {
    if (entry.path().extension() != ".json" || entry.path().stem() == "rope") continue;
    names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// The checkpoint of a golden, made once a program.
std::string ModelOf(const std::string& name, const Json& golden) {
  if (golden.contains("model")) return LATHE_SOURCE_DIR "/" + golden["model"].get<std::string>();
  const std::string dir = ScratchDir() + "/" + name;
  if (DirExists(dir)) return dir;
  const std::string config = dir + ".config.json";
  EXPECT_TRUE(WriteFileAtomic(config, DumpJson(golden["config"])).ok());
  SynthOptions options;
  options.seed = golden["seed"].get<uint64_t>();
  options.random_vectors = true;
  const Status status = WriteSyntheticCheckpoint(config, dir, options);
  EXPECT_TRUE(status.ok()) << status.message();
  return dir;
}

double LogSumExp(const float* row, int vocab) {
  const double max = *std::max_element(row, row + vocab);
  double sum = 0;
  for (int i = 0; i < vocab; ++i) sum += std::exp(static_cast<double>(row[i]) - max);
  return max + std::log(sum);
}

std::string TextOf(const Json& text) {
  if (text.is_string()) return text.get<std::string>();
  return ReadFile(LATHE_SOURCE_DIR "/tests/golden/" + text["file"].get<std::string>()).value();
}

// The reference's greedy tokens, each asked for after the reference's own continuation, so that a near-tie
// (two best tokens closer than `margin`, which may go either way) does not spoil the rest. A dynamic RoPE
// depends on where the prompt ends: there all tokens come from one run, up to the first near-tie that
// differs.
void CheckGreedy(Engine& engine, const std::vector<TokenId>& ids, const std::vector<TokenId>& want,
                 const std::vector<double>& margins, double margin, bool one_run) {
  std::vector<TokenId> got;
  if (one_run) {
    got = RunAlone(engine, GreedyRequest(Prompt::Ids(ids), static_cast<int>(want.size()))).ids;
  } else {
    std::vector<TokenId> context = ids;
    for (const TokenId next : want) {
      const Answer answer = RunAlone(engine, GreedyRequest(Prompt::Ids(context), 1));
      got.push_back(answer.ids.empty() ? -1 : answer.ids[0]);
      context.push_back(next);
    }
  }
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_TRUE(got[i] == want[i] || margins[i] <= margin)
        << ids.size() << " tokens, greedy token " << i << " is " << got[i] << ", the reference has "
        << want[i] << " by " << margins[i];
    if (one_run && got[i] != want[i]) return;
  }
}

// The classes that the best instruction set of this machine offers.
std::vector<NumericClass> ClassesHere() {
  const auto classes = ClassesOf(UsableIsas().back());
  return {classes.begin(), classes.end()};
}

// The prompt's logprobs by request are those of its logits, and its embedding is the reference's.
void CheckPromptOutputs(Engine& engine, const Json& prompt, const std::vector<float>& logits,
                        double tolerance) {
  Request request = GreedyRequest(Prompt::Ids(prompt["ids"].get<std::vector<TokenId>>()), 1);
  request.prompt_logprobs = 3;
  const Answer scored = RunAlone(engine, request);
  const int vocab = engine.model().vocab;
  ASSERT_EQ(scored.prompt.size(), request.prompt.ids->size()) << scored.error.message();
  for (size_t i = 1; i < scored.prompt.size(); ++i) {
    const float* row = logits.data() + (i - 1) * static_cast<size_t>(vocab);
    const TokenOutput& token = scored.prompt[i];
    EXPECT_EQ(token.id, (*request.prompt.ids)[i]);
    EXPECT_NEAR(token.logprob, row[token.id] - LogSumExp(row, vocab), 1e-4);
    ASSERT_EQ(token.top.size(), 3u);
    EXPECT_EQ(token.top[0].id, std::max_element(row, row + vocab) - row);
  }
  if (!prompt.contains("mean_hidden")) return;
  const auto want = prompt["mean_hidden"].get<std::vector<double>>();
  request = GreedyRequest(request.prompt, 1);
  request.embed = true;
  const Answer embedded = RunAlone(engine, request);
  ASSERT_EQ(embedded.embedding.size(), want.size()) << embedded.error.message();
  double off = 0, norm = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    off += std::pow(static_cast<double>(embedded.embedding[i]) - want[i], 2);
    norm += want[i] * want[i];
  }
  EXPECT_LE(std::sqrt(off / norm), tolerance);
}

class Golden : public ::testing::TestWithParam<std::tuple<std::string, NumericClass>> {};

TEST_P(Golden, LogprobsAndGreedyTokens) {
  const auto& [name, numeric] = GetParam();
  const DType dtype = WeightType(numeric);
  const auto golden = ReadJsonFile(LATHE_SOURCE_DIR "/tests/golden/" + name + ".json");
  ASSERT_TRUE(golden.ok()) << golden.status().message();
  BuildSpec spec{.dtype = dtype};
  if (dtype == DType::kBf16) spec.numeric = numeric;
  auto engine = LoadEngine(BuiltEngine(ModelOf(name, *golden), spec));
  ASSERT_NE(engine, nullptr);
  const int vocab = engine->model().vocab;
  const double tolerance = dtype == DType::kF32 ? 1e-3 : 0.03;
  double worst = 0;
  size_t longest = 0;
  for (const Json& prompt : (*golden)["prompts"]) {
    const auto ids = prompt["ids"].get<std::vector<TokenId>>();
    longest = std::max(longest, ids.size());
    if (prompt.contains("text")) {
      const auto tokens = engine->Tokenize(TextOf(prompt["text"]), true, false);
      ASSERT_TRUE(tokens.ok());
      EXPECT_EQ(*tokens, ids);
    }
    const auto logits = engine->Logits(ids);
    ASSERT_TRUE(logits.ok()) << logits.status().message();
    for (const auto& [position, top] : prompt["top"].items()) {
      const float* row = logits->data() + std::stoul(position) * static_cast<size_t>(vocab);
      const double norm = LogSumExp(row, vocab);
      for (const Json& entry : top) {
        const double error = std::abs(row[entry[0].get<int>()] - norm - entry[1].get<double>());
        worst = std::max(worst, error);
        EXPECT_LE(error, tolerance) << ids.size() << " tokens, position " << position << ", token "
                                    << entry[0];
      }
    }
    CheckPromptOutputs(*engine, prompt, *logits, dtype == DType::kF32 ? 1e-4 : 0.01);
    CheckGreedy(*engine, ids, prompt["greedy"].get<std::vector<TokenId>>(),
                prompt["margins"].get<std::vector<double>>(), dtype == DType::kF32 ? 2e-3 : 0.05,
                name.find("dynamic") != std::string::npos);
  }
  EXPECT_GE(longest, 1000u);
  RecordProperty("worst_logprob_error", std::to_string(worst));
  std::printf("%s %s: worst logprob error %.2g\n", name.c_str(), std::string(ToString(numeric)).c_str(),
              worst);
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
