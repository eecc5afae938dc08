// The table of model families. A new Llama-like family is one file here and one line in each list below.
#pragma once

#include "model/families/llama_like.h"

namespace lathe {

extern const Family kLlamaFamily;
extern const Family kMistralFamily;
extern const Family kQwen2Family;
extern const Family kQwen3Family;

inline constexpr const Family* kFamilies[] = {&kLlamaFamily, &kMistralFamily, &kQwen2Family, &kQwen3Family};

}  // namespace lathe
