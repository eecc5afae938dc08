// One admitted request between the engine's callbacks and the client: texts gathered or streamed, ended once.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "serve/openai/answer.h"
#include "serve/openai/api.h"
#include "serve/openai/api_error.h"
#include "serve/openai/job.h"

namespace lathe::serve {

// Lives as long as the engine holds one of its callbacks. Three threads meet here: the worker that starts it,
// the engine's that delivers, an I/O thread that tells of a disconnect. Everything is under `mutex_` but the
// ids of the engine's requests, which Cancel() needs from any of them.
class Generation : public std::enable_shared_from_this<Generation> {
 public:
  // Admits, submits and returns; the answer comes later. `cost`: tokens to charge. `route`: for the record.
  static void Start(const ApiContext& context, std::string_view route, Job job, uint64_t cost,
                    std::shared_ptr<const HttpRequest> http, std::shared_ptr<Responder> responder);

  Generation(const ApiContext& context, std::string_view route, Job job,
             std::shared_ptr<const HttpRequest> http, std::shared_ptr<Responder> responder);

 private:
  struct Choice {
    std::unique_ptr<OutputParser> parser;  // null: the text is the content
    ChoiceText text;                       // all of it, or what no event has told yet
    bool begun = false;                    // an event or an echo has been made
    int n_calls = 0;
    double last_token = 0;
  };

  bool Admit(const ApiContext& context, uint64_t cost);
  void Submit();
  void Open();
  void Cancel();
  bool Cancelled();

  void OnDelta(size_t prompt, const OutputDelta& delta);
  // The following need mutex_.
  bool Consume(size_t prompt, const OutputDelta& delta);
  void Observe(Choice* choice, const OutputDelta& delta);
  void AddText(Choice* choice, const OutputDelta& delta);
  void AddTokens(Choice* choice, const std::vector<TokenOutput>& tokens, bool of_prompt);
  void BeginEcho(size_t prompt, Choice* choice);
  void Merge(ParsedDelta piece, Choice* choice) const;
  bool Emit(std::string events);
  void Fail(const ApiError& error);
  void Complete();
  void Report();
  Usage UsageSoFar() const;
  ApiError ErrorOf(const OutputDelta& delta) const;
  std::string_view FinishWord(const Choice& choice, FinishReason reason) const;

  Engine* const engine_;
  Observer* const observer_;
  const std::string_view route_;
  const Job job_;
  const std::shared_ptr<const HttpRequest> http_;
  const std::shared_ptr<Responder> responder_;
  const TokenSpeller speller_;
  std::unique_ptr<Answer> answer_;  // null for embeddings

  std::mutex mutex_;
  std::shared_ptr<Admission::Ticket> ticket_;
  std::vector<Choice> choices_;                            // of prompt 0, then 1, ..
  std::vector<std::vector<TokenOutput>> prompt_logprobs_;  // of each prompt, when echoed
  std::vector<std::vector<float>> embeddings_;
  size_t outstanding_;      // prompts whose last delta has not come
  bool opened_ = false;     // events go to the responder, no longer to pending_
  std::string pending_;     // events made before the stream was opened
  bool completed_ = false;  // the answer is whole
  bool closed_ = false;     // nothing more may be written
  ApiError error_;          // why, when closed by a fault
  Usage usage_;             // of the prompts that have ended
  int n_tokens_ = 0;
  double queued_seconds_ = 0, first_token_seconds_ = 0;

  std::mutex ids_mutex_;
  std::vector<RequestId> ids_;
  bool cancelled_ = false;
};

}  // namespace lathe::serve
