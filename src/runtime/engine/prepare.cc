#include "runtime/engine/prepare.h"

#include <algorithm>
#include <random>

#include "base/status.h"
#include "text/utf8.h"

namespace lathe {
namespace {

constexpr int kMaxContinuations = 64;
constexpr int kMaxLogprobs = 20;
constexpr size_t kMaxSaltBytes = 4096;
constexpr double kMaxDeadlineSeconds = 1e9;

Status CheckUtf8(const char* field, const std::vector<std::string>& strings) {
  for (size_t i = 0; i < strings.size(); ++i) {
    if (text::IsValidUtf8(strings[i])) continue;
    return Error(StatusCode::kInvalidArgument, "%s[%zu] must be UTF-8, but is not", field, i);
  }
  return Status::Ok();
}

Expected<std::vector<TokenId>> PromptIds(const Prompt& prompt, int vocab, const TextModel& text) {
  const int n_set = prompt.text.has_value() + prompt.ids.has_value() + prompt.chat.has_value();
  if (n_set != 1) {
    return Error(StatusCode::kInvalidArgument, "a prompt must be one of text, ids and chat, but %d are set",
                 n_set);
  }
  if (prompt.chat) return text.RenderChat(*prompt.chat, nullptr);
  if (prompt.text) return text.Encode(*prompt.text, /*add_special=*/true, /*parse_special=*/false);
  const std::vector<TokenId>& ids = *prompt.ids;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < vocab) continue;
    return Error(StatusCode::kInvalidArgument, "prompt id %zu must be in [0, %d), but is %d", i, vocab,
                 ids[i]);
  }
  return ids;
}

// A word within a text is spelt with a space before it; both spellings are forbidden.
std::vector<std::vector<TokenId>> BadSequences(const SamplingParams& params, const TextModel& text) {
  std::vector<std::vector<TokenId>> sequences;
  for (const std::string& word : params.bad_words) {
    for (const std::string& spelling : {word, " " + word}) {
      std::vector<TokenId> ids = text.Encode(spelling, /*add_special=*/false, /*parse_special=*/false);
      if (!ids.empty() && std::ranges::count(sequences, ids) == 0) sequences.push_back(std::move(ids));
    }
  }
  return sequences;
}

uint64_t DrawSeed() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

}  // namespace

Status CheckRequestFields(const Request& request, int vocab) {
  LATHE_RETURN_IF_ERROR(request.sampling.Validate(vocab));
  LATHE_RETURN_IF_ERROR(CheckUtf8("stop", request.sampling.stop));
  LATHE_RETURN_IF_ERROR(CheckUtf8("bad_words", request.sampling.bad_words));
  if (request.n < 1 || request.n > kMaxContinuations) {
    return Error(StatusCode::kInvalidArgument, "n must be in [1, %d], but is %d", kMaxContinuations,
                 request.n);
  }
  // NaN compares false, so it lands outside.
  if (!(request.deadline_seconds >= 0 && request.deadline_seconds <= kMaxDeadlineSeconds)) {
    return Error(StatusCode::kInvalidArgument, "deadline_seconds must be in [0, %g], but is %g",
                 kMaxDeadlineSeconds, request.deadline_seconds);
  }
  if (request.prompt_logprobs < -1 || request.prompt_logprobs > kMaxLogprobs) {
    return Error(StatusCode::kInvalidArgument, "prompt_logprobs must be in [-1, %d], but is %d", kMaxLogprobs,
                 request.prompt_logprobs);
  }
  if (request.embed && (request.n != 1 || request.prompt_logprobs >= 0 || request.format)) {
    return Error(StatusCode::kInvalidArgument,
                 "an embedding generates nothing: leave n at 1 and prompt_logprobs and format out");
  }
  if (request.format && (request.sampling.ignore_eos || request.sampling.min_tokens > 0)) {
    return Error(StatusCode::kInvalidArgument,
                 "an output format says itself where the output ends: leave ignore_eos and min_tokens out");
  }
  if (request.cache_salt.size() > kMaxSaltBytes) {
    return Error(StatusCode::kInvalidArgument, "cache_salt must have at most %zu bytes, but has %zu",
                 kMaxSaltBytes, request.cache_salt.size());
  }
  return Status::Ok();
}

Expected<ConstraintFactory> CompileOutputFormat(const TextModel& text, const OutputFormat& format) {
  auto compiled = text.CompileFormat(format);
  if (compiled.status().code() == StatusCode::kResourceExhausted)
    return Status(StatusCode::kInvalidArgument, compiled.status().message());
  return compiled;
}

Expected<SchedRequest> PrepareRequest(const Request& request, const ModelInfo& info, const TextModel& text,
                                      const Scheduler& scheduler, double now) {
  LATHE_RETURN_IF_ERROR(CheckRequestFields(request, info.vocab));
  SchedRequest out;
  LATHE_ASSIGN_OR_RETURN(out.prompt, PromptIds(request.prompt, info.vocab, text));
  LATHE_RETURN_IF_ERROR(scheduler.CheckFits(out.prompt.size(), request.sampling.max_tokens));
  ConstraintFactory constraint;
  if (request.format) {
    LATHE_ASSIGN_OR_RETURN(constraint, CompileOutputFormat(text, *request.format));
  }
  out.policy =
      std::make_shared<SamplingPolicy>(request.sampling, info.eos_ids, BadSequences(request.sampling, text),
                                       std::move(constraint), info.vocab);
  out.seed = request.sampling.seed ? *request.sampling.seed : DrawSeed();
  out.n = request.n;
  out.priority = request.priority;
  if (request.deadline_seconds > 0) out.deadline = now + request.deadline_seconds;
  out.cache_salt = request.cache_salt;
  if (request.embed) out.report = PromptReport::kMeanHidden;
  if (request.prompt_logprobs >= 0) {
    out.report = PromptReport::kLogprobs;
    out.report_top = request.prompt_logprobs;
  }
  out.allow_cache = request.allow_cache && out.report == PromptReport::kNone;
  return out;
}

}  // namespace lathe
