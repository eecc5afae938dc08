#include "serve/http/request_reader.h"

#include <algorithm>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <utility>

#include "base/status.h"
#include "serve/http/fields.h"

namespace lathe::serve {

namespace http = boost::beast::http;
using boost::beast::error_code;

namespace {

// More fields than any client sends; each costs two allocations.
constexpr size_t kMaxFields = 128;

std::string_view View(boost::beast::string_view text) { return {text.data(), text.size()}; }

std::string LowerCase(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; });
  return out;
}

}  // namespace

// Puts what Beast finds straight into the HttpRequest.
class RequestReader::Parser final : public http::basic_parser<true> {
 public:
  Parser(const ReadLimits& limits, HttpRequest* request) : limits_(limits), request_(request) {
    header_limit(static_cast<uint32_t>(limits.header_bytes));
    body_limit(limits.body_bytes);
  }
  const std::string& target() const { return target_; }
  bool head_done() const { return head_done_; }
  int version() const { return version_; }
  bool too_many_fields() const { return too_many_fields_; }

 private:
  void on_request_impl(http::verb, boost::beast::string_view method, boost::beast::string_view target,
                       int version, error_code&) override {
    request_->method = View(method);
    target_ = View(target);
    version_ = version;
    head_bytes_ = method.size() + target.size();
  }
  void on_response_impl(int, boost::beast::string_view, int, error_code&) override {}
  void on_field_impl(http::field, boost::beast::string_view name, boost::beast::string_view value,
                     error_code& ec) override {
    if (head_done_) return;  // trailers of a chunked body: nobody asks for them
    head_bytes_ += name.size() + value.size() + 4;
    if (request_->headers.size() >= kMaxFields || head_bytes_ > limits_.header_bytes) {
      too_many_fields_ = true;
      ec = http::error::header_limit;
      return;
    }
    request_->headers.emplace_back(LowerCase(View(name)), View(value));
  }
  void on_header_impl(error_code&) override { head_done_ = true; }
  void on_body_init_impl(const boost::optional<uint64_t>& length, error_code&) override {
    // No more than the client has to send anyway before we believe it.
    if (length) request_->body.reserve(std::min<size_t>(*length, 64 << 10));
  }
  size_t on_body_impl(boost::beast::string_view bytes, error_code&) override {
    request_->body.append(bytes.data(), bytes.size());
    return bytes.size();
  }
  void on_chunk_header_impl(uint64_t, boost::beast::string_view, error_code&) override {}
  size_t on_chunk_body_impl(uint64_t, boost::beast::string_view bytes, error_code&) override {
    request_->body.append(bytes.data(), bytes.size());
    return bytes.size();
  }
  void on_finish_impl(error_code&) override {}

  ReadLimits limits_;
  HttpRequest* request_;
  std::string target_;
  size_t head_bytes_ = 0;
  int version_ = 11;
  bool head_done_ = false, too_many_fields_ = false;
};

RequestReader::RequestReader(const ReadLimits& limits)
    : limits_(limits), parser_(std::make_unique<Parser>(limits, &request_)) {}
RequestReader::~RequestReader() = default;

void RequestReader::Refuse(int status, std::string code, std::string message) {
  state_ = State::kFault;
  fault_ = {status, std::move(code), std::move(message)};
}

void RequestReader::RefuseSyntax(int reason, std::string_view what) {
  switch (static_cast<http::error>(reason)) {
    case http::error::header_limit:
      return Refuse(431, "headers_too_large",
                    parser_->too_many_fields() && request_.headers.size() >= kMaxFields
                        ? StrFormat("the request has more than %zu header fields", kMaxFields)
                        : StrFormat("the request's head is longer than %zu bytes", limits_.header_bytes));
    case http::error::body_limit:
      return Refuse(413, "body_too_large",
                    StrFormat("the request's body is longer than %zu bytes", limits_.body_bytes));
    case http::error::bad_version:
      return Refuse(505, "http_version", "only HTTP/1.1 and HTTP/1.0 are spoken here");
    default:
      return Refuse(400, "bad_request", "the request is not well-formed HTTP/1.1: " + std::string(what));
  }
}

// What Beast leaves to its user, and what it lets pass that opens the door to request smuggling.
void RequestReader::CheckHead() {
  http_1_0_ = parser_->version() == 10;
  keep_alive_ = parser_->keep_alive();
  size_t hosts = 0;
  for (const auto& [name, value] : request_.headers) {
    hosts += name == "host" ? 1 : 0;
    if (name == "transfer-encoding" && (http_1_0_ || !EqualsIgnoreCase(value, "chunked"))) {
      return Refuse(501, "transfer_encoding",
                    "the only Transfer-Encoding understood is chunked, in HTTP/1.1");
    }
  }
  if (hosts > 1 || (hosts == 0 && !http_1_0_)) {
    return Refuse(400, "bad_request", StrFormat("the request must have one Host header, but has %zu", hosts));
  }
  auto target = ParseTarget(parser_->target());
  if (!target) {
    return Refuse(400, "bad_request", "the request's target is not a path with well-formed percent escapes");
  }
  request_.path = std::move(target->path);
  request_.query = std::move(target->query);
  expects_continue_ = !http_1_0_ && EqualsIgnoreCase(request_.Header("expect"), "100-continue");
}

size_t RequestReader::Feed(std::string_view bytes) {
  if (state_ == State::kDone || state_ == State::kFault || bytes.empty()) return 0;
  size_t used = 0;
  // Empty lines before a request are to be ignored (RFC 9112, 2.2).
  while (!started_ && used < bytes.size() && (bytes[used] == '\r' || bytes[used] == '\n')) ++used;
  if (used == bytes.size()) return used;
  started_ = true;
  while (used < bytes.size()) {
    error_code ec;
    const bool had_head = parser_->head_done();
    const size_t n = parser_->put({bytes.data() + used, bytes.size() - used}, ec);
    used += n;
    if (ec == http::error::need_more) ec = {};
    if (ec) {
      RefuseSyntax(ec.value(), ec.message());
      return used;
    }
    if (!had_head && parser_->head_done()) {
      state_ = State::kBody;
      CheckHead();
      if (state_ == State::kFault) return used;
      if (parser_->is_done()) state_ = State::kDone;
      return used;
    }
    if (parser_->is_done()) {
      state_ = State::kDone;
      return used;
    }
    if (n == 0) break;
  }
  return used;
}

HttpRequest RequestReader::Take() {
  HttpRequest out = std::move(request_);
  request_ = {};
  parser_ = std::make_unique<Parser>(limits_, &request_);
  state_ = State::kHead;
  keep_alive_ = http_1_0_ = expects_continue_ = started_ = false;
  return out;
}

}  // namespace lathe::serve
