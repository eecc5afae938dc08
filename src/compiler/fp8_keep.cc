#include "compiler/fp8_keep.h"

#include <algorithm>
#include <iterator>

namespace lathe {
namespace {

struct Name {
  std::string_view text;
  bool Fp8Keep::*part;
};
constexpr Name kNames[] = {{"first", &Fp8Keep::first},     {"last", &Fp8Keep::last},
                           {"qkv", &Fp8Keep::qkv},         {"o", &Fp8Keep::o},
                           {"gate_up", &Fp8Keep::gate_up}, {"down", &Fp8Keep::down}};

// Weights and the kind of matmul that reads them.
constexpr Name kWeights[] = {{"q", &Fp8Keep::qkv},    {"k", &Fp8Keep::qkv},        {"v", &Fp8Keep::qkv},
                             {"o", &Fp8Keep::o},      {"gate", &Fp8Keep::gate_up}, {"up", &Fp8Keep::gate_up},
                             {"down", &Fp8Keep::down}};

}  // namespace

Expected<Fp8Keep> ParseFp8Keep(std::string_view text) {
  Fp8Keep keep;
  if (text == "none") return keep;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    const std::string_view word = text.substr(at, end - at);
    const auto* name =
        std::find_if(std::begin(kNames), std::end(kNames), [&](const Name& n) { return n.text == word; });
    if (name == std::end(kNames))
      return Error(StatusCode::kInvalidArgument,
                   "what an fp8 engine keeps in bf16 must be none, or some of first, last, qkv, o, gate_up, "
                   "down with commas between them, but there is \"%s\"",
                   std::string(word).c_str());
    keep.*name->part = true;
    at = end + 1;
  }
  return keep;
}

std::string ToString(const Fp8Keep& keep) {
  std::string out;
  for (const Name& name : kNames)
    if (keep.*name.part) out += (out.empty() ? "" : ",") + std::string(name.text);
  return out.empty() ? "none" : out;
}

bool Keeps(const Fp8Keep& keep, std::string_view weight, int layer, int n_layers) {
  if ((keep.first && layer == 0) || (keep.last && layer == n_layers - 1)) return true;
  const std::string_view role = weight.substr(weight.rfind('.') + 1);
  return std::any_of(std::begin(kWeights), std::end(kWeights),
                     [&](const Name& n) { return n.text == role && keep.*n.part; });
}

}  // namespace lathe
