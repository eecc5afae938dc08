#include "compare/run.h"

#include <algorithm>

#include "base/clock.h"
#include "base/status.h"
#include "serving/dataset.h"

namespace lathe::cli {
namespace {

constexpr int kMostSequences = 256;  // that an engine runs at once by default
constexpr int kWarmupTokens = 4;
constexpr int kStartupTokens = 32;  // of the prompt that start-up is timed with
constexpr int kSafeVocab = 1000;    // where nobody says how large the vocabulary is
constexpr uint64_t kStartupIndex = uint64_t{1} << 40;

class Run {
 public:
  Run(const ComparePlan& plan, const std::vector<std::unique_ptr<Contender>>& contenders,
      const CompareProgress& progress, const CompareSave& save, CompareState* state)
      : plan_(plan),
        contenders_(contenders),
        progress_(progress),
        save_(save),
        state_(*state),
        out_(state->comparison) {}

  Status All() {
    if (!state_.begun()) LATHE_RETURN_IF_ERROR(StartEachOnce());
    const size_t n = contenders_.size();
    for (; state_.turn < n * static_cast<size_t>(plan_.rounds); ++state_.turn, state_.next = 0) {
      const size_t round = state_.turn / n;
      LATHE_RETURN_IF_ERROR(Turn((state_.turn + round) % n, static_cast<int>(round)));
    }
    return {};
  }

 private:
  Status StartEachOnce() {
    int max_context = 0, vocab = 0;
    uint64_t fill_tokens = 0;
    for (const auto& contender : contenders_) {
      progress_("starting " + contender->label(), 0, 0);
      auto facts = contender->Start();
      if (!facts.ok()) return facts.status().WithContext(contender->label());
      contender->Stop();
      if (facts->max_context > 0)
        max_context = std::min(max_context > 0 ? max_context : facts->max_context, facts->max_context);
      if (facts->vocab > 0) vocab = std::min(vocab > 0 ? vocab : facts->vocab, facts->vocab);
      if (out_.contenders.empty()) fill_tokens = facts->fill_tokens;
      out_.contenders.push_back({.name = facts->name, .detail = facts->detail});
    }
    state_.vocab = vocab > 0 ? vocab : kSafeVocab;
    out_.cases = CasesOf(plan_, max_context, fill_tokens);
    if (out_.cases.empty()) {
      return Error(StatusCode::kInvalidArgument,
                   "no prompt fits: the context is %d tokens, of which %d are for the answer", max_context,
                   plan_.output);
    }
    for (ContenderResult& result : out_.contenders) result.cases.resize(out_.cases.size());
    return save_(state_);
  }

  std::vector<std::vector<TokenId>> Prompts(int batch, int input, uint64_t index) const {
    std::vector<std::vector<TokenId>> out(static_cast<size_t>(batch));
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = RandomPromptIds(plan_.seed, index * 4096 + i, input, state_.vocab);
    }
    return out;
  }

  // One contender's turn in a round.
  Status Turn(size_t who, int round) {
    Contender& contender = *contenders_[who];
    ContenderResult& result = out_.contenders[who];
    const double begin = NowSeconds();
    LATHE_RETURN_IF_ERROR(contender.Start().status().WithContext(result.name));
    if (contender.is_process() && state_.next == 0) {
      const auto first =
          contender.Run(Prompts(1, kStartupTokens, kStartupIndex + static_cast<uint64_t>(round)), 1, 1,
                        plan_.limit_seconds);
      if (!first.ok()) return first.status().WithContext(result.name);
      result.startup_seconds.push_back(NowSeconds() - begin);
    }
    const size_t n = out_.cases.size(), total = n * contenders_.size() * static_cast<size_t>(plan_.rounds);
    while (state_.next < n) {
      const size_t i = state_.next;
      progress_(result.name + ": " + InputName(out_.cases[i]) + ", " + BatchName(out_.cases[i]),
                state_.turn * n + i, total);
      LATHE_RETURN_IF_ERROR(One(contender, i, round, &result));
      ++state_.next;
      LATHE_RETURN_IF_ERROR(save_(state_));
    }
    contender.Stop();
    return {};
  }

  double Least(size_t index, const ContenderResult& result) const {
    double out = 0;
    for (size_t i = 0; i < index; ++i)
      out = std::max(out, LeastSeconds(out_.cases[index], out_.cases[i], result.cases[i]));
    return out;
  }

  // A case that was left out once stays so.
  Status One(Contender& contender, size_t index, int round, ContenderResult* result) {
    const CompareCase& c = out_.cases[index];
    CaseResult& out = result->cases[index];
    if (!out.missing.empty()) return {};
    if (const double least = Least(index, *result); least > plan_.limit_seconds) {
      out.missing = StrFormat("left out: would take more than %.0f s", least);
      return {};
    }
    const double begin = NowSeconds();
    const auto prompts_of = [&](int repeat) {
      return Prompts(c.batch, c.input,
                     (static_cast<uint64_t>(round) * 64 + static_cast<uint64_t>(repeat)) * 1024 + index);
    };
    // Repetition 0 warms up.
    for (int repeat = 0; repeat <= plan_.repeats; ++repeat) {
      const int output = repeat == 0 ? std::min(kWarmupTokens, c.output) : c.output;
      const auto sample = contender.Run(prompts_of(repeat), output, c.output, plan_.limit_seconds);
      if (!sample.ok()) return Missing(contender, sample.status(), &out);
      if (repeat == 0) continue;
      Add(c, *sample, &out);
      if (NowSeconds() - begin > plan_.case_seconds) break;
    }
    return {};
  }

  static void Add(const CompareCase& c, const CaseSample& sample, CaseResult* out) {
    out->first_ms.push_back(sample.first_ms);
    if (c.output > 1) out->per_token_ms.push_back((sample.total_ms - sample.first_ms) / (c.output - 1));
    out->tokens_per_second.push_back(1e3 * c.batch * c.output / sample.total_ms);
    out->memory_bytes = std::max(out->memory_bytes, sample.memory_bytes);
    if (out->first_tokens.empty()) out->first_tokens = sample.first_tokens;
  }

  // Notes why there is no sample, and makes the contender ready for what may still come.
  Status Missing(Contender& contender, const Status& status, CaseResult* out) {
    if (status.code() == StatusCode::kCancelled) return status;
    const bool late = status.code() == StatusCode::kDeadlineExceeded;
    out->missing = late ? StrFormat("took more than %.0f s", plan_.limit_seconds) : status.message();
    if (!contender.is_process()) return {};
    contender.Stop();
    return contender.Start().status().WithContext(contender.label());
  }

  const ComparePlan& plan_;
  const std::vector<std::unique_ptr<Contender>>& contenders_;
  const CompareProgress& progress_;
  const CompareSave& save_;
  CompareState& state_;
  Comparison& out_;
};

}  // namespace

std::vector<CompareCase> CasesOf(const ComparePlan& plan, int max_context, uint64_t fill_tokens) {
  std::vector<CompareCase> out;
  int before = 0;
  for (const int asked : plan.inputs) {
    const int input = max_context > 0 ? std::min(asked, max_context - plan.output) : asked;
    if (input <= before) continue;  // nothing left, or what has been cut is there already
    before = input;
    for (const int batch : plan.batches)
      out.push_back({.batch = batch, .input = input, .output = plan.output});
    const uint64_t held = fill_tokens / static_cast<uint64_t>(input + plan.output);
    const int full = static_cast<int>(std::min<uint64_t>(held, kMostSequences));
    if (plan.fill && full > plan.batches.back()) {
      out.push_back({.batch = full, .input = input, .output = plan.output, .fills = true});
    }
  }
  return out;
}

double LeastSeconds(const CompareCase& c, const CompareCase& before, const CaseResult& result) {
  if (result.first_ms.empty() || c.batch < before.batch || c.input < before.input) return 0;
  const double prompts =
      static_cast<double>(c.batch) * c.input / (static_cast<double>(before.batch) * before.input);
  const double first = MedianOf(result.first_ms) / 1e3, token = MedianOf(result.per_token_ms) / 1e3;
  // A short prompt does not fill the machine, so a longer one may take less than in proportion: half is
  // taken.
  return std::max(first, first * prompts / 2) + token * (c.output - 1);
}

Status RunComparison(const ComparePlan& plan, const std::vector<std::unique_ptr<Contender>>& contenders,
                     const CompareProgress& progress, const CompareSave& save, CompareState* state) {
  state->comparison.rounds = plan.rounds;
  state->comparison.repeats = plan.repeats;
  return Run(plan, contenders, progress, save, state).All();
}

}  // namespace lathe::cli
