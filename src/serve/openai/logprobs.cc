#include "serve/openai/logprobs.h"

#include <algorithm>

#include "serve/openai/json_text.h"
#include "text/utf8.h"

namespace lathe::serve {
namespace {

void AppendNamed(TokenId id, float logprob, const TokenSpeller& speller, std::string* out) {
  *out += "{\"token\":";
  AppendJsonString(speller.Name(id), out);
  *out += ",\"logprob\":";
  AppendFloat(logprob, out);
  *out += ",\"bytes\":";
  AppendBytes(speller.Bytes(id), out);
}

void Comma(std::string* out) {
  if (!out->empty()) *out += ',';
}

}  // namespace

std::string TokenSpeller::Name(TokenId id) const {
  if (as_ids_) return "token_id:" + std::to_string(id);
  return text::ToValidUtf8(Bytes(id));
}

std::string TokenSpeller::Bytes(TokenId id) const {
  std::string bytes = engine_->TokenBytes(id);
  return bytes.empty() ? engine_->Detokenize({id}, /*skip_special=*/false) : bytes;
}

int64_t TokenSpeller::CodePoints(TokenId id) const {
  const bool left_out =
      skip_special_ && engine_->Detokenize({id}, true).empty() && !engine_->Detokenize({id}, false).empty();
  if (left_out) return 0;
  // A character cut over several tokens counts where it begins.
  return std::ranges::count_if(Bytes(id), [](char c) { return !text::IsUtf8Continuation(c); });
}

void AppendChatLogprob(const TokenOutput& token, int n_top, const TokenSpeller& speller,
                       std::string* entries) {
  Comma(entries);
  AppendNamed(token.id, token.logprob, speller, entries);
  *entries += ",\"top_logprobs\":[";
  const size_t n = std::min(token.top.size(), static_cast<size_t>(std::max(n_top, 0)));
  for (size_t i = 0; i < n; ++i) {
    if (i > 0) *entries += ',';
    AppendNamed(token.top[i].id, token.top[i].logprob, speller, entries);
    *entries += '}';
  }
  *entries += "]}";
}

void LegacyLogprobs::Add(const TokenOutput& token, bool has_logprob, const TokenSpeller& speller) {
  for (std::string* list : {&tokens_, &logprobs_, &top_, &offsets_}) Comma(list);
  AppendJsonString(speller.Name(token.id), &tokens_);
  AppendInt(offset_, &offsets_);
  offset_ += speller.CodePoints(token.id);
  if (!has_logprob) {
    logprobs_ += "null";
    top_ += "null";
    return;
  }
  AppendFloat(token.logprob, &logprobs_);
  top_ += '{';
  // Names may coincide where ids do not (bytes of cut characters); the likeliest stands for them.
  std::vector<std::string> named;
  const auto add = [&](TokenId id, float logprob) {
    std::string name = speller.Name(id);
    if (std::ranges::count(named, name) != 0) return;
    if (!named.empty()) top_ += ',';
    AppendJsonString(name, &top_);
    top_ += ':';
    AppendFloat(logprob, &top_);
    named.push_back(std::move(name));
  };
  for (const TokenLogprobInfo& top : token.top) add(top.id, top.logprob);
  add(token.id, token.logprob);
  top_ += '}';
}

std::string LegacyLogprobs::Text() const {
  return "{\"tokens\":[" + tokens_ + "],\"token_logprobs\":[" + logprobs_ + "],\"top_logprobs\":[" + top_ +
         "],\"text_offset\":[" + offsets_ + "]}";
}

void LegacyLogprobs::Clear() {
  for (std::string* list : {&tokens_, &logprobs_, &top_, &offsets_}) list->clear();
}

}  // namespace lathe::serve
