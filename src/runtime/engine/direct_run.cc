#include "runtime/engine/direct_run.h"

#include <algorithm>

#include "base/check.h"
#include "runtime/sample/sequence_sampler.h"

namespace lathe {
namespace {

// Rows [first, first + n) of `ids`, every one with logits. `targets` (n) is filled with what kScore forces.
void FillStep(DirectMode mode, std::span<const TokenId> ids, int first, int n, const KvSequence& seq,
              int page_size, std::vector<TokenBias>* targets, Step* step) {
  const auto chunk = ids.subspan(static_cast<size_t>(first), static_cast<size_t>(n));
  step->token_ids.assign(chunk.begin(), chunk.end());
  step->sequences.assign(1, {.first_row = 0,
                             .n_rows = n,
                             .first_position = first,
                             .rope_length = static_cast<int32_t>(ids.size()),
                             .pages = seq.pages.data(),
                             .n_pages = (first + n + page_size - 1) / page_size});
  step->want_logits = mode == DirectMode::kLogits;
  step->logit_rows.clear();
  step->samples.assign(static_cast<size_t>(n), SampleRow{});
  targets->assign(static_cast<size_t>(n), TokenBias{});
  for (int i = 0; i < n; ++i) {
    step->logit_rows.push_back(i);
    if (mode == DirectMode::kLogits) continue;
    step->samples[static_cast<size_t>(i)] =
        ForcedRow(ids[static_cast<size_t>(first + i) + 1], &(*targets)[static_cast<size_t>(i)]);
  }
}

Status TakeScores(const Step& step, const StepResult& result, Engine::Score* score) {
  LATHE_CHECK_EQ(result.tokens.size(), step.samples.size());
  for (size_t i = 0; i < result.tokens.size(); ++i) {
    if (!result.tokens[i].finite) {
      return Error(StatusCode::kInternal, "a logit at position %zu was not finite",
                   static_cast<size_t>(step.sequences[0].first_position) + i);
    }
    LATHE_CHECK_EQ(result.tokens[i].id, step.samples[i].biases->id);
    score->nats -= static_cast<double>(result.tokens[i].logprob);
    ++score->tokens;
  }
  return Status::Ok();
}

}  // namespace

DirectResult RunDirect(DirectMode mode, std::span<const TokenId> ids, StepExecutor* executor, KvManager* kv) {
  DirectResult out;
  KvSequence seq;
  if (kv->Admit(&seq, ids, "", /*use_cache=*/false, /*reserve=*/0) < 0) {
    out.wants_pages = true;
    out.status = Error(StatusCode::kResourceExhausted,
                       "%zu tokens need %d pages of the KV cache, but %d of its %d are there", ids.size(),
                       kv->PagesFor(static_cast<int>(ids.size())), kv->n_available(), kv->n_pages());
    return out;
  }
  const ExecutorLimits& limits = executor->limits();
  const int most = std::min(limits.max_step_rows, limits.max_logit_rows);
  // The last token of a scored text predicts nothing.
  const int n_rows = static_cast<int>(ids.size()) - (mode == DirectMode::kScore ? 1 : 0);
  Step step;
  StepResult result;
  std::vector<TokenBias> targets;
  for (int first = 0; first < n_rows && out.status.ok(); first += most) {
    FillStep(mode, ids, first, std::min(most, n_rows - first), seq, limits.page_size, &targets, &step);
    kv->TakeMoves(&step.moves);
    step.moves_needed = seq.ready_at;
    out.status = executor->Execute(step, &result);
    out.device_failed = !out.status.ok();
    if (out.device_failed) break;
    kv->SetMovesDone(result.moves_done);
    if (mode == DirectMode::kScore) out.status = TakeScores(step, result, &out.score);
    out.logits.insert(out.logits.end(), result.logits.begin(), result.logits.end());
  }
  kv->Free(&seq);
  return out;
}

}  // namespace lathe
