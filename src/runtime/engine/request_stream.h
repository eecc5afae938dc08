// A request on its way out: from the scheduler's events to the caller's deltas.
#pragma once

#include <memory>
#include <vector>

#include "lathe/request.h"
#include "runtime/engine/text_model.h"
#include "runtime/sample/stop_checker.h"
#include "runtime/sched/scheduler.h"

namespace lathe {

// Owned by the engine's thread.
class RequestStream {
 public:
  // `text` must outlive it.
  RequestStream(const SchedRequest& request, OutputCallback callback, const TextModel& text);

  // The delta of an event, complete with text, usage and `last`. `delta` is overwritten; its memory is used
  // again. After a final delta the continuation takes no more events.
  void Fill(const SequenceEvent& event, OutputDelta* delta);
  // False when the callback threw: it is not called again.
  bool Call(const OutputDelta& delta);

  bool done() const { return n_open_ == 0; }
  bool done(int index) const { return parts_[static_cast<size_t>(index)].done; }
  // How the request as a whole ended, once done(): the worst of its continuations.
  FinishReason outcome() const { return outcome_; }
  // Its first rows are in a step that starts at `now` (later calls change nothing).
  void Started(double now) {
    if (started_ == 0) started_ = now;
  }

 private:
  struct Continuation {
    std::unique_ptr<TextModel::Stream> decoder;
    StopChecker stops;
    int n_tokens = 0;
    bool done = false;
  };
  // True: a stop string was met.
  bool AddText(Continuation* part, const SequenceEvent& event, std::string* out);

  static TokenOutput OutputOf(const SampledToken& from);
  void FillPrompt(const std::vector<SampledToken>& report, std::vector<TokenOutput>* out) const;

  std::shared_ptr<const SamplingPolicy> policy_;
  OutputCallback callback_;
  std::vector<Continuation> parts_;  // (n)
  int n_open_;
  std::vector<TokenId> prompt_;  // where its logprobs are reported
  double submitted_;
  double started_ = 0;
  Usage usage_;
  FinishReason outcome_ = FinishReason::kStop;
};

}  // namespace lathe
