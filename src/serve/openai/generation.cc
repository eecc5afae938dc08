#include "serve/openai/generation.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include "base/clock.h"

namespace lathe::serve {
namespace {

std::unique_ptr<Answer> MakeAnswer(const Job& job) {
  const auto now = static_cast<int64_t>(std::time(nullptr));
  switch (job.kind) {
    case AnswerKind::kChat: return MakeChatAnswer(job, now);
    case AnswerKind::kCompletion: return MakeCompletionAnswer(job, now);
    case AnswerKind::kGenerate: return MakeGenerateAnswer(job);
    case AnswerKind::kEmbedding: break;
  }
  return nullptr;
}

}  // namespace

Generation::Generation(const ApiContext& context, std::string_view route, Job job,
                       std::shared_ptr<const HttpRequest> http, std::shared_ptr<Responder> responder)
    : engine_(context.engine),
      observer_(context.observer),
      route_(route),
      job_(std::move(job)),
      http_(std::move(http)),
      responder_(std::move(responder)),
      speller_(context.engine, job_.tokens_as_ids, job_.request.sampling.skip_special_tokens),
      answer_(MakeAnswer(job_)),
      choices_(static_cast<size_t>(job_.n_choices())),
      prompt_logprobs_(job_.prompts.size()),
      embeddings_(job_.prompts.size()),
      outstanding_(job_.prompts.size()) {
  if (!job_.parser.tools && !job_.parser.reasoning) return;
  for (size_t i = 0; i < choices_.size(); ++i) {
    OutputParserOptions options = job_.parser;
    options.id_prefix = job_.id + "-" + std::to_string(i);
    choices_[i].parser = std::make_unique<OutputParser>(std::move(options));
  }
}

void Generation::Start(const ApiContext& context, std::string_view route, Job job, uint64_t cost,
                       std::shared_ptr<const HttpRequest> http, std::shared_ptr<Responder> responder) {
  const auto self =
      std::make_shared<Generation>(context, route, std::move(job), std::move(http), std::move(responder));
  if (!self->Admit(context, cost)) return;
  self->responder_->OnDisconnect([weak = std::weak_ptr(self)] {
    if (const auto generation = weak.lock()) generation->Cancel();
  });
  self->Submit();
}

bool Generation::Admit(const ApiContext& context, uint64_t cost) {
  if (context.admission == nullptr) return true;
  Admission::Refusal refusal;
  ticket_ = context.admission->Admit(http_->principal, job_.n_choices(), cost, &refusal);
  if (ticket_ != nullptr) return true;
  std::lock_guard lock(mutex_);
  outstanding_ = 0;
  Fail({.status = refusal.status,
        .message = refusal.message,
        .param = "",
        .code = refusal.code,
        .retry_after_seconds = refusal.retry_after_seconds});
  Report();
  return false;
}

void Generation::Submit() {
  const auto self = shared_from_this();
  for (size_t i = 0; i < job_.prompts.size(); ++i) {
    Request request = job_.request;
    request.prompt = Prompt::Ids(job_.prompts[i].ids);
    request.sampling.max_tokens = job_.prompts[i].max_tokens;
    auto id =
        engine_->Submit(std::move(request), [self, i](const OutputDelta& delta) { self->OnDelta(i, delta); });
    if (!id.ok()) {
      {
        std::lock_guard lock(mutex_);
        Fail(FromStatus(id.status(), http_->request_id));
        outstanding_ -= job_.prompts.size() - i;
        if (outstanding_ == 0) Report();
      }
      Cancel();
      return;
    }
    bool cancelled = false;
    {
      std::lock_guard lock(ids_mutex_);
      ids_.push_back(*id);
      cancelled = cancelled_;
    }
    if (cancelled) engine_->Cancel(*id);  // the client left meanwhile
  }
  if (job_.stream) Open();
}

void Generation::Open() {
  bool gone = false;
  {
    std::lock_guard lock(mutex_);
    if (closed_) return;
    responder_->StartStream(200, "text/event-stream",
                            {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}});
    opened_ = true;
    std::string events;
    answer_->Begin(&events);
    gone = !Emit(events + std::exchange(pending_, {}));
    if (!gone && completed_) {
      closed_ = true;
      responder_->Finish();
    }
  }
  if (gone) Cancel();
}

void Generation::Cancel() {
  std::vector<RequestId> ids;
  {
    std::lock_guard lock(ids_mutex_);
    cancelled_ = true;
    ids = ids_;
  }
  for (const RequestId id : ids) engine_->Cancel(id);
}

void Generation::OnDelta(size_t prompt, const OutputDelta& delta) {
  bool go_on = true;
  {
    std::lock_guard lock(mutex_);
    if (!closed_) go_on = Consume(prompt, delta);
    if (delta.last) {
      usage_.prompt_tokens += delta.usage.prompt_tokens;
      usage_.cached_tokens += delta.usage.cached_tokens;
      usage_.completion_tokens += job_.echo_only ? 0 : delta.usage.completion_tokens;
      queued_seconds_ = std::max(queued_seconds_, delta.queued_seconds);
      if (--outstanding_ == 0) {
        Complete();
        Report();
      }
    }
  }
  if (!go_on) Cancel();
}

bool Generation::Consume(size_t prompt, const OutputDelta& delta) {
  if (delta.finish == FinishReason::kCancelled || delta.finish == FinishReason::kDeadline ||
      delta.finish == FinishReason::kError) {
    if (delta.finish == FinishReason::kCancelled && Cancelled())
      closed_ = true;  // nobody listens any more
    else
      Fail(ErrorOf(delta));
    return false;
  }
  if (job_.request.embed) {
    if (!delta.embedding.empty()) embeddings_[prompt] = delta.embedding;
    return true;
  }
  if (!delta.prompt.empty()) prompt_logprobs_[prompt] = delta.prompt;
  const size_t index = prompt * static_cast<size_t>(job_.request.n) + static_cast<size_t>(delta.index);
  Choice& choice = choices_[index];
  Observe(&choice, delta);
  if (!choice.begun && job_.echo) BeginEcho(prompt, &choice);
  AddText(&choice, delta);
  if (!job_.stream || choice.text.empty()) return true;
  choice.text.first = !choice.begun;
  choice.begun = true;
  std::string events;
  answer_->Event(static_cast<int>(index), choice.text, UsageSoFar(), &events);
  choice.text.parsed = {};
  choice.text.chat_logprobs.clear();
  choice.text.legacy_logprobs.Clear();
  choice.text.ids.clear();
  return Emit(std::move(events));
}

void Generation::Observe(Choice* choice, const OutputDelta& delta) {
  if (delta.tokens.empty()) return;
  const double now = NowSeconds();
  const bool first = choice->last_token == 0;
  const double gap = now - choice->last_token;  // of no meaning for the first
  choice->last_token = now;
  if (n_tokens_ == 0) {
    first_token_seconds_ = now - http_->received;
    if (observer_ != nullptr) observer_->OnFirstToken(first_token_seconds_);
  }
  n_tokens_ += static_cast<int>(delta.tokens.size());
  if (observer_ != nullptr && !first) observer_->OnTokens(static_cast<int>(delta.tokens.size()), gap);
}

void Generation::BeginEcho(size_t prompt, Choice* choice) {
  if (!job_.stream) choice->begun = true;
  choice->text.parsed.content = job_.prompts[prompt].text;
  if (job_.wants_logprobs()) AddTokens(choice, prompt_logprobs_[prompt], /*of_prompt=*/true);
}

void Generation::AddText(Choice* choice, const OutputDelta& delta) {
  const bool ended = delta.finish != FinishReason::kNone;
  if (!job_.echo_only) {
    AddTokens(choice, delta.tokens, /*of_prompt=*/false);
    if (choice->parser == nullptr) {
      choice->text.parsed.content += delta.text;
    } else {
      ParsedDelta piece;
      choice->parser->Push(delta.text, &piece);
      if (ended) choice->parser->Flush(&piece);
      Merge(std::move(piece), choice);
    }
  }
  if (ended) choice->text.finish = FinishWord(*choice, delta.finish);
}

void Generation::AddTokens(Choice* choice, const std::vector<TokenOutput>& tokens, bool of_prompt) {
  for (const TokenOutput& token : tokens) {
    if (job_.return_token_ids && !of_prompt) choice->text.ids.push_back(token.id);
    if (!job_.wants_logprobs()) continue;
    if (job_.kind == AnswerKind::kChat) {
      AppendChatLogprob(token, job_.request.sampling.logprobs, speller_, &choice->text.chat_logprobs);
    } else {
      // The first token of a prompt has nothing before it to be likely after.
      const bool has_logprob = !of_prompt || &token != tokens.data();
      choice->text.legacy_logprobs.Add(token, has_logprob, speller_);
    }
  }
}

void Generation::Merge(ParsedDelta piece, Choice* choice) const {
  ParsedDelta& parsed = choice->text.parsed;
  parsed.content += piece.content;
  if (job_.show_reasoning) parsed.reasoning += piece.reasoning;
  for (ToolCallDelta& call : piece.calls) {
    if (!job_.parallel_calls && call.index > 0) continue;
    choice->n_calls += call.first ? 1 : 0;
    if (!parsed.calls.empty() && parsed.calls.back().index == call.index)
      parsed.calls.back().arguments += call.arguments;
    else
      parsed.calls.push_back(std::move(call));
  }
}

bool Generation::Emit(std::string events) {
  if (!opened_) {
    pending_ += events;
    return true;
  }
  if (events.empty() || responder_->Write(std::move(events))) return true;
  closed_ = true;  // gone, or too slow
  return false;
}

void Generation::Fail(const ApiError& error) {
  if (closed_) return;
  closed_ = true;
  error_ = error;
  if (!opened_) return SendError(error, responder_.get());
  responder_->Write("data: " + ErrorBody(error) + "\n\n");
  responder_->Finish();
}

void Generation::Complete() {
  if (closed_) return;
  completed_ = true;
  if (!job_.stream) {
    closed_ = true;
    std::string body = job_.request.embed ? EmbeddingText(job_, embeddings_, usage_) : [this] {
      std::vector<ChoiceText> texts;
      for (Choice& choice : choices_) texts.push_back(std::move(choice.text));
      return answer_->Whole(texts, usage_);
    }();
    return responder_->Send(200, "application/json", std::move(body));
  }
  std::string events;
  answer_->End(usage_, &events);
  if (!Emit(std::move(events)) || !opened_) return;
  closed_ = true;
  responder_->Finish();
}

void Generation::Report() {
  ticket_.reset();
  if (observer_ == nullptr) return;
  RequestRecord record;
  record.route = route_;
  record.request_id = http_->request_id;
  record.trace_id = http_->trace_id;
  record.principal = http_->principal.name;
  const bool failed = !error_.code.empty();
  const bool unheard = !completed_ && !failed;  // the client left: 499, as proxies log it
  record.http_status = unheard ? 499 : failed && !opened_ ? error_.status : 200;
  record.error_code = error_.code;
  const std::string_view finish = choices_.empty() ? std::string_view{} : choices_[0].text.finish;
  if (completed_)
    record.finish = job_.request.embed ? "stop" : finish;
  else
    record.finish = unheard ? "cancelled" : error_.code == "deadline_exceeded" ? "deadline" : "error";
  record.streamed = job_.stream;
  record.prompt_tokens = usage_.prompt_tokens;
  record.cached_tokens = usage_.cached_tokens;
  record.completion_tokens = usage_.completion_tokens;
  record.n = job_.n_choices();
  record.queued_seconds = queued_seconds_;
  record.first_token_seconds = first_token_seconds_;
  record.total_seconds = NowSeconds() - http_->received;
  observer_->OnDone(record);
}

bool Generation::Cancelled() {
  std::lock_guard lock(ids_mutex_);
  return cancelled_;
}

Usage Generation::UsageSoFar() const {
  Usage usage;
  if (!job_.continuous_usage && job_.kind != AnswerKind::kGenerate) return usage;  // nobody reads it
  for (const JobPrompt& prompt : job_.prompts) usage.prompt_tokens += static_cast<int>(prompt.ids.size());
  usage.cached_tokens = usage_.cached_tokens;
  usage.completion_tokens = job_.echo_only ? 0 : n_tokens_;
  return usage;
}

ApiError Generation::ErrorOf(const OutputDelta& delta) const {
  if (delta.finish == FinishReason::kDeadline) {
    return FromStatus(
        {StatusCode::kDeadlineExceeded, "the request's timeout passed before its answer was complete"}, "");
  }
  if (delta.finish == FinishReason::kCancelled) {
    return FromStatus(
        {StatusCode::kCancelled, "the server gave the request up: it is shutting down, send it again"}, "");
  }
  return FromStatus(delta.error.ok() ? Status(StatusCode::kInternal, "no reason given") : delta.error,
                    http_->request_id);
}

std::string_view Generation::FinishWord(const Choice& choice, FinishReason reason) const {
  if (reason == FinishReason::kLength || job_.echo_only) return "length";
  return choice.n_calls > 0 && !job_.named_call ? "tool_calls" : "stop";
}

}  // namespace lathe::serve
