#include "compare/contender.h"

#include <algorithm>
#include <optional>

#include "base/clock.h"
#include "base/json.h"
#include "compare/child.h"
#include "serving/load.h"
#include "serving/models.h"

namespace lathe::cli {
namespace {

// What a worker says, checked as any foreign JSON.
constexpr JsonLimits kLineLimits{.max_bytes = Child::kMaxLine, .max_depth = 4};

class Worker : public Contender {
 public:
  Worker(std::string label, std::vector<std::string> args, std::string log, double start_seconds,
         std::function<bool()> interrupted)
      : label_(std::move(label)),
        args_(std::move(args)),
        log_(std::move(log)),
        start_seconds_(start_seconds),
        interrupted_(std::move(interrupted)) {}

  const std::string& label() const override { return label_; }
  bool is_process() const override { return true; }
  void Stop() override { child_.reset(); }

  Expected<ContenderFacts> Start() override {
    LATHE_ASSIGN_OR_RETURN(Child child, Child::Start(args_, log_));
    child_.emplace(std::move(child));
    LATHE_ASSIGN_OR_RETURN(const Json hello, Read(NowSeconds() + start_seconds_));
    ContenderFacts facts;
    LATHE_ASSIGN_OR_RETURN(facts.name, JsonString(hello, "name", label_));
    LATHE_ASSIGN_OR_RETURN(facts.detail, JsonStringOr(hello, "detail", "", label_));
    LATHE_ASSIGN_OR_RETURN(const int64_t vocab, JsonInt(hello, "vocab", label_));
    LATHE_ASSIGN_OR_RETURN(const int64_t context, JsonIntOr(hello, "max_context", 0, label_));
    LATHE_ASSIGN_OR_RETURN(const int64_t fill, JsonIntOr(hello, "fill_tokens", 0, label_));
    facts.vocab = static_cast<int>(std::clamp<int64_t>(vocab, 1, 1 << 24));
    facts.max_context = static_cast<int>(std::clamp<int64_t>(context, 0, 1 << 24));
    facts.fill_tokens = static_cast<uint64_t>(std::max<int64_t>(fill, 0));
    return facts;
  }

  Expected<CaseSample> Run(const std::vector<std::vector<TokenId>>& prompts, int output, int room,
                           double seconds) override {
    if (!child_) return Error(StatusCode::kUnavailable, "%s has not been started", label_.c_str());
    auto sample = RunOnce(prompts, output, room, NowSeconds() + seconds);
    // What it still computes would disturb the next case.
    const StatusCode code = sample.status().code();
    if (code == StatusCode::kDeadlineExceeded || code == StatusCode::kUnavailable) child_.reset();
    return sample;
  }

 private:
  Expected<Json> Read(double deadline) {
    LATHE_ASSIGN_OR_RETURN(const std::string line, child_->ReadLine(deadline, interrupted_));
    LATHE_ASSIGN_OR_RETURN(Json out, ParseJson(line, label_, kLineLimits));
    if (!out.is_object())
      return Error(StatusCode::kCorrupt, "%s wrote no object: %s", label_.c_str(), line.c_str());
    LATHE_ASSIGN_OR_RETURN(const std::string error, JsonStringOr(out, "error", "", label_));
    if (!error.empty()) return Error(StatusCode::kInternal, "%s", error.c_str());
    return out;
  }

  Expected<CaseSample> RunOnce(const std::vector<std::vector<TokenId>>& prompts, int output, int room,
                               double deadline) {
    const Json question{{"prompts", prompts}, {"output", output}, {"room", room}};
    LATHE_RETURN_IF_ERROR(child_->WriteLine(DumpJson(question), deadline));
    LATHE_ASSIGN_OR_RETURN(const Json answer, Read(deadline));
    CaseSample sample;
    LATHE_ASSIGN_OR_RETURN(sample.first_ms, JsonNumber(answer, "first_ms", label_));
    LATHE_ASSIGN_OR_RETURN(sample.total_ms, JsonNumber(answer, "total_ms", label_));
    LATHE_ASSIGN_OR_RETURN(const int64_t memory, JsonIntOr(answer, "memory_bytes", 0, label_));
    sample.memory_bytes = static_cast<uint64_t>(std::max<int64_t>(memory, 0));
    if (const auto tokens = answer.find("first_tokens"); tokens != answer.end() && tokens->is_array()) {
      for (const Json& token : *tokens) {
        if (token.is_number_integer()) sample.first_tokens.push_back(token.get<int64_t>());
      }
    }
    return sample;
  }

  const std::string label_;
  const std::vector<std::string> args_;
  const std::string log_;
  const double start_seconds_;
  const std::function<bool()> interrupted_;
  std::optional<Child> child_;
};

class Server : public Contender {
 public:
  Server(Url url, TlsOptions tls, std::string model, std::string api_key, std::function<bool()> interrupted)
      : url_(std::move(url)),
        tls_(std::move(tls)),
        label_(url_.ToString()),
        interrupted_(std::move(interrupted)) {
    form_.ignore_eos = true;
    form_.model = std::move(model);
    form_.api_key = std::move(api_key);
    // Tokens without text count, too, where a server knows this.
    form_.fields = {{"return_token_ids", true}};
  }

  const std::string& label() const override { return label_; }
  bool is_process() const override { return false; }
  void Stop() override {}

  // Finds the model, and the form of request that this server takes.
  Expected<ContenderFacts> Start() override {
    if (form_.model.empty()) {
      LATHE_ASSIGN_OR_RETURN(const ServedModel served, AskForModel(url_, tls_, form_));
      form_.model = served.id;
      vocab_ = served.vocab.value_or(0);
    }
    Outcome last;
    for (const bool as_ids : {true, false}) {
      form_.as_ids = as_ids;
      LATHE_ASSIGN_OR_RETURN(
          last, RunOne(url_, tls_, Request(RandomPromptIds(0, 0, 8, kSafeVocab), 2), kProbeSeconds));
      if (last.good())
        return ContenderFacts{
            .name = label_, .detail = form_.model + (as_ids ? "" : ", prompts as text"), .vocab = vocab_};
    }
    return Error(StatusCode::kUnavailable, "%s: the first request failed: %s %s", label_.c_str(),
                 last.error.c_str(), last.detail.c_str());
  }

  Expected<CaseSample> Run(const std::vector<std::vector<TokenId>>& prompts, int output, int /*room*/,
                           double seconds) override {
    const LoadPlan plan{.level = {.concurrency = static_cast<int>(prompts.size())},
                        .requests = prompts.size(),
                        .timeout = seconds};
    LoadProgress progress;
    bool cancelled = false;
    const auto make = [&](uint64_t index, int* asked) {
      *asked = output;
      return Request(prompts[index], output);
    };
    LATHE_ASSIGN_OR_RETURN(const LoadResult result, RunLoad(url_, tls_, plan, make, &progress, [&] {
                             if (interrupted_()) progress.stop = cancelled = true;
                           }));
    if (cancelled) return Error(StatusCode::kCancelled, "interrupted");
    CaseSample sample;
    for (const Outcome& outcome : result.outcomes) {
      if (!outcome.good()) {
        const bool late = outcome.error == "timeout";
        return Error(late ? StatusCode::kDeadlineExceeded : StatusCode::kInternal, "%s: %s %s",
                     label_.c_str(), outcome.error.c_str(), outcome.detail.c_str());
      }
      if (outcome.tokens() != output) {
        return Error(StatusCode::kInternal, "%s gave %d tokens, expected %d (it may not know ignore_eos)",
                     label_.c_str(), outcome.tokens(), output);
      }
      sample.first_ms = std::max(sample.first_ms, (outcome.first - result.begin) * 1e3);
      sample.total_ms = std::max(sample.total_ms, (outcome.last - result.begin) * 1e3);
    }
    return sample;
  }

 private:
  static constexpr int kSafeVocab = 1000;  // ids below are in any model's vocabulary
  static constexpr double kProbeSeconds = 60;

  std::string Request(const std::vector<TokenId>& ids, int output) const {
    LoadPrompt prompt;
    if (form_.as_ids) {
      prompt.ids = ids;
    } else {
      prompt.text =
          RandomPromptText(static_cast<uint64_t>(ids.front()), ids.size(), static_cast<int>(ids.size()));
    }
    return MakeHttpRequest(url_, form_, prompt, output);
  }

  const Url url_;
  const TlsOptions tls_;
  const std::string label_;
  const std::function<bool()> interrupted_;
  RequestForm form_;
  int vocab_ = 0;
};

}  // namespace

std::unique_ptr<Contender> MakeWorker(std::string label, std::vector<std::string> args, std::string log,
                                      double start_seconds, std::function<bool()> interrupted) {
  return std::make_unique<Worker>(std::move(label), std::move(args), std::move(log), start_seconds,
                                  std::move(interrupted));
}

std::unique_ptr<Contender> MakeServer(Url url, TlsOptions tls, std::string model, std::string api_key,
                                      std::function<bool()> interrupted) {
  return std::make_unique<Server>(std::move(url), std::move(tls), std::move(model), std::move(api_key),
                                  std::move(interrupted));
}

}  // namespace lathe::cli
