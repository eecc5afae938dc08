// Host cost of a step: BuildStep + ApplyResult for many running sequences, without a device. Not a test.
//
//   Built by hand: -O3 -DNDEBUG -std=c++20 -Iinclude -Isrc, linked with lathe_runtime_{sched,sample,kv},
//   lathe_base, xxhash.
#include <algorithm>
#include <cstdio>
#include <vector>

#include "base/clock.h"
#include "base/rng.h"
#include "runtime/sched/scheduler.h"

namespace lathe {
namespace {

void Run(const char* name, int n_sequences, const SamplingParams& params) {
  const ExecutorLimits limits = {.max_step_rows = 2048,
                                 .max_logit_rows = 512,
                                 .n_pages = 60000,
                                 .page_size = 16,
                                 .max_positions = 8192,
                                 .vocab = 32000};
  SchedulerOptions options;
  options.max_sequences = n_sequences;
  Scheduler scheduler(limits, options);
  Rng rng(1);
  for (int i = 0; i < n_sequences; ++i) {
    SchedRequest r;
    r.id = static_cast<RequestId>(i);
    r.prompt.resize(512);
    for (auto& t : r.prompt) t = static_cast<TokenId>(rng.Below(32000));
    r.policy = std::make_shared<SamplingPolicy>(params, std::vector<TokenId>{2},
                                                std::vector<std::vector<TokenId>>{});
    scheduler.AddRequest(std::move(r));
  }
  StepResult result;
  std::vector<SequenceEvent> events;
  std::vector<double> build, apply, both;
  while (both.size() < 1000) {
    events.clear();
    const double start = NowSeconds();
    const Step* step = scheduler.BuildStep(start, &events);
    const double built = NowSeconds();
    result.tokens.resize(step->logit_rows.size());
    for (auto& t : result.tokens) t.id = static_cast<int32_t>(3 + rng.Below(30000));
    const double sampled = NowSeconds();
    scheduler.ApplyResult(result, &events);
    const double end = NowSeconds();
    if (static_cast<int>(events.size()) < n_sequences) continue;  // prompts are not done yet
    build.push_back(built - start);
    apply.push_back(end - sampled);
    both.push_back(build.back() + apply.back());
  }
  for (auto* v : {&build, &apply, &both}) std::ranges::sort(*v);
  const auto us = [](const std::vector<double>& v, double q) {
    return 1e6 * v[static_cast<size_t>(q * static_cast<double>(v.size() - 1))];
  };
  std::printf("%-22s %4d sequences: build %6.1f us, apply %6.1f us, both median %6.1f us, p99 %6.1f us\n",
              name, n_sequences, us(build, 0.5), us(apply, 0.5), us(both, 0.5), us(both, 0.99));
}

}  // namespace
}  // namespace lathe

int main() {
  lathe::SamplingParams plain, penalties;
  plain.ignore_eos = penalties.ignore_eos = true;
  penalties.frequency_penalty = 0.5;
  penalties.repetition_penalty = 1.1;
  for (const int n : {1, 16, 64, 256, 512}) lathe::Run("plain", n, plain);
  lathe::Run("penalties", 256, penalties);
  return 0;
}
