#include <gtest/gtest.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include "serve/http/raw_client.h"
#include "serve/http/server.h"

namespace lathe::serve {
namespace {

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* pointer) const {
    Free(pointer);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;

// A certificate for localhost, signed by its own key.
void WriteSelfSigned(const std::string& cert_file, const std::string& key_file) {
  const Key key(EVP_EC_gen("P-256"));
  const std::unique_ptr<X509, Deleter<X509_free>> cert(X509_new());
  X509_set_version(cert.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(cert.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(cert.get()), 0);
  X509_gmtime_adj(X509_getm_notAfter(cert.get()), 3600);
  X509_set_pubkey(cert.get(), key.get());
  X509_NAME* name = X509_get_subject_name(cert.get());
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("localhost"),
                             -1, -1, 0);
  X509_set_issuer_name(cert.get(), name);
  X509_sign(cert.get(), key.get(), EVP_sha256());
  FILE* file = std::fopen(cert_file.c_str(), "w");
  PEM_write_X509(file, cert.get());
  std::fclose(file);
  file = std::fopen(key_file.c_str(), "w");
  PEM_write_PrivateKey(file, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  std::fclose(file);
}

// One TLS connection on a RawClient's socket.
class TlsClient {
 public:
  explicit TlsClient(int port, int max_version = 0) : raw_(port), context_(SSL_CTX_new(TLS_client_method())) {
    SSL_CTX_set_min_proto_version(context_.get(), TLS1_VERSION);
    SSL_CTX_set_max_proto_version(context_.get(), max_version);
    SSL_CTX_set_security_level(context_.get(), 0);
    ssl_.reset(SSL_new(context_.get()));
    static const unsigned char kProtocols[] = "\x02h2\x08http/1.1";
    SSL_set_alpn_protos(ssl_.get(), kProtocols, sizeof kProtocols - 1);
    SSL_set_fd(ssl_.get(), raw_.fd());
    open_ = SSL_connect(ssl_.get()) == 1;
  }
  bool open() const { return open_; }
  std::string version() const { return SSL_get_version(ssl_.get()); }
  std::string protocol() const {
    const unsigned char* text = nullptr;
    unsigned int size = 0;
    SSL_get0_alpn_selected(ssl_.get(), &text, &size);
    return {reinterpret_cast<const char*>(text), size};
  }
  void Send(std::string_view bytes) { SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size())); }
  // Until `needle`, or the end.
  std::string ReadUntil(std::string_view needle) {
    std::string out;
    char bytes[4096];
    while (out.find(needle) == std::string::npos) {
      const int n = SSL_read(ssl_.get(), bytes, sizeof bytes);
      if (n <= 0) {
        clean_end_ = SSL_get_error(ssl_.get(), n) == SSL_ERROR_ZERO_RETURN;
        break;
      }
      out.append(bytes, static_cast<size_t>(n));
    }
    return out;
  }
  bool clean_end() const { return clean_end_; }
  RawClient& raw() { return raw_; }

 private:
  RawClient raw_;
  std::unique_ptr<SSL_CTX, Deleter<SSL_CTX_free>> context_;
  std::unique_ptr<SSL, Deleter<SSL_free>> ssl_;
  bool open_ = false, clean_end_ = false;
};

class TlsTest : public testing::Test {
 protected:
  TlsTest() {
    char name[] = "/tmp/lathe-tls-XXXXXX";
    dir_ = mkdtemp(name);
    options_.port = 0;
    options_.tls_cert_file = dir_ + "/cert.pem";
    options_.tls_key_file = dir_ + "/key.pem";
    WriteSelfSigned(options_.tls_cert_file, options_.tls_key_file);
    router_.Add("GET", "/hello",
                [](auto, auto responder) { responder->Send(200, "text/plain", "hello", {}); });
    router_.Add("POST", "/echo",
                [](auto request, auto responder) { responder->Send(200, "text/plain", request->body, {}); });
    router_.Add("GET", "/stream", [this](auto, auto responder) {
      responder->OnDisconnect([this] { gone_ = true; });
      responder->StartStream(200, "text/event-stream", {});
      for (int i = 0; i < 100; ++i) responder->Write("data: " + std::to_string(i) + "\n\n");
      stream_ = responder;
      ready_ = true;
    });
  }
  ~TlsTest() override {
    stream_.reset();
    server_.reset();
    unlink(options_.tls_cert_file.c_str());
    unlink(options_.tls_key_file.c_str());
    rmdir(dir_.c_str());
  }
  void Serve() {
    auto server = HttpServer::Start(options_, &router_);
    ASSERT_TRUE(server.ok()) << server.status().message();
    server_ = *std::move(server);
  }

  std::string dir_;
  HttpOptions options_;
  Router router_;
  std::atomic<bool> gone_{false}, ready_{false};
  std::shared_ptr<Responder> stream_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(TlsTest, ServesOverTls13And12AndRefusesOlder) {
  Serve();
  for (const int version : {0, TLS1_2_VERSION}) {
    TlsClient client(server_->port(), version);
    ASSERT_TRUE(client.open());
    EXPECT_EQ(client.version(), version == 0 ? "TLSv1.3" : "TLSv1.2");
    EXPECT_EQ(client.protocol(), "http/1.1");
    client.Send(Get("/hello"));
    const std::string answer = client.ReadUntil("hello");
    EXPECT_NE(answer.find("Strict-Transport-Security"), std::string::npos);
    const std::string body(100000, 'x');
    client.Send(Post("/echo", body, "Connection: close\r\n"));
    EXPECT_NE(client.ReadUntil("nothing").find(body), std::string::npos);
    EXPECT_TRUE(client.clean_end());
  }
  EXPECT_FALSE(TlsClient(server_->port(), TLS1_1_VERSION).open());
  EXPECT_TRUE(TlsClient(server_->port()).open());
}

TEST_F(TlsTest, StreamsAndDisconnects) {
  Serve();
  TlsClient client(server_->port());
  ASSERT_TRUE(client.open());
  client.Send(Get("/stream"));
  EXPECT_NE(client.ReadUntil("data: 99\n\n").find("data: 0\n\n"), std::string::npos);
  while (!ready_) std::this_thread::yield();
  client.raw().Reset();
  const double start = NowSeconds();
  while (!gone_ && NowSeconds() - start < 2) std::this_thread::yield();
  EXPECT_TRUE(gone_);
}

TEST_F(TlsTest, PlainTextAndSilenceGetNothing) {
  options_.read_timeout = 0.2;
  Serve();
  RawClient plain(server_->port()), silent(server_->port());
  plain.Send(Get("/hello"));
  EXPECT_TRUE(plain.Ends(2));
  EXPECT_EQ(plain.buffer().find("HTTP"), std::string::npos);
  EXPECT_TRUE(silent.Ends(2));
}

TEST_F(TlsTest, ReloadsAndRefusesBadFiles) {
  Serve();
  WriteSelfSigned(options_.tls_cert_file, options_.tls_key_file);
  EXPECT_TRUE(server_->ReloadTls().ok());
  const std::string other = dir_ + "/other.pem";
  WriteSelfSigned(other, options_.tls_key_file);  // a key that does not belong to the certificate
  unlink(other.c_str());
  const Status mismatch = server_->ReloadTls();
  EXPECT_FALSE(mismatch.ok());
  EXPECT_NE(mismatch.message().find("key.pem"), std::string::npos) << mismatch.message();
  EXPECT_TRUE(TlsClient(server_->port()).open());  // the old ones stay
  HttpOptions missing = options_;
  missing.tls_cert_file = dir_ + "/none.pem";
  EXPECT_NE(HttpServer::Start(missing, &router_).status().message().find("none.pem"), std::string::npos);
}

}  // namespace
}  // namespace lathe::serve
