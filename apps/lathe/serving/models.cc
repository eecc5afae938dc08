#include "serving/models.h"

#include <algorithm>

#include "base/file.h"
#include "base/json.h"
#include "base/status.h"
#include "serving/load.h"

namespace lathe::cli {
namespace {

constexpr double kTimeout = 10;
constexpr char kPath[] = "/v1/models";

}  // namespace

Expected<ServedModel> AskForModel(const Url& url, const TlsOptions& tls, const RequestForm& form) {
  const auto answer = Get(url, tls, MakeHttpGet(url, form, kPath), kTimeout);
  if (!answer.ok()) {
    return Error(StatusCode::kUnavailable, "%s: %s; is a server running there?", url.ToString().c_str(),
                 answer.status().message().c_str());
  }
  const auto json = ParseJson(answer->body, kPath);
  const bool usable = answer->status == 200 && json.ok() && json->is_object() && json->contains("data") &&
                      (*json)["data"].is_array() && !(*json)["data"].empty() &&
                      (*json)["data"][0].is_object();
  if (!usable) {
    return Error(StatusCode::kNotFound, "%s: no list of models (GET %s: %d), so give --model",
                 url.ToString().c_str(), kPath, answer->status);
  }
  const Json& first = (*json)["data"][0];
  ServedModel out;
  LATHE_ASSIGN_OR_RETURN(out.id, JsonString(first, "id", kPath));
  if (first.contains("meta") && first["meta"].is_object() && first["meta"].contains("n_vocab")) {
    LATHE_ASSIGN_OR_RETURN(const int64_t vocab, JsonInt(first["meta"], "n_vocab", kPath));
    out.vocab = static_cast<int>(std::clamp<int64_t>(vocab, 1, 1 << 24));
  }
  return out;
}

Expected<std::string> ReadApiKey(const std::string& path) {
  if (path.empty()) return std::string();
  LATHE_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, 64 << 10));
  const size_t begin = std::min(text.find_first_not_of(" \t\r\n"), text.size());
  const std::string key = text.substr(begin, text.find_first_of(" \t\r\n", begin) - begin);
  const bool plain = std::all_of(key.begin(), key.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (!key.empty() && plain) return key;
  return Error(StatusCode::kInvalidArgument, "%s holds no API key of plain characters", path.c_str());
}

}  // namespace lathe::cli
