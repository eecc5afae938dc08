// Answers of plain text (completions, generate), and of embeddings.
#include <cmath>

#include "serve/openai/answer.h"
#include "serve/openai/json_text.h"

namespace lathe::serve {
namespace {

class CompletionAnswer : public Answer {
 public:
  CompletionAnswer(const Job& job, int64_t created) : job_(job) {
    head_ = "{\"id\":";
    AppendJsonString(job.id, &head_);
    head_ += ",\"object\":\"text_completion\",\"created\":" + std::to_string(created) + ",\"model\":";
    AppendJsonString(job.model, &head_);
  }

  void Begin(std::string* /*out*/) const override {}

  void Event(int choice, const ChoiceText& text, const Usage& usage, std::string* out) const override {
    *out += "data: ";
    *out += head_;
    *out += ",\"choices\":[";
    AppendChoice(choice, text, out);
    *out += ']';
    if (job_.continuous_usage) {
      *out += ",\"usage\":" + UsageText(usage);
    } else if (job_.include_usage) {
      *out += ",\"usage\":null";
    }
    *out += "}\n\n";
  }

  void End(const Usage& usage, std::string* out) const override {
    if (job_.include_usage)
      *out += "data: " + head_ + ",\"choices\":[],\"usage\":" + UsageText(usage) + "}\n\n";
    *out += "data: [DONE]\n\n";
  }

  std::string Whole(const std::vector<ChoiceText>& choices, const Usage& usage) const override {
    std::string out = head_ + ",\"choices\":[";
    for (size_t i = 0; i < choices.size(); ++i) {
      if (i > 0) out += ',';
      AppendChoice(static_cast<int>(i), choices[i], &out);
    }
    out += "],\"usage\":" + UsageText(usage) + "}";
    return out;
  }

 private:
  // The first event of a choice begins a stream of ids with those of its prompt.
  void AppendChoice(int choice, const ChoiceText& text, std::string* out) const {
    *out += "{\"index\":";
    AppendInt(choice, out);
    *out += ",\"text\":";
    AppendJsonString(text.parsed.content, out);
    *out += ",\"logprobs\":";
    *out += job_.wants_logprobs() && !text.legacy_logprobs.empty() ? text.legacy_logprobs.Text() : "null";
    *out += ",\"finish_reason\":";
    AppendJsonStringOrNull(text.finish, out);
    if (job_.return_token_ids) {
      AppendIds(text.ids, &(*out += ",\"token_ids\":"));
      if (text.first || !job_.stream) {
        AppendIds(job_.prompts[static_cast<size_t>(choice / job_.request.n)].ids,
                  &(*out += ",\"prompt_token_ids\":"));
      }
    }
    *out += '}';
  }

  const Job& job_;
  std::string head_;  // up to and with the model's name
};

// Triton's: one object for each piece of text, without a closing [DONE].
class GenerateAnswer : public Answer {
 public:
  explicit GenerateAnswer(const Job& job) {
    head_ = "{";
    if (!job.id.empty()) {
      AppendJsonString(job.id, &(head_ += "\"id\":"));
      head_ += ',';
    }
    AppendJsonString(job.model, &(head_ += "\"model_name\":"));
    head_ += ",\"model_version\":\"1\",\"text_output\":";
  }

  void Begin(std::string* /*out*/) const override {}

  void Event(int /*choice*/, const ChoiceText& text, const Usage& usage, std::string* out) const override {
    *out += "data: ";
    AppendObject(text, usage, out);
    *out += "\n\n";
  }

  void End(const Usage& /*usage*/, std::string* /*out*/) const override {}

  std::string Whole(const std::vector<ChoiceText>& choices, const Usage& usage) const override {
    std::string out;
    AppendObject(choices[0], usage, &out);
    return out;
  }

 private:
  void AppendObject(const ChoiceText& text, const Usage& usage, std::string* out) const {
    *out += head_;
    AppendJsonString(text.parsed.content, out);
    if (!text.finish.empty()) {
      *out += ",\"finish_reason\":\"";
      *out += text.finish;
      *out += "\",\"usage\":" + UsageText(usage);
    }
    *out += '}';
  }

  std::string head_;  // up to the text
};

void AppendVector(const std::vector<float>& v, const Job& job, std::string* out) {
  double norm = 1;
  if (job.normalize) {
    double squares = 0;
    for (const float x : v) squares += double{x} * x;
    norm = squares > 0 ? std::sqrt(squares) : 1;
  }
  std::string bytes;
  *out += job.base64 ? '"' : '[';
  for (size_t i = 0; i < v.size(); ++i) {
    const auto x = static_cast<float>(v[i] / norm);
    if (job.base64) {
      uint32_t bits = 0;
      static_assert(sizeof(bits) == sizeof(x));
      __builtin_memcpy(&bits, &x, sizeof(bits));
      for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(bits >> shift & 255);
      continue;
    }
    if (i > 0) *out += ',';
    AppendFloat(x, out);
  }
  *out += job.base64 ? EncodeBase64(bytes) + '"' : "]";
}

}  // namespace

std::unique_ptr<Answer> MakeCompletionAnswer(const Job& job, int64_t created) {
  return std::make_unique<CompletionAnswer>(job, created);
}

std::unique_ptr<Answer> MakeGenerateAnswer(const Job& job) { return std::make_unique<GenerateAnswer>(job); }

std::string EmbeddingText(const Job& job, const std::vector<std::vector<float>>& vectors,
                          const Usage& usage) {
  std::string out = "{\"object\":\"list\",\"data\":[";
  for (size_t i = 0; i < vectors.size(); ++i) {
    if (i > 0) out += ',';
    out += "{\"object\":\"embedding\",\"index\":";
    AppendInt(static_cast<int64_t>(i), &out);
    out += ",\"embedding\":";
    AppendVector(vectors[i], job, &out);
    out += '}';
  }
  out += "],\"model\":";
  AppendJsonString(job.model, &out);
  out += ",\"usage\":{\"prompt_tokens\":";
  AppendInt(usage.prompt_tokens, &out);
  out += ",\"total_tokens\":";
  AppendInt(usage.prompt_tokens, &out);
  out += "}}";
  return out;
}

}  // namespace lathe::serve
