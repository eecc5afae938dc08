// One request to an OpenAI-compatible server: its bytes, and what its answer's stream says.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "serving/dataset.h"
#include "serving/http_client.h"
#include "serving/sse.h"
#include "serving/url.h"

namespace lathe::cli {

// How requests are put to this server; found by the first one (see Probe in cmd_bench_serving.cc).
struct RequestForm {
  bool chat = false;      // /v1/chat/completions, else /v1/completions
  bool as_ids = true;     // prompts of ids as ids; else as text
  bool ask_usage = true;  // stream_options.include_usage
  bool ignore_eos = false;
  double temperature = 0;
  std::string model = {};
  std::string api_key = {};
  Json fields = Json::object();  // added to every body; theirs counts
};

// The whole HTTP request. `n_tokens` is max_tokens.
std::string MakeHttpRequest(const Url& url, const RequestForm& form, const LoadPrompt& prompt, int n_tokens);
// GET, with the key.
std::string MakeHttpGet(const Url& url, const RequestForm& form, const std::string& path);

// What became of one request. Times are NowSeconds().
struct Outcome {
  double scheduled = 0;  // when it should have begun: latencies count from here
  double sent = 0;       // when it did
  double first = 0, last = 0, end = 0;
  int events = 0;          // that brought text or ids
  int prompt_tokens = -1;  // from the server's usage; -1: it gave none
  int completion_tokens = -1;
  int asked_tokens = 0;
  std::vector<float> gaps;  // seconds between such events
  std::string error;        // a short kind ("timeout", "http 429", "cut off"); "" when fine
  std::string detail;       // a sentence, where there is more to say
  bool good() const { return error.empty(); }
  // The server's count, or else the events.
  int tokens() const { return completion_tokens >= 0 ? completion_tokens : events; }
};

// What a chunk of a stream says, found without building a document: this runs for every token.
struct ChunkFacts {
  // Some "content", "text", "reasoning_content", "arguments" or "token_ids" that is not empty. Not every
  // token has text (control tokens, parts of a character); a server that is asked for ids tells of each.
  bool has_text = false;
  bool worth_parsing = false;  // has a "usage" object or an "error": the caller parses it whole
};
ChunkFacts ScanChunk(std::string_view json);

// Reads one answer into an Outcome.
class AnswerReader : public ResponseSink {
 public:
  explicit AnswerReader(Outcome* out) : out_(out) {}
  void OnHead(int status, std::string_view content_type) override;
  void OnBody(std::string_view bytes) override;
  void OnEnd(Failure failure, const std::string& detail) override;

 private:
  void OnEvent(std::string_view data);
  void Fail(std::string kind, std::string detail);
  Outcome* const out_;
  SseParser events_;
  std::string body_;  // of an answer that is no stream of events
  int status_ = 0;
  bool stream_ = false, done_ = false;
};

}  // namespace lathe::cli
