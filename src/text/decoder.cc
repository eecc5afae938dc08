#include "text/decoder.h"

#include <algorithm>

#include "text/byte_level.h"
#include "text/utf8.h"

namespace lathe::text {
namespace {

std::string ReplaceLiteral(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0;;) {
    const size_t at = text.find(from, pos);
    out += text.substr(pos, at - pos);
    if (at == std::string_view::npos) return out;
    out += to;
    pos = at + from.size();
  }
}

// Up to `limit` copies of `content` off the front; returns how many.
uint32_t StripFront(std::string_view* text, std::string_view content, uint32_t limit) {
  uint32_t n = 0;
  for (; n < limit && text->starts_with(content); ++n) text->remove_prefix(content.size());
  return n;
}

void StripBack(std::string_view* text, std::string_view content, uint32_t limit) {
  for (; limit > 0 && text->ends_with(content); --limit) text->remove_suffix(content.size());
}

bool IsOneCharacter(std::string_view text) { return !text.empty() && Utf8Length(text[0]) == text.size(); }

}  // namespace

Expected<Decoder> Decoder::Create(const TokenizerSpec& spec, const Vocab& vocab) {
  Decoder decoder;
  decoder.vocab_ = &vocab;
  if (spec.decoder.empty()) return decoder;
  decoder.kind_ = Kind::kSteps;
  bool fused = false;
  for (const PipelineOp& op : spec.decoder) {
    const bool alone = std::all_of(spec.decoder.begin(), spec.decoder.end(), [&](const PipelineOp& other) {
      return &other == &op || other.type == OpType::kDecodeFuse;
    });
    if (op.type == OpType::kDecodeFuse) {
      fused = true;
    } else if (op.type == OpType::kDecodeByteLevel || op.type == OpType::kDecodeSentencePiece) {
      if (!alone)
        return Error(StatusCode::kUnsupported,
                     "tokenizer: a byte-level or SentencePiece decoder beside other steps");
      decoder.kind_ = op.type == OpType::kDecodeByteLevel ? Kind::kBytes : Kind::kSentencePiece;
      decoder.flags_ = op.flags;
      decoder.unk_id_ = spec.unk_id;
      decoder.unk_surface_ = op.a;
    } else if (fused) {
      const bool strip_again =
          op.type == OpType::kDecodeStrip &&
          std::any_of(decoder.joined_steps_.begin(), decoder.joined_steps_.end(),
                      [](const PipelineOp& s) { return s.type == OpType::kDecodeStrip; });
      if ((op.type != OpType::kDecodeReplace && op.type != OpType::kDecodeStrip) || !IsOneCharacter(op.a) ||
          strip_again)
        return Error(
            StatusCode::kUnsupported,
            "tokenizer: after Fuse only Replace and one Strip of a single character can be streamed");
      decoder.joined_steps_.push_back(op);
    } else {
      LATHE_RETURN_IF_ERROR(decoder.AddStep(op));
    }
  }
  return decoder;
}

Status Decoder::AddStep(const PipelineOp& op) {
  if (op.type == OpType::kDecodeByteFallback) {
    byte_fallback_ = true;
    return Status::Ok();
  }
  if (op.a.empty())
    return Error(StatusCode::kUnsupported, "tokenizer: a decoder step that replaces the empty string");
  if (!byte_fallback_) {
    token_steps_.push_back(op);
    return Status::Ok();
  }
  if (op.type == OpType::kDecodeStrip || !IsOneCharacter(op.a))
    return Error(StatusCode::kUnsupported,
                 "tokenizer: between ByteFallback and Fuse only Replace and Metaspace of one character can "
                 "be streamed");
  character_steps_.push_back(op);
  return Status::Ok();
}

void Decoder::Push(int32_t id, DecodeState* state, std::string* out) const {
  switch (kind_) {
    case Kind::kJoinBySpaces: {
      if (state->tokens > 0) *out += ' ';
      PushBytes(vocab_->Name(id), false, state, out);
      EndBytes(false, state, out);
      break;
    }
    case Kind::kBytes: {
      std::string bytes;
      vocab_->AppendBytes(id, &bytes);
      PushBytes(bytes, false, state, out);
      break;
    }
    case Kind::kSteps: PushStepsToken(id, state, out); break;
    case Kind::kSentencePiece: PushSentencePiece(id, state, out); break;
  }
  ++state->tokens;
}

void Decoder::Finish(DecodeState* state, std::string* out) const {
  const bool each_byte = kind_ == Kind::kSteps || kind_ == Kind::kSentencePiece;
  EndBytes(each_byte, state, out);
  state->held.clear();  // a trailing strip takes it
}

// Emits the characters that `bytes` complete. What is broken becomes one U+FFFD, or (`each_byte`) one for
// each of its bytes, as SentencePiece does.
void Decoder::PushBytes(std::string_view bytes, bool each_byte, DecodeState* state, std::string* out) const {
  state->pending += bytes;
  const std::string_view all = state->pending;
  std::string text;
  size_t pos = 0;
  while (pos < all.size()) {
    const Utf8Step step = NextUtf8(all, pos);
    if (step.incomplete) break;
    if (step.valid) {
      text += all.substr(pos, step.length);
    } else {
      for (int i = 0; i < (each_byte ? step.length : 1); ++i) text += kReplacementChar;
    }
    pos += step.length;
  }
  state->pending.erase(0, pos);
  if (!text.empty()) Emit(Apply(character_steps_, std::move(text), state->tokens == 0), state, out);
}

void Decoder::EndBytes(bool each_byte, DecodeState* state, std::string* out) const {
  if (state->pending.empty()) return;
  std::string text;
  const size_t n = each_byte ? state->pending.size() : 1;
  for (size_t i = 0; i < n; ++i) text += kReplacementChar;
  state->pending.clear();
  Emit(std::move(text), state, out);
}

void Decoder::PushStepsToken(int32_t id, DecodeState* state, std::string* out) const {
  const bool first = state->tokens == 0;
  std::string text = Apply(token_steps_, vocab_->Name(id), first);
  const int byte = byte_fallback_ ? ByteOfPiece(text) : -1;
  if (byte >= 0) {
    const char c = static_cast<char>(byte);
    PushBytes({&c, 1}, true, state, out);
    return;
  }
  EndBytes(true, state, out);
  if (!IsValidUtf8(text)) text = ToValidUtf8(text);
  Emit(Apply(character_steps_, std::move(text), first), state, out);
}

void Decoder::PushSentencePiece(int32_t id, DecodeState* state, std::string* out) const {
  const std::string_view piece = vocab_->raw(id);
  const int byte = vocab_->Has(id, kTokenByte) ? ByteOfPiece(piece) : -1;
  if (byte >= 0) {
    const char c = static_cast<char>(byte);
    PushBytes({&c, 1}, true, state, out);
    state->any_text = true;
    return;
  }
  EndBytes(true, state, out);
  if (id == unk_id_) {
    state->any_text = true;
    return Emit(unk_surface_, state, out);
  }
  if (vocab_->Has(id, kTokenSpecial)) {
    state->any_text = true;
    return Emit(std::string(piece), state, out);
  }
  std::string_view rest = piece;
  const bool strips = (flags_ & (kSpDummyPrefix | kSpRemoveExtraSpaces)) != 0;
  if (strips && !state->any_text && rest.starts_with(kSpaceMark)) {
    rest.remove_prefix(kSpaceMark.size());
    // Where extra spaces are removed every one at the start goes; else only the dummy prefix.
    if ((flags_ & kSpRemoveExtraSpaces) == 0) state->any_text = true;
  }
  if (!rest.empty()) state->any_text = true;
  Emit(ReplaceLiteral(rest, kSpaceMark, " "), state, out);
}

std::string Decoder::BytesOf(int32_t id) const {
  std::string bytes;
  if (kind_ == Kind::kBytes) {
    vocab_->AppendBytes(id, &bytes);
    return bytes;
  }
  const std::string name = vocab_->Name(id);
  const int byte = byte_fallback_ || vocab_->Has(id, kTokenByte) ? ByteOfPiece(name) : -1;
  if (byte >= 0) return std::string(1, static_cast<char>(byte));
  if (vocab_->Has(id, kTokenSpecial)) return name;
  if (kind_ == Kind::kSentencePiece) return ReplaceLiteral(name, kSpaceMark, " ");
  bytes = Apply(character_steps_, Apply(token_steps_, name, false), false);
  for (const PipelineOp& op : joined_steps_)
    if (op.type == OpType::kDecodeReplace) bytes = ReplaceLiteral(bytes, op.a, op.b);
  return bytes;
}

std::string Decoder::Apply(const std::vector<PipelineOp>& steps, std::string text, bool first_token) const {
  for (const PipelineOp& op : steps) {
    if (op.type == OpType::kDecodeReplace) {
      text = ReplaceLiteral(text, op.a, op.b);
    } else if (op.type == OpType::kDecodeMetaspace) {
      const bool drop = first_token && static_cast<PrependScheme>(op.mode) != PrependScheme::kNever;
      text = ReplaceLiteral(text, op.a, drop ? "" : " ");
    } else if (op.type == OpType::kDecodeStrip) {
      std::string_view rest = text;
      StripFront(&rest, op.a, op.n0);
      StripBack(&rest, op.a, op.n1);
      text = std::string(rest);
    }
  }
  return text;
}

void Decoder::Emit(std::string text, DecodeState* state, std::string* out) const {
  if (text.empty()) return;
  for (const PipelineOp& op : joined_steps_) {
    if (op.type == OpType::kDecodeReplace) {
      text = ReplaceLiteral(text, op.a, op.b);
      continue;
    }
    text.insert(0, state->held);
    std::string_view rest = text;
    if (state->stripping) {
      state->stripped += StripFront(&rest, op.a, op.n0 - state->stripped);
      state->stripping = rest.empty() && state->stripped < op.n0;
    }
    std::string_view sure = rest;
    StripBack(&sure, op.a, op.n1);
    state->held = rest.substr(sure.size());
    text = std::string(sure);
  }
  *out += text;
}

}  // namespace lathe::text
