#include "text/tokenizer.h"

#include <optional>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/loaders.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer_blob.h"
#include "text/unigram.h"
#include "text/utf8.h"

namespace lathe {

using text::AddedKind;
using text::AddedToken;
using text::AddedTokenMatcher;
using text::ByteRange;
using text::ModelKind;
using text::TextOrToken;
using text::TokenizerSpec;

namespace {

// Buffers of one Encode call.
struct EncodeScratch {
  std::vector<TextOrToken> raw_parts, normalized_parts;
  std::string normalized;
  text::PreTokens pre_tokens;
  text::BpeScratch bpe;
};

// Contents as they look after normalisation, which is the text they are looked for in.
std::vector<AddedToken> NormalizedContents(std::vector<AddedToken> tokens,
                                           const text::Normalizer& normalizer) {
  std::string buffer;
  for (AddedToken& token : tokens)
    token.content = std::string(normalizer.Apply(token.content, true, &buffer));
  return tokens;
}

}  // namespace

// The components refer to `spec` and to each other by address: an Impl stays where it was made.
struct Tokenizer::Impl {
  explicit Impl(TokenizerSpec s) : spec(std::move(s)) {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Status Init();
  void MarkWholeTokens();
  std::vector<int32_t> Encode(std::string_view text, const std::vector<ByteRange>& control,
                              bool add_special) const;
  void EncodeText(std::string_view text, bool first, EncodeScratch* scratch, std::vector<int32_t>* ids) const;
  void EncodeNormal(std::string_view text, bool first, EncodeScratch* scratch,
                    std::vector<int32_t>* ids) const;
  bool Decodes(int32_t id, bool skip_special) const {
    return vocab.InRange(id) && vocab.Has(id, text::kTokenPresent) &&
           !(skip_special && vocab.Has(id, text::kTokenSpecial));
  }

  TokenizerSpec spec;
  text::Vocab vocab;
  text::Normalizer normalizer;
  text::PreTokenizer pre_tokenizer;
  std::optional<text::Bpe> bpe;
  std::optional<text::Unigram> unigram;
  std::optional<AddedTokenMatcher> raw_added, normalized_added;
  text::Decoder decoder;
};

Status Tokenizer::Impl::Init() {
  LATHE_RETURN_IF_ERROR(text::ValidateSpec(spec));
  LATHE_ASSIGN_OR_RETURN(vocab, text::Vocab::Create(spec));
  LATHE_ASSIGN_OR_RETURN(normalizer, text::Normalizer::Create(spec));
  LATHE_ASSIGN_OR_RETURN(pre_tokenizer, text::PreTokenizer::Create(spec));
  LATHE_ASSIGN_OR_RETURN(decoder, text::Decoder::Create(spec, vocab));
  if (spec.model == ModelKind::kUnigram) {
    LATHE_ASSIGN_OR_RETURN(unigram, text::Unigram::Create(spec, vocab));
  } else {
    LATHE_ASSIGN_OR_RETURN(bpe, text::Bpe::Create(spec, vocab));
    if (!spec.whole_flags_set) MarkWholeTokens();
  }
  raw_added.emplace(text::AddedTokensOf(spec, AddedKind::kRaw));
  normalized_added.emplace(NormalizedContents(text::AddedTokensOf(spec, AddedKind::kNormalized), normalizer));
  return Status::Ok();
}

// Finds the tokens that their own string encodes to, so that a word that is one is found by one look-up.
// Takes tens of milliseconds for a large vocabulary; the result is stored with it.
void Tokenizer::Impl::MarkWholeTokens() {
  text::BpeScratch scratch;
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < vocab.size(); ++id) {
    if (!vocab.Has(id, text::kTokenModel) || vocab.Has(id, text::kTokenVerbatim)) continue;
    if (spec.ignore_merges && !vocab.Has(id, text::kTokenSpecial)) continue;  // taken whole anyway
    ids.clear();
    bpe->EncodeByMerging(vocab.raw(id), &scratch, &ids);
    uint8_t& flags = spec.token_flags[static_cast<size_t>(id)];
    if (ids.size() == 1 && ids[0] == id)
      flags = static_cast<uint8_t>(flags | text::kTokenWhole);
    else
      flags = static_cast<uint8_t>(flags & ~text::kTokenWhole);
  }
  spec.whole_flags_set = true;
}

std::vector<int32_t> Tokenizer::Impl::Encode(std::string_view text, const std::vector<ByteRange>& control,
                                             bool add_special) const {
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 3 + 8);
  EncodeScratch scratch;
  if (add_special) ids = spec.prefix_ids;
  raw_added->Cut(text, control, &scratch.raw_parts);
  for (const TextOrToken& part : scratch.raw_parts) {
    if (part.id >= 0) {
      ids.push_back(part.id);
    } else {
      EncodeText(text.substr(part.range.begin, part.range.end - part.range.begin), part.range.begin == 0,
                 &scratch, &ids);
    }
  }
  if (add_special) ids.insert(ids.end(), spec.suffix_ids.begin(), spec.suffix_ids.end());
  return ids;
}

void Tokenizer::Impl::EncodeText(std::string_view text, bool first, EncodeScratch* scratch,
                                 std::vector<int32_t>* ids) const {
  const std::string_view normal = normalizer.Apply(text, first, &scratch->normalized);
  if (normalized_added->empty()) return EncodeNormal(normal, first, scratch, ids);
  scratch->normalized_parts.clear();
  normalized_added->Cut(normal, {}, &scratch->normalized_parts);
  for (const TextOrToken& part : scratch->normalized_parts) {
    if (part.id >= 0) {
      ids->push_back(part.id);
    } else {
      EncodeNormal(normal.substr(part.range.begin, part.range.end - part.range.begin),
                   first && part.range.begin == 0, scratch, ids);
    }
  }
}

void Tokenizer::Impl::EncodeNormal(std::string_view text, bool first, EncodeScratch* scratch,
                                   std::vector<int32_t>* ids) const {
  if (text.empty()) return;
  pre_tokenizer.Run(text, first, &scratch->pre_tokens);
  const text::PreTokens& pieces = scratch->pre_tokens;
  for (const ByteRange& range : pieces.ranges) {
    const std::string_view piece = pieces.text.substr(range.begin, range.end - range.begin);
    if (bpe)
      bpe->Encode(piece, &scratch->bpe, ids);
    else
      unigram->Encode(piece, ids);
  }
}

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Expected<Tokenizer> Tokenizer::FromSpec(TokenizerSpec spec) {
  auto impl = std::make_unique<Impl>(std::move(spec));
  LATHE_RETURN_IF_ERROR(impl->Init());
  return Tokenizer(std::unique_ptr<const Impl>(std::move(impl)));
}

Expected<Tokenizer> Tokenizer::FromJson(std::string_view json, std::string_view where,
                                        const text::TokenizerConfig& config) {
  LATHE_ASSIGN_OR_RETURN(TokenizerSpec spec, text::SpecFromJson(json, where, config));
  return FromSpec(std::move(spec));
}

Expected<Tokenizer> Tokenizer::FromSentencePiece(std::string_view bytes, std::string_view where,
                                                 const text::TokenizerConfig& config) {
  LATHE_ASSIGN_OR_RETURN(TokenizerSpec spec, text::SpecFromSentencePiece(bytes, where, config));
  return FromSpec(std::move(spec));
}

Expected<Tokenizer> Tokenizer::FromTiktoken(std::string_view bytes, std::string_view where,
                                            const text::TokenizerConfig& config) {
  LATHE_ASSIGN_OR_RETURN(TokenizerSpec spec, text::SpecFromTiktoken(bytes, where, config));
  return FromSpec(std::move(spec));
}

Expected<Tokenizer> Tokenizer::FromVocabMerges(std::string_view vocab_json, std::string_view merges,
                                               std::string_view where, const text::TokenizerConfig& config) {
  LATHE_ASSIGN_OR_RETURN(TokenizerSpec spec, text::SpecFromVocabMerges(vocab_json, merges, where, config));
  return FromSpec(std::move(spec));
}

std::string Tokenizer::Serialize() const { return text::WriteBlob(impl_->spec); }

Expected<Tokenizer> Tokenizer::Deserialize(std::string_view blob) {
  LATHE_ASSIGN_OR_RETURN(TokenizerSpec spec, text::ReadBlob(blob));
  return FromSpec(std::move(spec));
}

std::vector<int32_t> Tokenizer::Encode(std::string_view text, EncodeOptions options) const {
  const TextSegment segment{text, options.parse_special};
  return EncodeSegments({&segment, 1}, options.add_special_tokens);
}

std::vector<int32_t> Tokenizer::EncodeSegments(std::span<const TextSegment> segments,
                                               bool add_special_tokens) const {
  std::string joined;
  std::vector<ByteRange> control;
  // The usual single segment of clean text needs no copy.
  const bool in_place = segments.size() == 1 && text::IsValidUtf8(segments[0].text);
  for (const TextSegment& segment : segments) {
    const size_t begin = joined.size();
    if (!in_place) joined += text::ToValidUtf8(segment.text);
    const size_t end = in_place ? segment.text.size() : joined.size();
    if (!segment.is_control || begin == end) continue;
    if (!control.empty() && control.back().end == begin)
      control.back().end = end;
    else
      control.push_back({begin, end});
  }
  return impl_->Encode(in_place ? segments[0].text : std::string_view(joined), control, add_special_tokens);
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, bool skip_special) const {
  text::DecodeState state;
  std::string out;
  for (const int32_t id : ids)
    if (impl_->Decodes(id, skip_special)) impl_->decoder.Push(id, &state, &out);
  impl_->decoder.Finish(&state, &out);
  return out;
}

std::string Tokenizer::TokenBytes(int32_t id) const {
  return impl_->Decodes(id, false) ? impl_->decoder.BytesOf(id) : std::string();
}

std::string Tokenizer::TokenText(int32_t id) const { return impl_->vocab.Name(id); }
int32_t Tokenizer::IdOf(std::string_view token) const { return impl_->vocab.FindByName(token); }
bool Tokenizer::IsSpecial(int32_t id) const {
  return impl_->vocab.InRange(id) && impl_->vocab.Has(id, text::kTokenSpecial);
}
int32_t Tokenizer::vocab_size() const { return impl_->vocab.size(); }
int32_t Tokenizer::bos_id() const { return impl_->spec.bos_id; }
int32_t Tokenizer::eos_id() const { return impl_->spec.eos_id; }
int32_t Tokenizer::pad_id() const { return impl_->spec.pad_id; }
int32_t Tokenizer::unk_id() const { return impl_->spec.unk_id; }
const TokenizerSpec& Tokenizer::spec() const { return impl_->spec; }

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special)
    : impl_(tokenizer.impl_.get()), skip_special_(skip_special) {}

std::string StreamDecoder::Push(int32_t id) {
  std::string out;
  if (impl_->Decodes(id, skip_special_)) impl_->decoder.Push(id, &state_, &out);
  return out;
}

std::string StreamDecoder::Flush() {
  std::string out;
  impl_->decoder.Finish(&state_, &out);
  state_ = {};
  return out;
}

}  // namespace lathe
