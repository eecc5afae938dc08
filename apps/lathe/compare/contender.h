// Who takes part in a comparison: this engine, transformers, or any OpenAI-compatible server.
//
// A worker is a process that reads a case as one line of JSON and answers with one:
//   {"ready": true, "name": "transformers 5.17.0", "detail": "bf16, 2 threads", "vocab": 8192, "max_context":
//   2048,
//    "fill_tokens": 40960}                              when it has loaded; fill_tokens: positions of its KV
//    cache
//   {"prompts": [[ids], ...], "output": 4, "room": 128}  ->  {"first_ms": 12.3, "total_ms": 456.7,
//                                                           "memory_bytes": 123456789, "first_tokens": [id,
//                                                           ...]}
//                                                        or {"error": "one sentence"}
// "room": tokens that later cases of the same prompts' sizes ask for, so that what is compiled or captured
// for this one, a warm-up, serves those. It ends when its standard input does. `lathe bench worker` is one,
// peer/transformers_worker.py another.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "lathe/types.h"
#include "serving/http_client.h"
#include "serving/url.h"

namespace lathe::cli {

struct ContenderFacts {
  std::string name = {}, detail = {};
  int vocab = 0, max_context = 0;  // 0: unknown
  uint64_t fill_tokens = 0;        // 0: unknown
};

struct CaseSample {
  double first_ms = 0, total_ms = 0;
  uint64_t memory_bytes = 0;
  std::vector<int64_t> first_tokens;
};

class Contender {
 public:
  virtual ~Contender() = default;
  // For progress and messages, before Start has told its name.
  virtual const std::string& label() const = 0;
  // Makes it ready. Errors: kCancelled, and why it cannot.
  virtual Expected<ContenderFacts> Start() = 0;
  // Whether Start begins a process, whose way to the first token can be timed.
  virtual bool is_process() const = 0;
  // All prompts at once, `output` tokens for each (`room` in cases to come), within `seconds`. Errors:
  // kDeadlineExceeded (a process is killed then, and must be started again), kCancelled, kUnavailable when it
  // has ended, or its own sentence.
  virtual Expected<CaseSample> Run(const std::vector<std::vector<TokenId>>& prompts, int output, int room,
                                   double seconds) = 0;
  virtual void Stop() = 0;
};

// `args`: the worker's command line; `log`: file for what it writes to standard error.
std::unique_ptr<Contender> MakeWorker(std::string label, std::vector<std::string> args, std::string log,
                                      double start_seconds, std::function<bool()> interrupted);

// A server that is up. `model`: its name there, "" for the first it lists. Ctrl-C is asked for as of a
// worker.
std::unique_ptr<Contender> MakeServer(Url url, TlsOptions tls, std::string model, std::string api_key,
                                      std::function<bool()> interrupted);

}  // namespace lathe::cli
