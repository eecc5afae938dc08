#include "hub/http.h"

#include <unistd.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/buffers_iterator.hpp>
#include <boost/beast/http/fields.hpp>
#include <boost/beast/http/parser.hpp>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "hub/digest.h"
#include "hub/names.h"

namespace lathe::hub {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;

constexpr size_t kPieceBytes =
    512 << 10;  // half of what an L2 cache holds: read, hashed and written while there
constexpr size_t kMaxHead = 64 << 10;
constexpr size_t kMaxBody = size_t{64} << 20;
constexpr size_t kMaxIdle = 32;  // connections kept for an origin

// Hands pieces of a body on. Beast default-constructs it and then calls init.
struct PiecesBody {
  using value_type = std::function<bool(std::string_view)>;  // false: stop
  class reader {
   public:
    template <bool is_request, class Fields>
    reader(http::header<is_request, Fields>&, value_type& taker) : taker_(taker) {}
    void init(const boost::optional<std::uint64_t>&, boost::beast::error_code& ec) { ec = {}; }
    template <class Buffers>
    std::size_t put(const Buffers& buffers, boost::beast::error_code& ec) {
      std::size_t size = 0;
      for (auto at = asio::buffer_sequence_begin(buffers); at != asio::buffer_sequence_end(buffers); ++at) {
        const asio::const_buffer part(*at);
        size += part.size();
        if (!taker_({static_cast<const char*>(part.data()), part.size()})) ec = http::error::body_limit;
      }
      return size;
    }
    void finish(boost::beast::error_code& ec) { ec = {}; }

   private:
    value_type& taker_;
  };
};

// Reads one answer off a stream: first its head, then its body.
class AnswerReader {
 public:
  AnswerReader(Stream& stream, bool no_body) : stream_(stream), no_body_(no_body) { Renew(); }

  // Skips interim answers (1xx). `any`: whether a byte has come at all.
  Status ReadHead(HttpResponse* response, bool* any) {
    for (;;) {
      while (!parser_->is_header_done()) LATHE_RETURN_IF_ERROR(Step(any));
      if (parser_->get().result_int() >= 200) break;
      Renew();
    }
    const auto& message = parser_->get();
    response->status = static_cast<int>(message.result_int());
    for (const auto& field : message) {
      std::string name(field.name_string());
      std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
      response->headers.emplace_back(std::move(name), std::string(field.value()));
    }
    return Status::Ok();
  }

  // All of the body into `take`.
  Status ReadBody(std::function<Status(std::string_view)> take) {
    Status fault;
    parser_->get().body() = [&](std::string_view bytes) {
      fault = take(bytes);
      return fault.ok();
    };
    bool any = false;
    while (!parser_->is_done()) {
      const Status status = Step(&any);
      LATHE_RETURN_IF_ERROR(fault);
      LATHE_RETURN_IF_ERROR(status);
    }
    return fault;
  }

  bool may_keep() const { return parser_->is_done() && parser_->get().keep_alive() && first_ == end_; }

 private:
  void Renew() {
    parser_.emplace();
    parser_->header_limit(kMaxHead);
    parser_->body_limit(std::numeric_limits<std::uint64_t>::max());  // in Boost 1.74 none means 0
    parser_->eager(false);  // bodies wait until somebody has said where they go
    parser_->skip(no_body_);
  }

  Status Step(bool* any) {
    if (first_ < end_ && !starved_) return Parse();
    if (first_ > 0) {
      std::memmove(buffer_.get(), buffer_.get() + first_, end_ - first_);
      end_ -= first_;
      first_ = 0;
    }
    if (end_ == kPieceBytes) return Fault("sends a line that does not end");
    LATHE_ASSIGN_OR_RETURN(const size_t n, stream_.Read(buffer_.get() + end_, kPieceBytes - end_));
    if (n == 0) return AtEnd();
    *any = true;
    end_ += n;
    starved_ = false;
    return Parse();
  }

  Status Parse() {
    boost::system::error_code ec;
    if (parser_->is_header_done()) parser_->eager(true);
    const size_t used = parser_->put(asio::const_buffer(buffer_.get() + first_, end_ - first_), ec);
    first_ += used;
    if (ec == http::error::need_more) {
      starved_ = true;
      return Status::Ok();
    }
    if (ec) return Fault(ec.message().c_str());
    starved_ = used == 0 && !parser_->is_header_done();
    return Status::Ok();
  }

  Status AtEnd() {
    boost::system::error_code ec;
    if (parser_->is_header_done()) {
      parser_->put_eof(ec);
      if (!ec && parser_->is_done()) return Status::Ok();
    }
    return {StatusCode::kUnavailable, "the connection was cut"};
  }

  static Status Fault(const char* what) {
    return Error(StatusCode::kUnavailable, "the server does not speak HTTP/1.1 as it should: %s", what);
  }

  Stream& stream_;
  const bool no_body_;
  std::optional<http::response_parser<PiecesBody>> parser_;
  const std::unique_ptr<char[]> buffer_ = std::make_unique_for_overwrite<char[]>(kPieceBytes);
  size_t first_ = 0, end_ = 0;  // bytes read and not parsed yet
  bool starved_ = true;         // the parser wants more than those
};

Status SendFile(Stream& stream, const HttpRequest& request) {
  std::vector<char> buffer(kPieceBytes);
  for (uint64_t done = 0; done < request.file->size;) {
    const size_t want = static_cast<size_t>(std::min<uint64_t>(buffer.size(), request.file->size - done));
    const ssize_t n =
        ::pread(request.file->fd, buffer.data(), want, static_cast<off_t>(request.file->offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      return Error(StatusCode::kIo, "a file got shorter or unreadable while it was uploaded: %s",
                   n < 0 ? std::strerror(errno) : "end of file");
    LATHE_RETURN_IF_ERROR(stream.Write({buffer.data(), static_cast<size_t>(n)}));
    done += static_cast<uint64_t>(n);
    if (request.on_sent) request.on_sent(static_cast<uint64_t>(n));
  }
  return Status::Ok();
}

Status SendBody(Stream& stream, const HttpRequest& request) {
  if (request.file) return SendFile(stream, request);
  LATHE_RETURN_IF_ERROR(stream.Write(request.body));
  if (request.on_sent && !request.body.empty()) request.on_sent(request.body.size());
  return Status::Ok();
}

bool IsRedirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

std::string FirstVariable(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0') return value;
  }
  return "";
}

Expected<std::optional<Url>> ProxyFrom(const std::string& text) {
  if (text.empty()) return std::optional<Url>();
  auto url = ParseUrl(text.find("://") == std::string::npos ? "http://" + text : text);
  if (!url.ok()) return url.status().WithContext("the proxy's address");
  if (url->tls)
    return Error(StatusCode::kUnsupported, "the proxy %s is one over TLS; an http:// proxy is needed",
                 url->Origin().c_str());
  return std::optional<Url>(*std::move(url));
}

std::string_view Find(const std::vector<std::pair<std::string, std::string>>& headers,
                      std::string_view name) {
  for (const auto& [key, value] : headers)
    if (key == name) return value;
  return "";
}

}  // namespace

std::string_view HttpResponse::Header(std::string_view name) const { return Find(headers, name); }
std::string_view HttpResponse::FirstHeader(std::string_view name) const { return Find(first_headers, name); }

Expected<std::unique_ptr<HttpClient>> HttpClient::Create(HttpOptions options) {
  std::unique_ptr<HttpClient> client(new HttpClient(std::move(options)));
  LATHE_ASSIGN_OR_RETURN(client->tls_, TlsContext::Create());
  LATHE_ASSIGN_OR_RETURN(client->https_proxy_,
                         ProxyFrom(FirstVariable({"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"})));
  LATHE_ASSIGN_OR_RETURN(client->http_proxy_,
                         ProxyFrom(FirstVariable({"http_proxy", "all_proxy", "ALL_PROXY"})));
  std::string item;
  for (const char c : FirstVariable({"no_proxy", "NO_PROXY"}) + ",") {
    if (c != ',' && c != ' ') {
      item += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    } else if (!item.empty()) {
      client->no_proxy_.push_back(std::move(item));
      item.clear();
    }
  }
  return client;
}

HttpClient::~HttpClient() = default;

std::optional<Url> HttpClient::ProxyFor(const Url& url) const {
  for (std::string_view name : no_proxy_) {
    if (name == "*") return std::nullopt;
    while (name.starts_with('.')) name.remove_prefix(1);
    const bool below = url.host.size() > name.size() && url.host.ends_with(name) &&
                       url.host[url.host.size() - name.size() - 1] == '.';
    if (url.host == name || below || url.Authority(true) == name) return std::nullopt;
  }
  return url.tls ? https_proxy_ : http_proxy_;
}

std::unique_ptr<Stream> HttpClient::TakeIdle(const std::string& origin) {
  const std::lock_guard lock(mutex_);
  std::vector<std::unique_ptr<Stream>>& idle = idle_[origin];
  while (!idle.empty()) {
    std::unique_ptr<Stream> stream = std::move(idle.back());
    idle.pop_back();
    if (stream->Quiet()) return stream;
  }
  return nullptr;
}

void HttpClient::KeepIdle(const std::string& origin, std::unique_ptr<Stream> stream) {
  const std::lock_guard lock(mutex_);
  if (idle_[origin].size() < kMaxIdle) idle_[origin].push_back(std::move(stream));
}

std::string HttpClient::HeadOf(const HttpRequest& request, bool through_proxy) const {
  const uint64_t size = request.file ? request.file->size : request.body.size();
  std::string head = request.method + " " +
                     (through_proxy && !request.url.tls ? request.url.ToString() : request.url.target) +
                     " HTTP/1.1\r\nHost: " + request.url.Authority() +
                     "\r\nUser-Agent: " + options_.user_agent +
                     "\r\nAccept: */*\r\nAccept-Encoding: identity\r\n";
  for (const auto& [name, value] : request.headers) head += name + ": " + value + "\r\n";
  if (request.method != "GET" && request.method != "HEAD")
    head += "Content-Length: " + std::to_string(size) + "\r\n";
  if (!options_.token.empty() && request.url.Origin() == options_.token_origin)
    head += "Authorization: Bearer " + options_.token + "\r\n";
  if (through_proxy && !request.url.tls && http_proxy_ && !http_proxy_->user_info.empty())
    head += "Proxy-Authorization: Basic " + Base64(http_proxy_->user_info) + "\r\n";
  return head + "\r\n";
}

Expected<HttpResponse> HttpClient::SendOnce(const HttpRequest& request, BodySink* sink) {
  const std::string origin = request.url.Origin();
  if (!request.url.tls && options_.token_origin.starts_with("https:"))
    return Error(StatusCode::kUnsupported, "%s names an address without TLS (%s), which is not used",
                 options_.token_origin.c_str(), request.url.Shown().c_str());
  const std::optional<Url> proxy = ProxyFor(request.url);
  const std::string head = HeadOf(request, proxy.has_value());
  const StreamOptions options{options_.connect_timeout, options_.idle_timeout, options_.cancel,
                              options_.user_agent};
  // A kept connection may be closed by the server just as it is used again, and then nobody knows whether a
  // POST was heard: those get a new one.
  bool kept = request.method != "POST";
  for (;;) {
    std::unique_ptr<Stream> stream = kept ? TakeIdle(origin) : nullptr;
    kept = stream != nullptr;
    if (stream == nullptr) {
      LATHE_ASSIGN_OR_RETURN(stream, Stream::Open(request.url, proxy, *tls_, options));
    }
    Status written = stream->Write(head);
    if (written.ok()) written = SendBody(*stream, request);
    if (written.code() == StatusCode::kIo || written.code() == StatusCode::kCancelled) return written;
    // A server may answer and close before it has read all: what it said is still there to be read.
    HttpResponse response;
    response.url = request.url;
    AnswerReader reader(*stream, request.method == "HEAD");
    bool any = false;
    const Status read = reader.ReadHead(&response, &any);
    if (read.code() == StatusCode::kUnavailable && kept && !any) continue;
    if (!read.ok()) return written.ok() ? read : written;
    const std::string_view encoding = response.Header("content-encoding");
    if (!encoding.empty() && encoding != "identity")
      return Error(StatusCode::kUnsupported, "%s sends its answer as '%s', though it was told not to",
                   request.url.Shown().c_str(), Quoted(encoding).c_str());
    bool taken = false;
    const bool final = request.max_redirects == 0 || !IsRedirect(response.status);
    if (sink != nullptr && final) {
      LATHE_ASSIGN_OR_RETURN(taken, sink->OnHead(response));
    }
    LATHE_RETURN_IF_ERROR(reader.ReadBody([&](std::string_view bytes) -> Status {
      if (taken) return sink->OnBody(bytes);
      if (response.body.size() + bytes.size() > kMaxBody)
        return Error(StatusCode::kUnsupported, "%s answers with more than 64 MiB",
                     request.url.Shown().c_str());
      response.body += bytes;
      return Status::Ok();
    }));
    if (reader.may_keep() && written.ok()) KeepIdle(origin, std::move(stream));
    return response;
  }
}

Expected<HttpResponse> HttpClient::Send(const HttpRequest& request, BodySink* sink) {
  HttpRequest current = request;
  std::vector<std::pair<std::string, std::string>> first_headers;
  for (int redirects = 0;; ++redirects) {
    auto sent = SendOnce(current, sink);
    if (!sent.ok()) return sent.status();
    HttpResponse response = *std::move(sent);
    if (redirects == 0) first_headers = response.headers;
    response.first_headers = first_headers;
    const bool follows = request.method == "GET" || request.method == "HEAD";
    if (!IsRedirect(response.status) || request.max_redirects == 0 || !follows) return response;
    if (redirects == request.max_redirects)
      return Error(StatusCode::kUnsupported, "%s redirects more than %d times", request.url.Shown().c_str(),
                   redirects);
    auto next = ResolveReference(current.url, response.Header("location"));
    if (!next.ok()) return next.status().WithContext("a redirect of " + current.url.Shown());
    if (current.url.tls && !next->tls)
      return Error(StatusCode::kUnsupported, "%s redirects from https to http (%s), which is not followed",
                   current.url.Shown().c_str(), next->Shown().c_str());
    if (request.stay_on_origin && next->Origin() != current.url.Origin()) return response;
    current.url = *std::move(next);
  }
}

bool IsTransient(int status) {
  return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}

double RetryAfter(const HttpResponse& response) {
  const std::string text(response.Header("retry-after"));
  if (text.empty() || text.size() > 9 || !std::all_of(text.begin(), text.end(), ::isdigit)) return -1;
  return std::strtod(text.c_str(), nullptr);
}

}  // namespace lathe::hub
