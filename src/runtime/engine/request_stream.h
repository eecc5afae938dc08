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

 private:
  struct Continuation {
    std::unique_ptr<TextModel::Stream> decoder;
    StopChecker stops;
    int n_tokens = 0;
    bool done = false;
  };
  // True: a stop string was met.
  bool AddText(Continuation* part, const SequenceEvent& event, std::string* out);

  std::shared_ptr<const SamplingPolicy> policy_;
  OutputCallback callback_;
  std::vector<Continuation> parts_;  // (n)
  int n_open_;
  Usage usage_;
  FinishReason outcome_ = FinishReason::kStop;
};

}  // namespace lathe
