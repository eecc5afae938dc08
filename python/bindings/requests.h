// Requests under way, as Python holds them.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine_cell.h"
#include "mailbox.h"
#include "python.h"
#include "serve/openai/job.h"

namespace lathe::python {

// A conversation that has become a prompt, and how its answer is to be read.
struct ChatJob {
  std::string text;  // as rendered
  serve::Job job;
};

// A submitted request. Dropping it cancels what still runs.
class PyRequest {
 public:
  PyRequest(std::shared_ptr<EngineCell> cell, std::shared_ptr<RequestState> state, RequestId id);
  ~PyRequest();
  PyRequest(const PyRequest&) = delete;
  PyRequest& operator=(const PyRequest&) = delete;

  void Cancel();

  const std::shared_ptr<EngineCell> cell;
  const std::shared_ptr<RequestState> state;
  std::vector<TokenId> prompt_ids;
  bool wants_logprobs = false;
  bool cancelled = false;                   // by Cancel
  std::optional<OutputParserOptions> chat;  // how the answer is read, if it is one of a chat
  std::vector<OutputParser> parsers;        // one a continuation, of a chat that streams

 private:
  const RequestId id_;
};

}  // namespace lathe::python
