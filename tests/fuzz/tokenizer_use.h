// What every tokenizer fuzz target does with a tokenizer that could be loaded.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

// Encodes and decodes a short text, whole and streamed, and aborts when the two differ.
inline void UseTokenizer(const lathe::Expected<lathe::Tokenizer>& tokenizer) {
  if (!tokenizer.ok()) return;
  constexpr std::string_view kText =
      "The king's 12 caf\xC3\xA9s \xE4\xB8\xAD\xF0\x9F\x98\x80\r\n\n  <s>\x00\xFF\xE4 x";
  std::vector<int32_t> ids = tokenizer->Encode(kText, {.parse_special = true});
  for (int32_t id = -1; id < 40; ++id) ids.push_back(id);
  lathe::StreamDecoder stream(*tokenizer, false);
  std::string streamed;
  for (const int32_t id : ids) streamed += stream.Push(id);
  streamed += stream.Flush();
  if (streamed != tokenizer->Decode(ids, false)) std::abort();
  for (const int32_t id : {ids.front(), ids.back()}) tokenizer->IdOf(tokenizer->TokenText(id));
}
