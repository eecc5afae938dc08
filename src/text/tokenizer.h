// Text to token ids and back, for every tokenizer that the supported models ship with.
//
// Bytes that are not UTF-8 are replaced by U+FFFD (one for each maximal ill-formed subpart, as a lossy
// decode in Python or Rust does) before anything else, whatever the kind of tokenizer.
//
// Control tokens ("special": <|eot_id|>, </s>, ...) come only out of text that the caller declares to be
// control text; their spelling typed by a user is encoded like any other text. Added tokens that are not
// special (<tool_call> of Qwen2) are found everywhere, as in the Hugging Face implementation.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/decoder.h"
#include "text/tokenizer_config.h"
#include "text/tokenizer_spec.h"

namespace lathe {

struct EncodeOptions {
  // Put the ids around the text that the model was trained with (BOS, EOS: what the post-processor says).
  bool add_special_tokens = true;
  // The text is control text: spellings of control tokens become their ids.
  bool parse_special = false;
};

// A part of a prompt: template text, in which control tokens are parsed, or content, in which they are not.
struct TextSegment {
  std::string_view text;
  bool is_control = false;
};

// Immutable after loading: const methods may be called from any number of threads. Movable.
class Tokenizer {
 public:
  // From a model directory: tokenizer.json, else tokenizer.model (also *.model.v3 and the like: SentencePiece
  // or tiktoken ranks, told apart by content), else vocab.json + merges.txt; with tokenizer_config.json,
  // special_tokens_map.json and added_tokens.json where present. Errors: kNotFound (lists what was looked
  // for), kCorrupt, kUnsupported (names the component).
  static Expected<Tokenizer> LoadDir(const std::string& dir);

  // From bytes. `where` names them in messages.
  static Expected<Tokenizer> FromJson(std::string_view json, std::string_view where,
                                      const text::TokenizerConfig& config = {});
  static Expected<Tokenizer> FromSentencePiece(std::string_view bytes, std::string_view where,
                                               const text::TokenizerConfig& config = {});
  // Ranks of Llama 3: its split, and its 256 control tokens behind the ranks.
  static Expected<Tokenizer> FromTiktoken(std::string_view bytes, std::string_view where,
                                          const text::TokenizerConfig& config = {});
  static Expected<Tokenizer> FromVocabMerges(std::string_view vocab_json, std::string_view merges,
                                             std::string_view where,
                                             const text::TokenizerConfig& config = {});
  static Expected<Tokenizer> FromSpec(text::TokenizerSpec spec);

  // Compact form for the engine file; Deserialize gives a tokenizer that behaves the same. Deserialize of
  // anything else is kCorrupt (or kMismatch for another version).
  std::string Serialize() const;
  static Expected<Tokenizer> Deserialize(std::string_view blob);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  std::vector<int32_t> Encode(std::string_view text, EncodeOptions options = {}) const;

  // Encodes the segments as one text, so that ids come out as if it had been one string, except that control
  // tokens are found only in runs of control segments: no content can forge, hide or complete one.
  std::vector<int32_t> EncodeSegments(std::span<const TextSegment> segments,
                                      bool add_special_tokens = false) const;

  // Text of the ids. Ids that are not in use are left out. Equal to the Hugging Face decode without clean-up,
  // but for byte pieces that form no character: each such byte becomes one U+FFFD and its neighbours stay.
  std::string Decode(std::span<const int32_t> ids, bool skip_special = true) const;

  // The bytes that the token adds in the middle of a text (part of a character, maybe). Control tokens: their
  // spelling. Empty for an id not in use.
  std::string TokenBytes(int32_t id) const;
  // The token as the vocabulary spells it ("Ġthe", "▁the", "<0x0A>"). Empty for an id not in use.
  std::string TokenText(int32_t id) const;
  // Id of a token by that spelling, or -1.
  int32_t IdOf(std::string_view token) const;
  bool IsSpecial(int32_t id) const;

  int32_t vocab_size() const;  // largest id + 1, added tokens included
  int32_t bos_id() const;      // -1: none, likewise below
  int32_t eos_id() const;
  int32_t pad_id() const;
  int32_t unk_id() const;
  const text::TokenizerSpec& spec() const;

 private:
  friend class StreamDecoder;
  struct Impl;
  explicit Tokenizer(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

// Decodes ids as they come. The pieces and Flush() concatenate exactly to Decode of all ids; a piece never
// ends inside a character, and U+FFFD appears only for bytes that no later id can complete.
// The tokenizer must outlive it (and stay where it is, unless moved: its core does not move). One thread.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true);
  // Text that became certain with `id`; may be empty.
  std::string Push(int32_t id);
  // The rest, at the end of the stream; the decoder then starts anew.
  std::string Flush();

 private:
  const Tokenizer::Impl* impl_;
  bool skip_special_;
  text::DecodeState state_;
};

}  // namespace lathe
