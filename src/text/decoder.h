// Ids back to text, one at a time.
//
// A whole decode and a streamed one are the same machine: Decode is Push for every id and Finish. So the
// pieces of a stream concatenate to the whole by construction.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/tokenizer_spec.h"
#include "text/vocab.h"

namespace lathe::text {

// Progress of one stream.
struct DecodeState {
  std::string pending;    // bytes of an unfinished character
  std::string held;       // characters that a trailing strip may yet take off
  uint64_t tokens = 0;    // decoded so far
  uint32_t stripped = 0;  // characters taken off the start
  bool stripping = true;  // still at the start
  bool any_text = false;
};

// Refers to the spec and vocab it was made from, which must outlive it. Thread-safe once created.
class Decoder {
 public:
  // kUnsupported for a chain of steps that has no streaming form, naming the step.
  static Expected<Decoder> Create(const TokenizerSpec& spec, const Vocab& vocab);

  // Appends to `out` the text that is certain once `id` (in use) follows what was pushed before.
  void Push(int32_t id, DecodeState* state, std::string* out) const;
  // Appends what was held back. Unfinished characters become U+FFFD.
  void Finish(DecodeState* state, std::string* out) const;
  // The bytes that `id` (in use) adds in the middle of a text.
  std::string BytesOf(int32_t id) const;

 private:
  enum class Kind : uint8_t { kJoinBySpaces, kBytes, kSteps, kSentencePiece };

  Status AddStep(const PipelineOp& op);
  void PushBytes(std::string_view bytes, bool each_byte, DecodeState* state, std::string* out) const;
  void EndBytes(bool each_byte, DecodeState* state, std::string* out) const;
  void PushStepsToken(int32_t id, DecodeState* state, std::string* out) const;
  void PushSentencePiece(int32_t id, DecodeState* state, std::string* out) const;
  std::string Apply(const std::vector<PipelineOp>& steps, std::string text, bool first_token) const;
  // Through the steps that follow the joining of tokens.
  void Emit(std::string text, DecodeState* state, std::string* out) const;

  const Vocab* vocab_ = nullptr;
  Kind kind_ = Kind::kJoinBySpaces;
  bool byte_fallback_ = false;
  std::vector<PipelineOp> token_steps_;      // on each token, before byte fallback
  std::vector<PipelineOp> character_steps_;  // on each token or run of byte pieces, after it
  std::vector<PipelineOp> joined_steps_;     // on the whole text
  // kSentencePiece
  uint32_t flags_ = 0;
  int32_t unk_id_ = -1;
  std::string unk_surface_;
};

}  // namespace lathe::text
