// `lathe health`: asks a running server whether it is ready. For images without curl.
#include <netdb.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/status.h"
#include "commands.h"
#include "serve/server/config.h"
#include "serving/url.h"

extern char** environ;

namespace lathe::cli {
namespace {

constexpr size_t kMaxAnswer = 65536;

struct Options {
  std::optional<std::string> url;
  bool live = false;
  double timeout = 3;
};

struct Socket {
  int fd = -1;
  ~Socket() {
    if (fd >= 0) ::close(fd);
  }
};

// Where the server of this environment listens: for probes, else for everybody. An address that stands for
// all is asked by loopback.
Expected<std::string> AddressFromEnvironment() {
  serve::ConfigWithSources effective;
  LATHE_RETURN_IF_ERROR(serve::ApplyEnvironment(environ, &effective));
  const serve::ServerConfig& config = effective.config;
  std::string host = config.host;
  int port = config.port;
  if (!config.management_listen.empty()) {
    LATHE_ASSIGN_OR_RETURN(const auto listen,
                           serve::ParseListen(config.management_listen, "management_listen"));
    host = listen.first;
    port = listen.second;
  }
  if (host == "0.0.0.0") host = "127.0.0.1";
  if (host == "::") host = "::1";
  if (host.find(':') != std::string::npos) host = "[" + host + "]";
  return "http://" + host + ":" + std::to_string(port);
}

Expected<std::string> Ask(const Url& url, const std::string& path, double timeout) {
  const auto unavailable = [&url](const char* what) {
    return Error(StatusCode::kUnavailable, "%s: %s", url.ToString().c_str(), what);
  };
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  const int code = ::getaddrinfo(url.host.c_str(), url.port.c_str(), &hints, &found);
  if (code != 0) return unavailable(::gai_strerror(code));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, &::freeaddrinfo);
  Socket socket{::socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC, found->ai_protocol)};
  if (socket.fd < 0) return unavailable(std::strerror(errno));
  timeval limit{};
  limit.tv_sec = static_cast<time_t>(timeout);
  limit.tv_usec = static_cast<suseconds_t>((timeout - std::floor(timeout)) * 1e6);
  ::setsockopt(socket.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(socket.fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (::connect(socket.fd, found->ai_addr, found->ai_addrlen) != 0) return unavailable(std::strerror(errno));
  const std::string request =
      "GET " + url.path + path + " HTTP/1.1\r\nHost: " + url.HostHeader() + "\r\nConnection: close\r\n\r\n";
  if (::send(socket.fd, request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size()))
    return unavailable(std::strerror(errno));
  std::string answer;
  char buffer[4096];
  for (ssize_t n; answer.size() < kMaxAnswer && (n = ::recv(socket.fd, buffer, sizeof buffer, 0)) != 0;) {
    if (n < 0) return unavailable(errno == EAGAIN ? "no answer in time" : std::strerror(errno));
    answer.append(buffer, static_cast<size_t>(n));
  }
  return answer;
}

Expected<int> Run(const Options& options) {
  std::string address = options.url.value_or("");
  if (address.empty()) {
    LATHE_ASSIGN_OR_RETURN(address, AddressFromEnvironment());
  }
  LATHE_ASSIGN_OR_RETURN(const Url url, ParseUrl(address));
  if (url.tls)
    return Status(StatusCode::kInvalidArgument,
                  "health speaks plain HTTP; ask the address of management_listen, which has no TLS");
  if (!(options.timeout > 0 && options.timeout <= 3600))
    return Error(StatusCode::kInvalidArgument, "--timeout must be above 0 and at most 3600, but is %g",
                 options.timeout);
  const char* path = options.live ? "/livez" : "/readyz";
  LATHE_ASSIGN_OR_RETURN(const std::string answer, Ask(url, path, options.timeout));
  if (answer.starts_with("HTTP/1.1 200")) {
    std::printf("%s%s: ok\n", url.ToString().c_str(), path);
    return kExitOk;
  }
  return Error(StatusCode::kUnavailable, "%s%s answered '%.100s'", url.ToString().c_str(), path,
               answer.substr(0, answer.find('\r')).c_str());
}

}  // namespace

void AddHealth(Command& root) {
  auto options = std::make_shared<Options>();
  Command command = root.Sub("health", "Ask a running server whether it is ready (exit code 0) or not (1)",
                             "lathe health http://127.0.0.1:8000");
  command.Argument("URL", &options->url,
                   "Address of the server; none: where LATHE_MANAGEMENT_LISTEN, LATHE_HOST, LATHE_PORT say");
  command.Flag("--live", &options->live, "Ask /livez, whether it gets on at all, instead of /readyz");
  command.Option("--timeout", &options->timeout, "Seconds to wait for an answer");
  command.OnRun([options] { return Run(*options); });
}

}  // namespace lathe::cli
