// Reading tokenizer.json and vocab.json without a document tree for the part that is big: vocabulary and
// merges go straight into arrays, the rest becomes Json.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "text/tokenizer_spec.h"

namespace lathe::text {

struct ParsedTokenizerJson {
  Json rest;                   // the file without model.vocab and model.merges
  TokenArena names;            // vocabulary in the order of the file
  std::vector<int64_t> ids;    // [names] of an object {name: id}
  std::vector<double> scores;  // [names] of a list of [name, score]; then ids are positions
  TokenArena merge_lines;      // merges written "a b"
  TokenArena merge_parts;      // merges written ["a", "b"], flattened
};

// The whole of tokenizer.json. Errors: kCorrupt (syntax, with the byte; depth; a vocabulary of another
// shape).
Expected<ParsedTokenizerJson> ParseTokenizerJson(std::string_view text, std::string_view where);

// vocab.json, {name: id}: only names and ids are filled.
Expected<ParsedTokenizerJson> ParseVocabJson(std::string_view text, std::string_view where);

}  // namespace lathe::text
