// SamplingParams::Validate: the one place that knows the range of every sampling value.
#include <cmath>
#include <limits>

#include "base/status.h"
#include "lathe/request.h"

namespace lathe {
namespace {

constexpr size_t kMaxStops = 16, kMaxStopIds = 1024, kMaxBiases = 1024, kMaxBadWords = 64,
                 kMaxStringBytes = 256;
constexpr int kMaxLogprobs = 20;
constexpr int kMaxInt = std::numeric_limits<int>::max();

struct RealRange {
  const char* field;
  double value;
  const char* range;  // as shown
  double low, high;
  bool open_low;  // low itself is outside
};

Status CheckReal(const RealRange& r) {
  // NaN compares false to everything, so it lands outside.
  const bool inside = (r.open_low ? r.value > r.low : r.value >= r.low) && r.value <= r.high;
  if (inside) return Status::Ok();
  return Error(StatusCode::kInvalidArgument, "%s must be in %s, but is %g", r.field, r.range, r.value);
}

struct IntRange {
  const char* field;
  int value;
  int low, high;
};

Status CheckInt(const IntRange& r) {
  if (r.value >= r.low && r.value <= r.high) return Status::Ok();
  if (r.high == kMaxInt) {
    return Error(StatusCode::kInvalidArgument, "%s must be %d or more, but is %d", r.field, r.low, r.value);
  }
  return Error(StatusCode::kInvalidArgument, "%s must be in [%d, %d], but is %d", r.field, r.low, r.high,
               r.value);
}

Status CheckCount(const char* field, size_t found, size_t most) {
  if (found <= most) return Status::Ok();
  return Error(StatusCode::kInvalidArgument, "%s has %zu entries, but may have at most %zu", field, found,
               most);
}

Status CheckStrings(const char* field, const std::vector<std::string>& strings, size_t most) {
  LATHE_RETURN_IF_ERROR(CheckCount(field, strings.size(), most));
  for (size_t i = 0; i < strings.size(); ++i) {
    if (!strings[i].empty() && strings[i].size() <= kMaxStringBytes) continue;
    return Error(StatusCode::kInvalidArgument, "%s[%zu] must have 1 to %zu bytes, but has %zu", field, i,
                 kMaxStringBytes, strings[i].size());
  }
  return Status::Ok();
}

Status CheckId(const char* field, size_t i, TokenId id, int vocab) {
  if (id >= 0 && id < vocab) return Status::Ok();
  return Error(StatusCode::kInvalidArgument, "%s[%zu] must be a token id in [0, %d), but is %d", field, i,
               vocab, id);
}

}  // namespace

Status SamplingParams::Validate(int vocab) const {
  const RealRange reals[] = {
      {"temperature", temperature, "[0, 100]", 0, 100, false},
      {"top_p", top_p, "(0, 1]", 0, 1, true},
      {"min_p", min_p, "[0, 1]", 0, 1, false},
      {"repetition_penalty", repetition_penalty, "(0, 10]", 0, 10, true},
      {"presence_penalty", presence_penalty, "[-2, 2]", -2, 2, false},
      {"frequency_penalty", frequency_penalty, "[-2, 2]", -2, 2, false},
  };
  for (const RealRange& r : reals) LATHE_RETURN_IF_ERROR(CheckReal(r));
  const IntRange ints[] = {
      {"top_k", top_k, 0, kMaxInt},
      {"max_tokens", max_tokens, 0, kMaxInt},
      {"min_tokens", min_tokens, 0, kMaxInt},
      {"logprobs", logprobs, -1, kMaxLogprobs},
  };
  for (const IntRange& r : ints) LATHE_RETURN_IF_ERROR(CheckInt(r));
  if (max_tokens > 0 && min_tokens > max_tokens) {
    return Error(StatusCode::kInvalidArgument, "min_tokens must not exceed max_tokens (%d), but is %d",
                 max_tokens, min_tokens);
  }
  LATHE_RETURN_IF_ERROR(CheckStrings("stop", stop, kMaxStops));
  LATHE_RETURN_IF_ERROR(CheckStrings("bad_words", bad_words, kMaxBadWords));
  LATHE_RETURN_IF_ERROR(CheckCount("stop_ids", stop_ids.size(), kMaxStopIds));
  for (size_t i = 0; i < stop_ids.size(); ++i)
    LATHE_RETURN_IF_ERROR(CheckId("stop_ids", i, stop_ids[i], vocab));
  LATHE_RETURN_IF_ERROR(CheckCount("logit_bias", logit_bias.size(), kMaxBiases));
  for (size_t i = 0; i < logit_bias.size(); ++i) {
    LATHE_RETURN_IF_ERROR(CheckId("logit_bias", i, logit_bias[i].first, vocab));
    const std::string field = StrFormat("logit_bias of token %d", logit_bias[i].first);
    LATHE_RETURN_IF_ERROR(CheckReal({field.c_str(), logit_bias[i].second, "[-100, 100]", -100, 100, false}));
  }
  return Status::Ok();
}

}  // namespace lathe
