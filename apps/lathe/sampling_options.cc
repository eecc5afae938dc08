#include "sampling_options.h"

#include <charconv>
#include <limits>
#include <utility>

#include "base/status.h"
#include "terminal/format.h"

namespace lathe::cli {
namespace {

constexpr char kModels[] = "the model's, else ";

constexpr std::pair<const char*, const char*> kFlagOfField[] = {
    {"temperature", "--temperature"},
    {"top_p", "--top-p"},
    {"top_k", "--top-k"},
    {"min_p", "--min-p"},
    {"repetition_penalty", "--repetition-penalty"},
    {"presence_penalty", "--presence-penalty"},
    {"frequency_penalty", "--frequency-penalty"},
    {"max_tokens", "--max-tokens"},
    {"min_tokens", "--min-tokens"},
    {"logprobs", "--logprobs"},
    {"stop_ids", "--stop-id"},
    {"stop", "--stop"},
    {"bad_words", "--bad-word"},
    {"logit_bias", "--logit-bias"},
    {"n", "--n"},
    {"threads", "--threads"},
    {"device", "--device"},
    {"gpu_memory_fraction", "--gpu-memory-fraction"},
    {"context", "--context"},
    {"dtype", "--dtype"},
    {"kv_dtype", "--kv-dtype"},
    {"fp8_scales", "--fp8-scales"},
    {"fp8_keep", "--fp8-keep"},
    {"numeric", "--numeric"},
};

}  // namespace

Status WithFlagNames(const Status& status) {
  // Others that begin with such a word speak of something else ("device 0 (NVIDIA H200) is full").
  if (status.code() != StatusCode::kInvalidArgument) return status;
  const std::string& message = status.message();
  const std::string field = message.substr(0, message.find_first_of(" [:"));
  for (const auto& [name, flag] : kFlagOfField) {
    if (field == name) return {status.code(), flag + message.substr(field.size())};
  }
  return status;
}

void SamplingOptions::Declare(Command& command) {
  command.Option("--max-tokens", &given_.max_tokens,
                 "Stop after so many tokens; 0: as many as the context holds");
  command.Option("--min-tokens", &given_.min_tokens, "Take no end of text and no stop before so many tokens");
  command.Option("--temperature", &temperature_, "Spread of the choice, 0 to 100; 0: always the likeliest",
                 std::string(kModels) + "1");
  command.Option("--top-p", &top_p_, "Choose among the likeliest tokens that add up to P, over 0 to 1",
                 std::string(kModels) + "1");
  command.Option("--top-k", &top_k_, "Choose among the K likeliest tokens; 0: all",
                 std::string(kModels) + "0");
  command.Option("--min-p", &min_p_, "Drop tokens less likely than P times the likeliest, 0 to 1", "0");
  command.Option("--repetition-penalty", &repetition_penalty_,
                 "Divide the scores of tokens already seen, over 0 to 10; 1: off",
                 std::string(kModels) + "1");
  command.Option("--presence-penalty", &presence_penalty_,
                 "Lower the score of tokens already generated, -2 to 2", "0");
  command.Option("--frequency-penalty", &frequency_penalty_,
                 "Lower the score of a token by each time it was generated, -2 to 2", "0");
  command.Option("--seed", &seed_, "Makes the choice repeatable", "drawn anew each time");
  command.Repeated("--stop", "TEXT", "End before this text", [this](const std::string& text) {
    given_.stop.push_back(text);
    return Status();
  });
  command.Repeated("--stop-id", "ID", "End at this token", [this](const std::string& text) {
    TokenId id = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, id);
    if (error != std::errc() || stop != end) {
      return Error(StatusCode::kInvalidArgument, "expected a token id, found \"%s\"", text.c_str());
    }
    given_.stop_ids.push_back(id);
    return Status();
  });
  command.Flag("--ignore-eos", &given_.ignore_eos, "Go on after the end of the text");
  command.Flag("--include-stop", &given_.include_stop, "Keep the matched --stop text");
  command.Repeated("--logit-bias", "ID:BIAS", "Add BIAS (-100 to 100) to the score of a token",
                   [this](const std::string& text) {
                     const auto parsed = ParseLogitBias(text);
                     if (parsed.ok()) given_.logit_bias.push_back(*parsed);
                     return parsed.status();
                   });
  command.Repeated("--bad-word", "TEXT", "Never write this text", [this](const std::string& text) {
    given_.bad_words.push_back(text);
    return Status();
  });
}

Status SamplingOptions::Check() const {
  return WithFlagNames(Over(SamplingParams()).Validate(std::numeric_limits<int>::max()));
}

SamplingParams SamplingOptions::Over(SamplingParams defaults) const {
  const SamplingParams model = std::move(defaults);
  SamplingParams out = given_;
  out.temperature = temperature_.value_or(model.temperature);
  out.top_p = top_p_.value_or(model.top_p);
  out.top_k = top_k_.value_or(model.top_k);
  out.min_p = min_p_.value_or(model.min_p);
  out.repetition_penalty = repetition_penalty_.value_or(model.repetition_penalty);
  out.presence_penalty = presence_penalty_.value_or(model.presence_penalty);
  out.frequency_penalty = frequency_penalty_.value_or(model.frequency_penalty);
  out.seed = seed_;
  return out;
}

}  // namespace lathe::cli
