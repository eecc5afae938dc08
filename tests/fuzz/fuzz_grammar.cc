// Output formats: the first byte picks the kind, the rest is the source. Compiling ends within small limits,
// and what compiles gives masks that are never empty before the end, with every allowed token accepted.
#include <array>
#include <bit>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "text/grammar/grammar.h"

namespace {

std::shared_ptr<const lathe::GrammarVocab> Vocab() {
  static const auto vocab = [] {
    std::vector<std::string> bytes;
    for (int b = 0; b < 256; ++b) bytes.emplace_back(1, static_cast<char>(b));
    for (const char* token :
         {"ab", "the ", "\"", "\":", "}}", "],", "12", "\xC3\xA9", "\\u", " {\"", "aaaaaaaa"}) {
      bytes.emplace_back(token);
    }
    bytes.resize(bytes.size() + 2);
    const auto eos = static_cast<lathe::TokenId>(bytes.size() - 2);
    return std::make_shared<lathe::GrammarVocab>(
        lathe::GrammarVocab::FromStrings(bytes, std::array{eos}, {{"<x>", eos + 1}}));
  }();
  return vocab;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  lathe::OutputFormat format;
  format.kind = static_cast<lathe::OutputFormat::Kind>(1 + data[0] % 4);
  format.source.assign(reinterpret_cast<const char*>(data + 1), size - 1);
  if (format.kind == lathe::OutputFormat::Kind::kChoice) format.choices = {format.source, "x"};
  lathe::GrammarLimits limits;
  limits.bytes = size_t{4} << 20;
  const auto grammar = lathe::CompileGrammar(format, Vocab(), limits);
  if (!grammar.ok()) {
    LATHE_CHECK(!grammar.status().message().empty());
    return 0;
  }
  lathe::GrammarMatcher matcher(*grammar);
  std::vector<uint32_t> words(static_cast<size_t>((Vocab()->size() + 31) / 32));
  uint32_t pick = data[0];
  for (int i = 0; i < 12 && !matcher.ended(); ++i) {
    LATHE_CHECK(matcher.FillMask(words));
    uint32_t allowed = 0;
    for (const uint32_t w : words) allowed += static_cast<uint32_t>(std::popcount(w));
    pick = (pick * 31 + data[static_cast<size_t>(i) % size]) % allowed;
    uint32_t n = pick;
    lathe::TokenId id = 0;
    for (;; ++id) {
      if ((words[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0 && n-- == 0) break;
    }
    LATHE_CHECK(matcher.Accept(id));
  }
  return 0;
}
