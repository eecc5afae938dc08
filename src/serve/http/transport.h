// A connected socket, plain or TLS, behind one interface that needs no templates. Everything here is called
// and calls back on the I/O thread of its loop.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"

namespace boost::asio {
class io_context;
}

namespace lathe::serve {

class Transport {
 public:
  class Events {
   public:
    virtual ~Events() = default;
    virtual void OnOpen() = 0;  // bytes may flow (after the TLS handshake)
    virtual void OnBytes(std::string_view bytes) = 0;
    virtual void OnEnd() = 0;              // the peer closed, or the socket failed
    virtual void OnWritten(size_t n) = 0;  // WriteLater took n bytes (maybe 0: try again)
  };
  virtual ~Transport() = default;

  // Begins to read. `events` is held weakly between operations, so it may own the transport.
  virtual void Start(std::weak_ptr<Events> events) = 0;
  virtual void PauseReading() = 0;
  virtual void ResumeReading() = 0;

  // Writes from `segments` (from byte `offset` of the first) what the socket takes at once; bytes taken. TLS
  // takes none here.
  virtual size_t WriteNow(const std::deque<std::string>& segments, size_t offset, bool* failed) = 0;
  // OnWritten follows. The segments given stay as they are until then. One at a time.
  virtual void WriteLater(const std::deque<std::string>& segments, size_t offset) = 0;
  // No more is written; the peer sees the end.
  virtual void ShutdownSend() = 0;
  // No event follows. `reset`: the peer gets a RST rather than what is still in the socket's buffer.
  virtual void Close(bool reset) = 0;
};

// Certificate chain and key, checked. Shared by connections; replaced as a whole.
class TlsContext {
 public:
  virtual ~TlsContext() = default;
  // PEM files. TLS 1.2 or later, HTTP/1.1 by ALPN. Errors name the file.
  static Expected<std::shared_ptr<TlsContext>> Load(const std::string& cert_file,
                                                    const std::string& key_file);
};

// Both take over `fd`, connected and non-blocking.
std::unique_ptr<Transport> MakePlainTransport(boost::asio::io_context& io, int fd);
std::unique_ptr<Transport> MakeTlsTransport(boost::asio::io_context& io, int fd,
                                            std::shared_ptr<TlsContext> tls);

}  // namespace lathe::serve
