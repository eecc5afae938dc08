#include "serve/playground/playground.h"

#include <array>
#include <string>

#include "base/hash.h"
#include "base/status.h"
#include "serve/playground/embedded.h"

namespace lathe::serve {
namespace {

// Scripts, styles, images and requests from this server only; nothing inline, no frames, no forms, no
// plug-ins.
constexpr char kPolicy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri "
    "'none'; "
    "form-action 'none'; frame-ancestors 'none'";

std::string_view ContentType(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kTypes = {{
      {".html", "text/html; charset=utf-8"},
      {".css", "text/css; charset=utf-8"},
      {".js", "text/javascript; charset=utf-8"},
      {".svg", "image/svg+xml"},
  }};
  for (const auto& [suffix, type] : kTypes) {
    if (name.ends_with(suffix)) return type;
  }
  return "application/octet-stream";
}

// If-None-Match: a list of tags, or "*". Ours is found as a whole: it is quoted and has no quote inside.
bool HasTag(std::string_view list, std::string_view tag) {
  return list == "*" || list.find(tag) != std::string_view::npos;
}

void SendFile(const EmbeddedFile& file, const HttpRequest& request, Responder* responder) {
  const uint64_t hash = Hash64(std::as_bytes(std::span(file.bytes)));
  const std::string tag = StrFormat("\"%016llx\"", static_cast<unsigned long long>(hash));
  HeaderList headers = {{"ETag", tag}, {"Cache-Control", "no-cache"}, {"Content-Security-Policy", kPolicy}};
  const bool known = HasTag(request.Header("if-none-match"), tag);
  responder->Send(known ? 304 : 200, ContentType(file.name), known ? std::string() : std::string(file.bytes),
                  std::move(headers));
}

void Serve(Router* router, const std::string& path, const EmbeddedFile& file) {
  router->Add(
      "GET", path,
      [file](const std::shared_ptr<const HttpRequest>& request, const std::shared_ptr<Responder>& responder) {
        SendFile(file, *request, responder.get());
      });
}

}  // namespace

void RegisterPlayground(Router* router) {
  for (const EmbeddedFile& file : PlaygroundFiles()) {
    Serve(router, file.name == "index.html" ? "/" : "/playground/" + std::string(file.name), file);
  }
}

}  // namespace lathe::serve
