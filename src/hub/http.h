// HTTP/1.1 for a client of hubs: kept connections, proxies, redirects, bodies as streams. Called from many
// threads at once, each call blocking its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hub/stream.h"
#include "hub/url.h"

namespace lathe::hub {

struct HttpOptions {
  double connect_timeout = 10, idle_timeout = 10;  // seconds
  std::string user_agent;
  // Goes with requests to `token_origin` (Url::Origin) and nowhere else, redirects included.
  std::string token, token_origin;
  const std::atomic<bool>* cancel = nullptr;
};

// A part of an open file, as a request's body.
struct FilePart {
  int fd = -1;
  uint64_t offset = 0, size = 0;
};

struct HttpRequest {
  std::string method = "GET";
  Url url;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::optional<FilePart> file;                 // instead of body
  std::function<void(uint64_t bytes)> on_sent;  // bytes of the body that have gone
  int max_redirects = 10;                       // GET and HEAD only; 0: the redirect itself is the answer
  bool stay_on_origin = false;                  // a redirect to another one is the answer
};

struct HttpResponse {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::string body;                                          // unless a sink took it
  Url url;                                                   // that answered, after redirects
  // Of the first answer, which is the hub's own where the last one is its CDN's.
  std::vector<std::pair<std::string, std::string>> first_headers;

  // "" when absent; the first when there are several.
  std::string_view Header(std::string_view lower_case_name) const;
  std::string_view FirstHeader(std::string_view lower_case_name) const;
};

// Takes a body as it comes. A Status other than ok ends the transfer and is what the call returns.
class BodySink {
 public:
  virtual ~BodySink() = default;
  // With the head of the final answer: true to take the body, false to have it in HttpResponse::body.
  virtual Expected<bool> OnHead(const HttpResponse& response) = 0;
  virtual Status OnBody(std::string_view bytes) = 0;
};

// Limits: heads of 64 KiB, bodies that no sink takes 64 MiB, no content encodings, no redirect from https to
// http, and nothing by http at all where the hub (`token_origin`) is asked by https. Faults: kUnavailable for
// whatever trying again may mend; an answer with a bad status is an answer, not a fault.
class HttpClient {
 public:
  // Reads HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY (in lower case too, and for http in lower case
  // only, as curl does). Errors: those of TlsContext::Create and of a proxy's address.
  static Expected<std::unique_ptr<HttpClient>> Create(HttpOptions options);
  ~HttpClient();

  // Thread-safe. A sink may be nullptr.
  Expected<HttpResponse> Send(const HttpRequest& request, BodySink* sink = nullptr);

 private:
  explicit HttpClient(HttpOptions options) : options_(std::move(options)) {}
  Expected<HttpResponse> SendOnce(const HttpRequest& request, BodySink* sink);
  std::string HeadOf(const HttpRequest& request, bool through_proxy) const;
  std::optional<Url> ProxyFor(const Url& url) const;
  std::unique_ptr<Stream> TakeIdle(const std::string& origin);
  void KeepIdle(const std::string& origin, std::unique_ptr<Stream> stream);

  HttpOptions options_;
  std::unique_ptr<TlsContext> tls_;
  std::optional<Url> http_proxy_, https_proxy_;
  std::vector<std::string> no_proxy_;
  std::mutex mutex_;
  std::map<std::string, std::vector<std::unique_ptr<Stream>>> idle_;  // by origin; guarded by mutex_
};

// Whether a status is worth another attempt: 408, 429, 500, 502, 503, 504.
bool IsTransient(int status);
// Seconds that a Retry-After header asks for; -1 without one. (Dates, which hubs do not send, count as none.)
double RetryAfter(const HttpResponse& response);

}  // namespace lathe::hub
