#include "runtime/engine/request_stream.h"

#include <algorithm>

#include "base/check.h"

namespace lathe {

RequestStream::RequestStream(const SchedRequest& request, OutputCallback callback, const TextModel& text)
    : policy_(request.policy), callback_(std::move(callback)), n_open_(request.n) {
  usage_.prompt_tokens = static_cast<int>(request.prompt.size());
  for (int i = 0; i < request.n; ++i) parts_.push_back({text.NewStream(), StopChecker(&policy_->params())});
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
  if (event.token != nullptr) {
    ++part.n_tokens;
    ++usage_.completion_tokens;
    TokenOutput& token = delta->tokens.emplace_back();
    token.id = event.token->id;
    token.logprob = event.token->logprob;
    for (const TokenLogprob& t : event.token->top) token.top.push_back({t.id, t.logprob});
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
