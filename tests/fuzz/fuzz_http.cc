// What a client or an operator can write: requests in any cut, fields of their heads, the configuration, the
// file of keys. The first byte chooses.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "serve/http/fields.h"
#include "serve/http/head.h"
#include "serve/http/request_reader.h"
#include "serve/server/config.h"
#include "serve/server/key_file.h"

namespace {

using lathe::serve::HttpRequest;
using lathe::serve::RequestReader;

constexpr lathe::serve::ReadLimits kLimits{.header_bytes = 1024, .body_bytes = 2048};

struct Read {
  std::vector<HttpRequest> requests;
  int fault = 0;
};

// The requests of `bytes`, given in pieces of `piece`.
Read ReadAll(std::string_view bytes, size_t piece) {
  RequestReader reader(kLimits);
  Read out;
  std::string pending;
  while (!bytes.empty()) {
    pending.append(bytes.substr(0, piece));
    bytes.remove_prefix(std::min(piece, bytes.size()));
    while (true) {
      const size_t used = reader.Feed(pending);
      LATHE_CHECK_LE(used, pending.size());
      pending.erase(0, used);
      if (reader.state() == RequestReader::State::kFault) {
        out.fault = reader.fault().status;
        LATHE_CHECK(out.fault >= 400 && out.fault < 600 && !reader.fault().message.empty());
        return out;
      }
      if (reader.state() == RequestReader::State::kDone) {
        out.requests.push_back(reader.Take());
        LATHE_CHECK_LE(out.requests.back().body.size(), kLimits.body_bytes);
      } else if (used == 0) {
        break;
      }
    }
  }
  return out;
}

void FuzzRequests(std::string_view bytes) {
  const Read whole = ReadAll(bytes, bytes.size() + 1), bit = ReadAll(bytes, 3);
  LATHE_CHECK_EQ(whole.requests.size(), bit.requests.size());
  for (size_t i = 0; i < whole.requests.size(); ++i) {
    LATHE_CHECK(whole.requests[i].path == bit.requests[i].path);
    LATHE_CHECK(whole.requests[i].headers == bit.requests[i].headers);
    LATHE_CHECK(whole.requests[i].body == bit.requests[i].body);
  }
}

void FuzzFields(std::string_view text) {
  const std::string trace = lathe::serve::TraceId(text);
  LATHE_CHECK(trace.empty() || trace.size() == 32);
  const auto key = lathe::serve::KeyOfAuthorization(text);
  LATHE_CHECK(!key || key->size() <= text.size());
  const auto target = lathe::serve::ParseTarget(text);
  LATHE_CHECK(!target || target->path == "*" || target->path.front() == '/');
  LATHE_CHECK(!target || target->path.find('\0') == std::string::npos);
  (void)lathe::serve::IsLocalHostName(text);
  const std::string head = lathe::serve::FormatHead({.status = 200, .content_type = text, .request_id = text},
                                                    {{"X", std::string(text)}});
  LATHE_CHECK_EQ(head.find("\r\n\r\n"), head.size() - 4);
}

void FuzzConfig(std::string_view text) {
  lathe::serve::ConfigWithSources out;
  if (!ApplyYaml(text, "fuzz", &out).ok()) return;
  const std::string printed = PrintConfig(out);
  lathe::serve::ConfigWithSources again;
  LATHE_CHECK(ApplyYaml(printed, "printed", &again).ok());
  again.sources = out.sources;
  LATHE_CHECK(PrintConfig(again) == printed);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0]) {
    case 'f': FuzzFields(rest); break;
    case 'c': FuzzConfig(rest); break;
    case 'k': {
      const auto keys = lathe::serve::ParseKeys(rest, "fuzz");
      LATHE_CHECK(!keys.ok() || !keys->empty());
      break;
    }
    default: FuzzRequests(rest);
  }
  return 0;
}
