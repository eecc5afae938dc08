// Checks of an engine against the golden files of transformers (tests/golden, made by make_goldens.py): for
// any target.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/json.h"
#include "e2e_util.h"
#include "model/synth.h"

namespace lathe {

inline std::vector<std::string> GoldenNames() {
  std::vector<std::string> names;
  std::error_code missing;  // then no test is made of them, which the test program itself reports
  for (const auto& entry : std::filesystem::directory_iterator(LATHE_SOURCE_DIR "/tests/golden", missing)) {
    if (entry.path().extension() != ".json" || entry.path().stem() == "rope") continue;
    names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// Those whose sizes CUDA kernels take.
inline std::vector<std::string> GpuGoldenNames() {
  std::vector<std::string> names = GoldenNames();
  std::erase_if(names,
                [](const std::string& name) { return !name.starts_with("gpu_") && name != "tales-16m"; });
  return names;
}

// The checkpoint of a golden, made once a program.
inline std::string ModelOf(const std::string& name, const Json& golden) {
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

inline double LogSumExp(const float* row, int vocab) {
  const double max = *std::max_element(row, row + vocab);
  double sum = 0;
  for (int i = 0; i < vocab; ++i) sum += std::exp(static_cast<double>(row[i]) - max);
  return max + std::log(sum);
}

inline std::string TextOf(const Json& text) {
  if (text.is_string()) return text.get<std::string>();
  return ReadFile(LATHE_SOURCE_DIR "/tests/golden/" + text["file"].get<std::string>()).value();
}

// The reference's greedy tokens, each asked for after the reference's own continuation, so that a near-tie
// (two best tokens closer than `margin`, which may go either way) does not spoil the rest. A dynamic RoPE
// depends on where the prompt ends: there all tokens come from one run, up to the first near-tie that
// differs.
inline void CheckGreedy(Engine& engine, const std::vector<TokenId>& ids, const std::vector<TokenId>& want,
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

// The prompt's logprobs by request are those of its logits, and its embedding is the reference's.
inline void CheckPromptOutputs(Engine& engine, const Json& prompt, const std::vector<float>& logits,
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

// How far an engine may be from the reference, which computes in f32. What bf16 costs is measured by
// transformers in bf16. On CUDA all that is multiplied is bf16: there its worst error is
// allowed where that is more. fp16 is measured by transformers in fp16, and keeps three bits more: an eighth
// of what else is allowed.
struct GoldenTolerance {
  double logprob;  // of each of the reference's ten best tokens, at a few positions
  double rms;     // of the ten best tokens of every position; hardly luck, as the worst of a few is (not f32)
  double hidden;  // relative, of the mean hidden state
  double margin;  // where the reference's two best tokens are closer than this, either may come
};
inline GoldenTolerance ToleranceOf(const BuildSpec& spec, const Json& golden) {
  if (spec.dtype == DType::kF32) return {.logprob = 1e-3, .rms = 0, .hidden = 1e-4, .margin = 2e-3};
  if (spec.dtype == DType::kF16)
    return {.logprob = std::max(0.03 / 8, golden["fp16_reference_error"].get<double>()),
            .rms = 0.7 * golden["fp16_reference_rms"].get<double>(),
            .hidden = 0.01 / 8,
            .margin = 0.05 / 8};
  GoldenTolerance tolerance = {.logprob = 0.03,
                               .rms = 0.7 * golden["bf16_reference_rms"].get<double>(),
                               .hidden = 0.01,
                               .margin = 0.05};
  if (spec.target != "cpu")
    tolerance.logprob = std::max(tolerance.logprob, golden["bf16_reference_error"].get<double>());
  return tolerance;
}

// Sum over all positions of the squared errors of the logprobs of the ten likeliest tokens of `want`, both
// (positions, vocab).
inline double SquaredErrors(const std::vector<float>& want, const std::vector<float>& got, int vocab) {
  double sum = 0;
  const auto width = static_cast<size_t>(vocab);
  std::vector<size_t> likeliest(width);
  for (size_t at = 0; at < want.size(); at += width) {
    const float *p = &want[at], *q = &got[at];
    std::iota(likeliest.begin(), likeliest.end(), size_t{0});
    std::nth_element(likeliest.begin(), likeliest.begin() + 10, likeliest.end(),
                     [p](size_t a, size_t b) { return p[a] > p[b]; });
    const double norm = LogSumExp(p, vocab) - LogSumExp(q, vocab);
    for (size_t i = 0; i < 10; ++i) sum += std::pow(q[likeliest[i]] - p[likeliest[i]] + norm, 2);
  }
  return sum;
}

// Logprobs, prompt outputs, greedy tokens and, where the golden has text, the tokenizer.
inline void CheckGolden(const std::string& name, const BuildSpec& spec, const EngineOptions& options = {}) {
  const auto golden = ReadJsonFile(LATHE_SOURCE_DIR "/tests/golden/" + name + ".json");
  ASSERT_TRUE(golden.ok()) << golden.status().message();
  const GoldenTolerance tolerance = ToleranceOf(spec, *golden);
  auto engine = LoadEngine(BuiltEngine(ModelOf(name, *golden), spec), options);
  ASSERT_NE(engine, nullptr);
  // All positions of the reference are not in the file; an f32 engine is within 2e-5 of it.
  std::unique_ptr<Engine> exact;
  if (spec.dtype != DType::kF32)
    exact = LoadEngine(BuiltEngine(ModelOf(name, *golden), {.dtype = DType::kF32}));
  const int vocab = engine->model().vocab;
  double worst = 0, squares = 0;
  size_t longest = 0, positions = 0;
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
        worst = error > worst || std::isnan(error) ? error : worst;
        EXPECT_LE(error, tolerance.logprob)
            << ids.size() << " tokens, position " << position << ", token " << entry[0];
      }
    }
    if (exact != nullptr) {
      const auto exact_logits = exact->Logits(ids);
      ASSERT_TRUE(exact_logits.ok()) << exact_logits.status().message();
      squares += SquaredErrors(*exact_logits, *logits, vocab);
      positions += ids.size();
    }
    CheckPromptOutputs(*engine, prompt, *logits, tolerance.hidden);
    CheckGreedy(*engine, ids, prompt["greedy"].get<std::vector<TokenId>>(),
                prompt["margins"].get<std::vector<double>>(), tolerance.margin,
                name.find("dynamic") != std::string::npos);
  }
  EXPECT_GE(longest, 1000u);
  const double rms = std::sqrt(squares / (10 * static_cast<double>(std::max<size_t>(positions, 1))));
  EXPECT_LE(rms, tolerance.rms);
  ::testing::Test::RecordProperty("worst_logprob_error", std::to_string(worst));
  std::printf("%s %s %s: worst logprob error %.2g (%.2g allowed), rms %.2g (%.2g)\n", name.c_str(),
              spec.target.c_str(),
              std::string(spec.numeric ? ToString(*spec.numeric) : ToString(spec.dtype)).c_str(), worst,
              tolerance.logprob, rms, tolerance.rms);
}

}  // namespace lathe
