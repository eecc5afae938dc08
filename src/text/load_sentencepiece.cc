// SentencePiece's ModelProto (sentencepiece_model.proto), types BPE and UNIGRAM.
#include <algorithm>
#include <cmath>

#include "text/byte_level.h"
#include "text/loaders.h"
#include "text/protobuf.h"
#include "text/utf8.h"

namespace lathe::text {
namespace {

enum PieceType : uint32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

struct Piece {
  std::string_view text;
  float score = 0;
  uint32_t type = kNormal;
};

struct Model {
  std::vector<Piece> pieces;
  uint32_t model_type = 1;  // UNIGRAM
  bool byte_fallback = false;
  bool space_as_suffix = false;
  std::string_view unk_surface = " \xE2\x81\x87 ";  // U+2047 between spaces
  std::string_view bos_piece = "<s>", eos_piece = "</s>", pad_piece = "<pad>";
  std::string_view chars_map;
  bool add_dummy_prefix = true;
  bool remove_extra_spaces = true;
  bool escape_spaces = true;
};

class ModelReader {
 public:
  ModelReader(std::string_view bytes, std::string_view where) : bytes_(bytes), where_(where) {}

  Expected<Model> Read() {
    ProtoReader reader(bytes_);
    while (reader.Next()) {
      if (!reader.is_bytes()) continue;
      if (reader.field() == 1) LATHE_RETURN_IF_ERROR(ReadPiece(reader.bytes()));
      if (reader.field() == 2) LATHE_RETURN_IF_ERROR(ReadTrainer(reader.bytes()));
      if (reader.field() == 3) LATHE_RETURN_IF_ERROR(ReadNormalizer(reader.bytes()));
    }
    if (reader.bad()) return Fault("byte", reader.position(), "not a SentencePiece model, or a broken one");
    if (model_.pieces.empty())
      return Fault("file size", bytes_.size(), "not a SentencePiece model, it has no pieces");
    return std::move(model_);
  }

 private:
  // `what` with the number after it: "WHERE: piece 5: is empty".
  Status Fault(const char* what, size_t number, const char* fault) const {
    return Error(StatusCode::kCorrupt, "%.*s: %s %zu: %s", static_cast<int>(where_.size()), where_.data(),
                 what, number, fault);
  }

  Status ReadPiece(std::string_view bytes) {
    if (model_.pieces.size() >= kMaxVocab)
      return Fault("piece", kMaxVocab, "more pieces than any vocabulary has");
    Piece piece;
    ProtoReader reader(bytes);
    while (reader.Next()) {
      if (reader.field() == 1 && reader.is_bytes()) piece.text = reader.bytes();
      if (reader.field() == 2 && reader.is_fixed32()) piece.score = reader.fixed_float();
      if (reader.field() == 3 && reader.is_varint()) piece.type = static_cast<uint32_t>(reader.varint());
    }
    const size_t index = model_.pieces.size();
    if (reader.bad()) return Fault("piece", index, "is broken");
    if (piece.text.empty()) return Fault("piece", index, "is empty");
    if (!IsValidUtf8(piece.text)) return Fault("piece", index, "is not UTF-8");
    if (!std::isfinite(piece.score)) return Fault("piece", index, "its score is not finite");
    if (piece.type < kNormal || piece.type > kByte) return Fault("piece", index, "is of an unknown type");
    if (piece.type == kByte && ByteOfPiece(piece.text) < 0)
      return Fault("piece", index, "is a byte piece not spelt <0xNN>");
    model_.pieces.push_back(piece);
    return Status::Ok();
  }

  Status ReadTrainer(std::string_view bytes) {
    ProtoReader reader(bytes);
    while (reader.Next()) {
      const uint32_t field = reader.field();
      if (reader.is_varint()) {
        if (field == 3) model_.model_type = static_cast<uint32_t>(reader.varint());
        if (field == 24) model_.space_as_suffix = reader.varint() != 0;
        if (field == 35) model_.byte_fallback = reader.varint() != 0;
      } else if (reader.is_bytes()) {
        if (field == 44) model_.unk_surface = reader.bytes();
        if (field == 46) model_.bos_piece = reader.bytes();
        if (field == 47) model_.eos_piece = reader.bytes();
        if (field == 48) model_.pad_piece = reader.bytes();
      }
    }
    if (reader.bad()) return Fault("trainer spec, byte", reader.position(), "is broken");
    if (!IsValidUtf8(model_.unk_surface)) return Fault("trainer spec, field", 44, "is not UTF-8");
    return Status::Ok();
  }

  Status ReadNormalizer(std::string_view bytes) {
    ProtoReader reader(bytes);
    while (reader.Next()) {
      const uint32_t field = reader.field();
      if (field == 2 && reader.is_bytes()) model_.chars_map = reader.bytes();
      if (!reader.is_varint()) continue;
      if (field == 3) model_.add_dummy_prefix = reader.varint() != 0;
      if (field == 4) model_.remove_extra_spaces = reader.varint() != 0;
      if (field == 5) model_.escape_spaces = reader.varint() != 0;
    }
    if (reader.bad()) return Fault("normalizer spec, byte", reader.position(), "is broken");
    return Status::Ok();
  }

  std::string_view bytes_, where_;
  Model model_;
};

uint8_t FlagsOf(uint32_t type) {
  switch (type) {
    case kUnknown:
    case kControl: return kTokenSpecial;
    case kUserDefined: return kTokenModel | kTokenUserDefined;
    case kUnused: return kTokenModel | kTokenUnused;
    case kByte: return kTokenByte;
    default: return kTokenModel;
  }
}

Status AddPieces(const Model& model, std::string_view where, VocabBuilder* builder, TokenizerSpec* spec) {
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const Piece& piece = model.pieces[i];
    const auto id = static_cast<int32_t>(i);
    LATHE_RETURN_IF_ERROR(builder->Add(id, piece.text, FlagsOf(piece.type), piece.score));
    if (piece.type == kUnknown) {
      if (spec->unk_id >= 0)
        return Error(StatusCode::kCorrupt, "%.*s: two unknown pieces, %d and %d",
                     static_cast<int>(where.size()), where.data(), spec->unk_id, id);
      spec->unk_id = id;
    }
    if (piece.type != kUnknown && piece.type != kControl) continue;
    AddedToken token;
    token.content = piece.text;
    token.id = id;
    token.special = true;
    LATHE_RETURN_IF_ERROR(builder->AddAdded(std::move(token)));
  }
  const auto control = [&](std::string_view name) {
    const int32_t id = builder->Find(name);
    return id >= 0 && model.pieces[static_cast<size_t>(id)].type == kControl ? id : -1;
  };
  spec->bos_id = control(model.bos_piece);
  spec->eos_id = control(model.eos_piece);
  spec->pad_id = control(model.pad_piece);
  return Status::Ok();
}

}  // namespace

Expected<TokenizerSpec> SpecFromSentencePiece(std::string_view bytes, std::string_view where,
                                              const TokenizerConfig& config) {
  LATHE_ASSIGN_OR_RETURN(const Model model, ModelReader(bytes, where).Read());
  constexpr uint32_t kUnigramType = 1;
  constexpr uint32_t kBpeType = 2;
  if (model.model_type != kUnigramType && model.model_type != kBpeType)
    return Error(StatusCode::kUnsupported,
                 "%.*s: SentencePiece model type %u, expected 1 (UNIGRAM) or 2 (BPE)",
                 static_cast<int>(where.size()), where.data(), model.model_type);
  TokenizerSpec spec;
  spec.model = model.model_type == kBpeType ? ModelKind::kMergeStrings : ModelKind::kUnigram;
  spec.form = VocabForm::kText;
  spec.byte_fallback = model.byte_fallback;
  spec.fuse_unk = true;

  const bool dummy_prefix = config.add_prefix_space.value_or(model.add_dummy_prefix);
  PipelineOp normalizer;
  normalizer.type = OpType::kSentencePiece;
  normalizer.a = model.chars_map;
  normalizer.flags =
      (dummy_prefix ? kSpDummyPrefix : 0) | (model.remove_extra_spaces ? kSpRemoveExtraSpaces : 0) |
      (model.escape_spaces ? kSpEscapeSpaces : 0) | (model.space_as_suffix ? kSpSpaceAsSuffix : 0) |
      (config.legacy.value_or(true) ? 0 : kSpPrefixFirstOnly);
  PipelineOp decoder;
  decoder.type = OpType::kDecodeSentencePiece;
  decoder.flags = normalizer.flags;
  decoder.a = model.unk_surface;
  spec.normalizer.push_back(std::move(normalizer));
  spec.decoder.push_back(std::move(decoder));

  VocabBuilder builder(where, model.pieces.size());
  LATHE_RETURN_IF_ERROR(AddPieces(model, where, &builder, &spec));
  LATHE_RETURN_IF_ERROR(ApplyConfig(config, &builder, &spec));
  SetBosEos(config.add_bos_token.value_or(true), config.add_eos_token.value_or(false), &spec);
  builder.Finish(&spec);
  return spec;
}

}  // namespace lathe::text
