#include <algorithm>
#include <array>
#include <map>

#include "base/json.h"
#include "model/synth.h"

namespace lathe {
namespace {

// UTF-8 of a code point below 0x800.
std::string Utf8(int code) {
  if (code < 0x80) return {static_cast<char>(code)};
  return {static_cast<char>(0xc0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3f))};
}

// The printable stand-in of each byte in byte-level BPE: itself where it prints, else the next of 256, 257,
// ...
std::array<std::string, 256> ByteCharacters() {
  std::array<std::string, 256> out;
  int next = 256;
  for (int b = 0; b < 256; ++b) {
    const bool prints = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    out[static_cast<size_t>(b)] = Utf8(prints ? b : next++);
  }
  return out;
}

// " a", " b", ... " aa", ...: bijective base 26, told apart from the bytes by the space in front.
std::string Word(int n) {
  std::string letters;
  for (++n; n > 0; n = (n - 1) / 26) letters += static_cast<char>('a' + (n - 1) % 26);
  std::reverse(letters.begin(), letters.end());
  return Utf8(0x120) + letters;
}

}  // namespace

Expected<std::string> SyntheticTokenizer(int vocab, std::span<const std::pair<int, std::string>> special) {
  const int needed = 256 + static_cast<int>(special.size());
  if (vocab < needed)
    return Error(StatusCode::kInvalidArgument,
                 "a vocab_size of %d is too small for a byte-level tokenizer, which needs %d ids", vocab,
                 needed);
  std::map<int, std::string> control(special.begin(), special.end());
  const std::array<std::string, 256> bytes = ByteCharacters();
  Json ids = Json::object(), added = Json::array();
  size_t next_byte = 0;
  int next_word = 0;
  for (int id = 0; id < vocab; ++id) {
    const auto it = control.find(id);
    if (it != control.end()) {
      ids.get_ref<Json::object_t&>().emplace_back(it->second, id);
      added.push_back({{"id", id},
                       {"content", it->second},
                       {"single_word", false},
                       {"lstrip", false},
                       {"rstrip", false},
                       {"normalized", false},
                       {"special", true}});
    } else {
      ids.get_ref<Json::object_t&>().emplace_back(next_byte < 256 ? bytes[next_byte++] : Word(next_word++),
                                                  id);
    }
  }
  const Json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  const Json tokenizer = {{"version", "1.0"},
                          {"truncation", nullptr},
                          {"padding", nullptr},
                          {"added_tokens", added},
                          {"normalizer", nullptr},
                          {"pre_tokenizer", byte_level},
                          {"post_processor", nullptr},
                          {"decoder", byte_level},
                          {"model",
                           {{"type", "BPE"},
                            {"dropout", nullptr},
                            {"unk_token", nullptr},
                            {"continuing_subword_prefix", nullptr},
                            {"end_of_word_suffix", nullptr},
                            {"fuse_unk", false},
                            {"byte_fallback", false},
                            {"ignore_merges", false},
                            {"vocab", ids},
                            {"merges", Json::array()}}}};
  return DumpJson(tokenizer);
}

}  // namespace lathe
