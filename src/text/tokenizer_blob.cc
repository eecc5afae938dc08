#include "text/tokenizer_blob.h"

#include <bit>
#include <cstring>
#include <type_traits>

namespace lathe::text {
namespace {

static_assert(std::endian::native == std::endian::little, "the blob is copied as it lies");
static_assert(sizeof(MergeRule) == 12);

constexpr std::string_view kMagic = "LTOK";
constexpr uint32_t kVersion = 1;

class Writer {
 public:
  template <typename T>
  requires(std::is_arithmetic_v<T> || std::is_enum_v<T>) void Put(T value) {
    out_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void Put(std::string_view text) {
    Put(static_cast<uint32_t>(text.size()));
    out_ += text;
  }
  template <typename T>
  void PutArray(const std::vector<T>& values) {
    static_assert(std::is_trivially_copyable_v<T>);
    Put(static_cast<uint32_t>(values.size()));
    out_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  }
  void PutOps(const std::vector<PipelineOp>& ops) {
    Put(static_cast<uint32_t>(ops.size()));
    for (const PipelineOp& op : ops) {
      Put(op.type);
      Put(op.mode);
      Put(op.flags);
      Put(op.n0);
      Put(op.n1);
      Put(std::string_view(op.a));
      Put(std::string_view(op.b));
    }
  }
  void PutRaw(std::string_view text) { out_ += text; }
  std::string Take() { return std::move(out_); }

 private:
  std::string out_;
};

// Every read is checked; after the first that fails all give zeros and ok() is false.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  template <typename T>
  requires(std::is_arithmetic_v<T> || std::is_enum_v<T>) void Get(T* value) {
    const std::string_view raw = Take(sizeof *value);
    if (ok_) std::memcpy(value, raw.data(), sizeof *value);
  }
  void Get(bool* value) {
    uint8_t byte = 0;
    Get(&byte);
    *value = byte != 0;
  }
  void Get(std::string* text) {
    const std::string_view raw = Take(Count(1));
    if (ok_) *text = raw;
  }
  template <typename T>
  void GetArray(std::vector<T>* values) {
    const size_t count = Count(sizeof(T));
    const std::string_view raw = Take(count * sizeof(T));
    if (!ok_ || count == 0) return;
    values->resize(count);
    std::memcpy(values->data(), raw.data(), raw.size());
  }
  void GetOps(std::vector<PipelineOp>* ops) {
    constexpr size_t kSmallestOp = 2 + 5 * 4;
    const size_t count = Count(kSmallestOp);
    for (size_t i = 0; i < count && ok_; ++i) {
      PipelineOp op;
      Get(&op.type);
      Get(&op.mode);
      Get(&op.flags);
      Get(&op.n0);
      Get(&op.n1);
      Get(&op.a);
      Get(&op.b);
      ops->push_back(std::move(op));
    }
  }
  // A count of elements of at least `element` bytes each, no more than can follow.
  size_t Count(size_t element) {
    uint32_t count = 0;
    Get(&count);
    if (count > (bytes_.size() - pos_) / element) ok_ = false;
    return ok_ ? count : 0;
  }
  std::string_view Take(size_t size) {
    if (!ok_ || size > bytes_.size() - pos_) {
      ok_ = false;
      return {};
    }
    pos_ += size;
    return bytes_.substr(pos_ - size, size);
  }

  bool ok() const { return ok_; }
  size_t position() const { return pos_; }
  bool at_end() const { return pos_ == bytes_.size(); }

 private:
  std::string_view bytes_;
  size_t pos_ = 0;
  bool ok_ = true;
};

// Flags of an AddedToken as bits.
uint8_t AddedBits(const AddedToken& t) {
  return static_cast<uint8_t>((t.special ? 1 : 0) | (t.lstrip ? 2 : 0) | (t.rstrip ? 4 : 0) |
                              (t.single_word ? 8 : 0) | (t.normalized ? 16 : 0));
}

void PutAdded(const std::vector<AddedToken>& added, Writer* w) {
  w->Put(static_cast<uint32_t>(added.size()));
  for (const AddedToken& token : added) {
    w->Put(token.id);
    w->Put(AddedBits(token));
    w->Put(std::string_view(token.content));
  }
}

void GetAdded(std::vector<AddedToken>* added, Reader* r) {
  constexpr size_t kSmallestToken = 9;
  const size_t count = r->Count(kSmallestToken);
  for (size_t i = 0; i < count && r->ok(); ++i) {
    AddedToken token;
    uint8_t bits = 0;
    r->Get(&token.id);
    r->Get(&bits);
    r->Get(&token.content);
    token.special = (bits & 1) != 0;
    token.lstrip = (bits & 2) != 0;
    token.rstrip = (bits & 4) != 0;
    token.single_word = (bits & 8) != 0;
    token.normalized = (bits & 16) != 0;
    added->push_back(std::move(token));
  }
}

bool GetTokens(TokenArena* tokens, Reader* r) {
  std::string bytes;
  std::vector<uint32_t> ends;
  r->Get(&bytes);
  r->GetArray(&ends);
  if (!r->ok()) return false;
  uint32_t last = 0;
  for (const uint32_t end : ends) {
    if (end < last) return false;
    last = end;
  }
  if (last != bytes.size()) return false;
  *tokens = TokenArena::FromParts(std::move(bytes), std::move(ends));
  return true;
}

}  // namespace

std::string WriteBlob(const TokenizerSpec& spec) {
  Writer w;
  w.PutRaw(kMagic);
  w.Put(kVersion);
  w.Put(spec.model);
  w.Put(spec.form);
  w.Put(spec.ignore_merges);
  w.Put(spec.byte_fallback);
  w.Put(spec.fuse_unk);
  w.Put(spec.whole_flags_set);
  for (const int32_t id : {spec.unk_id, spec.bos_id, spec.eos_id, spec.pad_id}) w.Put(id);
  w.Put(std::string_view(spec.subword_prefix));
  w.Put(std::string_view(spec.word_suffix));
  w.Put(std::string_view(spec.tokens.bytes()));
  w.PutArray(spec.tokens.ends());
  w.PutArray(spec.token_flags);
  w.PutArray(spec.scores);
  w.PutArray(spec.merges);
  PutAdded(spec.added, &w);
  w.PutOps(spec.normalizer);
  w.PutOps(spec.pre_tokenizer);
  w.PutOps(spec.decoder);
  w.PutArray(spec.prefix_ids);
  w.PutArray(spec.suffix_ids);
  return w.Take();
}

Expected<TokenizerSpec> ReadBlob(std::string_view blob) {
  Reader r(blob);
  uint32_t version = 0;
  if (r.Take(kMagic.size()) != kMagic)
    return Error(StatusCode::kCorrupt, "tokenizer blob: does not start with LTOK");
  r.Get(&version);
  if (r.ok() && version != kVersion)
    return Error(StatusCode::kMismatch, "tokenizer blob: version %u, expected %u; build the engine again",
                 version, kVersion);
  TokenizerSpec spec;
  r.Get(&spec.model);
  r.Get(&spec.form);
  r.Get(&spec.ignore_merges);
  r.Get(&spec.byte_fallback);
  r.Get(&spec.fuse_unk);
  r.Get(&spec.whole_flags_set);
  for (int32_t* id : {&spec.unk_id, &spec.bos_id, &spec.eos_id, &spec.pad_id}) r.Get(id);
  r.Get(&spec.subword_prefix);
  r.Get(&spec.word_suffix);
  if (!GetTokens(&spec.tokens, &r))
    return Error(StatusCode::kCorrupt, "tokenizer blob: broken token table before byte %zu of %zu",
                 r.position(), blob.size());
  r.GetArray(&spec.token_flags);
  r.GetArray(&spec.scores);
  r.GetArray(&spec.merges);
  GetAdded(&spec.added, &r);
  r.GetOps(&spec.normalizer);
  r.GetOps(&spec.pre_tokenizer);
  r.GetOps(&spec.decoder);
  r.GetArray(&spec.prefix_ids);
  r.GetArray(&spec.suffix_ids);
  if (!r.ok() || !r.at_end())
    return Error(StatusCode::kCorrupt, "tokenizer blob: %s at byte %zu of %zu",
                 r.ok() ? "more than expected" : "truncated", r.position(), blob.size());
  if (spec.model < ModelKind::kMergePairs || spec.model > ModelKind::kUnigram ||
      spec.form < VocabForm::kText || spec.form > VocabForm::kBytes)
    return Error(StatusCode::kCorrupt, "tokenizer blob: unknown model kind %d or form %d",
                 static_cast<int>(spec.model), static_cast<int>(spec.form));
  return spec;
}

}  // namespace lathe::text
