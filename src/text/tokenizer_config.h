// What the small files beside a tokenizer say: tokenizer_config.json, special_tokens_map.json,
// added_tokens.json.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "text/tokenizer_spec.h"
#include "text/vocab_builder.h"

namespace lathe::text {

struct TokenizerConfig {
  std::optional<bool> add_bos_token;
  std::optional<bool> add_eos_token;
  std::optional<bool> add_prefix_space;
  std::optional<bool> legacy;
  std::string tokenizer_class;                             // empty: not said
  std::string bos_token, eos_token, pad_token, unk_token;  // empty: none
  std::vector<std::string> special_tokens;  // all that are named as special, those above included
  std::vector<AddedToken> added;            // with their ids
};

// Takes over what one file says; keys set by an earlier file stay. Errors: a key of the wrong type.
Status ReadTokenizerConfigJson(const Json& json, std::string_view where, TokenizerConfig* config);
Status ReadAddedTokensJson(const Json& json, std::string_view where, TokenizerConfig* config);

// Reads whichever of the three files are in `dir`.
Expected<TokenizerConfig> ReadTokenizerConfigDir(const std::string& dir);

// Adds the tokens that `builder` lacks, marks those that are special, and sets bos, eos, pad and unk of
// `spec` where the config names them. Errors: an added token whose id belongs to another.
Status ApplyConfig(const TokenizerConfig& config, VocabBuilder* builder, TokenizerSpec* spec);

// Makes spec->prefix_ids start with BOS and spec->suffix_ids end with EOS, or not, as told; nullopt leaves
// them.
void SetBosEos(std::optional<bool> add_bos, std::optional<bool> add_eos, TokenizerSpec* spec);

}  // namespace lathe::text
