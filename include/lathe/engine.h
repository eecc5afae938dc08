// The public C++ API: load an engine file, submit requests, stream tokens, cancel, look at what it does.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lathe/request.h"
#include "lathe/status.h"
#include "lathe/types.h"

namespace lathe {

// Run-time settings; none of them ever forces a rebuild. 0 means: choose.
struct EngineOptions {
  int threads = 0;          // compute threads; 0: usable CPUs (affinity and cgroup quota)
  uint64_t kv_bytes = 0;    // KV cache budget; 0: fits max_positions for a few sequences within free memory
  int max_sequences = 0;    // running at once; 0: 256
  int max_step_tokens = 0;  // rows of one step (chunked prefill); 0: 512, on a GPU 4096 if they fit
  int max_context = 0;      // longest sequence; 0: the model's
  int max_queued_requests = 0;  // waiting; 0: 65536
  bool prefix_cache = true;
  // While sequences decode, a step takes so many rows of prompts that it lasts at most this many times what
  // it would without them, or 50 ms, as far as steps before let one tell: bounds the gap between tokens.
  // 0: no bound (prompts fill every step, for throughput).
  double max_step_growth = 0;
  std::string chat_template = {};  // source that replaces the model's; "": the model's own

  // Engines for a GPU (docs/contracts/cuda.md):
  int device = 0;                  // its ordinal (lathe devices)
  double gpu_memory_fraction = 0;  // of what is free beside weights and buffers, for the KV cache, where
                                   // kv_bytes is 0; 0: 0.9
  // The same bits for a request whatever runs beside it. Costs speed; the CPU gives them always.
  bool deterministic = false;
  // Bytes of weights on the device so far; called by loading threads, one at a time.
  std::function<void(uint64_t done, uint64_t total)> load_progress = {};
};

struct ModelInfo {
  std::string name;  // of the directory it was built from
  std::string family;
  std::string dtype;  // "bf16", "f32"
  int vocab = 0;
  int max_context = 0;
  std::vector<TokenId> eos_ids;
  TokenId bos_id = -1;
  bool has_chat_template = false;
  uint64_t weight_bytes = 0;  // read per decoded token: the numerator of % of bandwidth
  uint64_t kv_bytes_per_token = 0;
};

// A snapshot; counters only grow.
struct EngineStats {
  int running = 0, waiting = 0;
  int pages_total = 0, pages_used = 0,
      pages_cached = 0;  // used: held by sequences; cached: only by the prefix cache
  int page_size = 0;     // token positions of a page
  uint64_t steps = 0, prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;
  uint64_t submitted = 0, finished = 0, cancelled = 0, failed = 0, preemptions = 0, recomputed_tokens = 0;
  // Steps by how many sequences had rows in them: bucket i counts those of at most 2^i, the last one all
  // others.
  static constexpr int kBatchBuckets = 12;
  std::array<uint64_t, kBatchBuckets> steps_by_batch{};
  uint64_t sequences_in_steps = 0;  // summed over all steps
  double step_seconds = 0;          // inside the executor
  double host_seconds = 0;          // scheduling, sampling policy, text
  double device_seconds = 0;        // that a GPU computed, by its own clock; up to a step late; 0 on CPUs
  double last_step_time = 0;        // monotonic seconds when the last step ended (progress, for health)
  bool accepting = true;  // false: it failed for good (device, damaged weights) and must be loaded again
};

// Thread-safe: every member may be called from any thread. Destruction cancels what is running.
class Engine {
 public:
  // Opens an engine file, checks that it fits this machine (before a weight is read), starts its thread.
  static Expected<std::unique_ptr<Engine>> Load(const std::string& path, const EngineOptions& options);
  virtual ~Engine() = default;

  virtual const ModelInfo& model() const = 0;
  // The model's generation_config.json over OpenAI's defaults.
  virtual SamplingParams DefaultSampling() const = 0;

  // Checks the request (kInvalidArgument: with the numbers, e.g. a prompt longer than the context or one that
  // can never fit the KV budget; kResourceExhausted: the queue is full, try again later) and queues it.
  virtual Expected<RequestId> Submit(Request request, OutputCallback callback) = 0;
  // Ends a request; its pages are free before the next step. Unknown ids are ignored.
  virtual void Cancel(RequestId id) = 0;
  // Blocks until nothing is queued or running.
  virtual void WaitIdle() = 0;

  virtual EngineStats Stats() const = 0;

  // Text tools of this engine's model.
  virtual Expected<std::vector<TokenId>> Tokenize(const std::string& text, bool add_special,
                                                  bool parse_special) const = 0;
  virtual std::string Detokenize(const std::vector<TokenId>& ids, bool skip_special) const = 0;
  // The bytes a token adds in the middle of a text (part of a character, maybe); "" for an id not in use.
  virtual std::string TokenBytes(TokenId id) const = 0;
  // Source of the chat template in force; "" when there is none.
  virtual const std::string& ChatTemplate() const = 0;
  // Whether a request with this format would be taken as far as the format goes; compiles it on the calling
  // thread and keeps it for that request. Errors: kInvalidArgument, kUnsupported, with what was found and
  // where.
  virtual Status CheckFormat(const OutputFormat&) const { return Status::Ok(); }
  // Ids (and, when text is not null, the text) of a rendered conversation.
  virtual Expected<std::vector<TokenId>> RenderChat(const Prompt::Chat& chat, std::string* text) const = 0;

  // Mean nats per token of `windows`, each scored in one prefill (position 0 is context only); for
  // `lathe eval`. Runs on the calling thread while nothing else is submitted.
  struct Score {
    double nats = 0;  // summed
    uint64_t tokens = 0;
  };
  virtual Expected<Score> ScoreWindow(const std::vector<TokenId>& ids) = 0;
  // Raw logits (ids.size(), vocab) of every position; verification only.
  virtual Expected<std::vector<float>> Logits(const std::vector<TokenId>& ids) = 0;
};

}  // namespace lathe
