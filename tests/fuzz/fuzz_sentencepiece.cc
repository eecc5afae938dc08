// A SentencePiece model from hostile bytes.
#include "tokenizer_use.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  UseTokenizer(lathe::Tokenizer::FromSentencePiece(bytes, "fuzz"));
  return 0;
}
