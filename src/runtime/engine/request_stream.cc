#include "runtime/engine/request_stream.h"

#include <algorithm>

#include "base/check.h"
#include "base/clock.h"

namespace lathe {

RequestStream::RequestStream(const SchedRequest& request, OutputCallback callback, const TextModel& text)
    : policy_(request.policy), callback_(std::move(callback)), n_open_(request.n), submitted_(NowSeconds()) {
  usage_.prompt_tokens = static_cast<int>(request.prompt.size());
  if (request.report == PromptReport::kLogprobs) prompt_ = request.prompt;
  for (int i = 0; i < request.n; ++i)
    parts_.push_back(
        {text.NewStream(policy_->params().skip_special_tokens), StopChecker(&policy_->params())});
}

TokenOutput RequestStream::OutputOf(const SampledToken& from) {
  TokenOutput token;
  token.id = from.id;
  token.logprob = from.logprob;
  for (const TokenLogprob& t : from.top) token.top.push_back({t.id, t.logprob});
  return token;
}

bool RequestStream::AddText(Continuation* part, const SequenceEvent& event, std::string* out) {
  const bool take = part->n_tokens > policy_->params().min_tokens;
  // The token that ends a sequence by being itself is no text.
  const bool is_text = event.token != nullptr && event.finish != FinishReason::kStop;
  if (is_text && part->stops.Feed(part->decoder->Push(event.token->id), take, out)) return true;
  if (event.finish == FinishReason::kNone) return false;
  if (part->stops.Feed(part->decoder->Flush(), take, out)) return true;
  part->stops.Flush(out);
  return false;
}

void RequestStream::Fill(const SequenceEvent& event, OutputDelta* delta) {
  Continuation& part = parts_[static_cast<size_t>(event.index)];
  LATHE_CHECK(!part.done);
  delta->request = event.request;
  delta->index = event.index;
  delta->text.clear();
  delta->tokens.clear();
  delta->finish = event.finish;
  delta->error = event.error;
  delta->embedding = event.embedding;
  delta->prompt.clear();
  if (event.prompt != nullptr) FillPrompt(*event.prompt, &delta->prompt);
  if (event.token != nullptr) {
    ++part.n_tokens;
    ++usage_.completion_tokens;
    delta->tokens.push_back(OutputOf(*event.token));
  }
  const bool stopped = AddText(&part, event, &delta->text);
  if (stopped && (event.finish == FinishReason::kNone || event.finish == FinishReason::kLength)) {
    delta->finish = FinishReason::kStop;
  }
  usage_.cached_tokens = std::max(usage_.cached_tokens, event.cached_tokens);
  delta->usage = usage_;
  if (delta->finish != FinishReason::kNone) {
    part.done = true;
    --n_open_;
    outcome_ = std::max(outcome_, delta->finish);
  }
  delta->last = n_open_ == 0;
  delta->queued_seconds = started_ > 0 ? started_ - submitted_ : 0;
}

void RequestStream::FillPrompt(const std::vector<SampledToken>& report, std::vector<TokenOutput>* out) const {
  out->emplace_back().id = prompt_[0];  // nothing stands before it
  for (const SampledToken& token : report) out->push_back(OutputOf(token));
}

bool RequestStream::Call(const OutputDelta& delta) {
  if (!callback_) return true;
  try {
    callback_(delta);
    return true;
  } catch (...) {
    // Somebody else's code on our thread: only its own request may suffer.
    callback_ = nullptr;
    return false;
  }
}

}  // namespace lathe
