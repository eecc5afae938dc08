#include "formats/safetensors.h"

#include <algorithm>
#include <array>
#include <optional>
#include <tuple>
#include <unordered_set>
#include <utility>

#include "base/json.h"

namespace lathe {
namespace {

constexpr std::array<std::pair<DType, std::string_view>, 15> kDTypeNames = {{{DType::kF32, "F32"},
                                                                             {DType::kBf16, "BF16"},
                                                                             {DType::kF16, "F16"},
                                                                             {DType::kF64, "F64"},
                                                                             {DType::kI8, "I8"},
                                                                             {DType::kU8, "U8"},
                                                                             {DType::kI16, "I16"},
                                                                             {DType::kU16, "U16"},
                                                                             {DType::kI32, "I32"},
                                                                             {DType::kU32, "U32"},
                                                                             {DType::kI64, "I64"},
                                                                             {DType::kU64, "U64"},
                                                                             {DType::kBool, "BOOL"},
                                                                             {DType::kF8E4M3, "F8_E4M3"},
                                                                             {DType::kF8E5M2, "F8_E5M2"}}};

std::optional<DType> DTypeFromSafetensors(std::string_view name) {
  for (const auto& [type, known] : kDTypeNames)
    if (known == name) return type;
  return std::nullopt;
}

// Names in messages come from the file: shortened, so that a hostile one cannot flood the terminal.
std::string Short(const std::string& name) { return name.size() > 120 ? name.substr(0, 117) + "..." : name; }

// Builds the entries while nlohmann's non-recursive SAX parser walks the header. Returning false from an
// event stops the parse, so nothing is stored beyond what the format allows.
class HeaderHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::vector<SafetensorsEntry> entries;
  Status status;

  bool start_object(size_t /*size*/) override {
    switch (state_) {
      case State::kStart: state_ = State::kTop; return true;
      case State::kTopValue:
        seen_ = {};
        state_ = State::kEntry;
        return true;
      case State::kMetadataValue: state_ = State::kMetadata; return true;
      default: return Unexpected("an object");
    }
  }
  bool end_object() override {
    if (state_ == State::kTop) {
      state_ = State::kDone;
      return true;
    }
    if (state_ == State::kMetadata) {
      state_ = State::kTop;
      return true;
    }
    if (!seen_.dtype || !seen_.shape || !seen_.offsets)
      return Fail(StatusCode::kCorrupt, "lacks dtype, shape or data_offsets");
    state_ = State::kTop;
    return true;
  }
  bool key(std::string& name) override {
    if (state_ == State::kTop) return TopKey(name);
    if (state_ == State::kMetadata) {
      state_ = State::kMetadataString;
      return true;
    }
    if (name == "dtype" && !std::exchange(seen_.dtype, true)) {
      state_ = State::kDType;
    } else if (name == "shape" && !std::exchange(seen_.shape, true)) {
      state_ = State::kShape;
    } else if (name == "data_offsets" && !std::exchange(seen_.offsets, true)) {
      state_ = State::kOffsets;
    } else {
      return Fail(StatusCode::kCorrupt,
                  "has the key '" + Short(name) + "' where dtype, shape and data_offsets appear once each");
    }
    return true;
  }
  bool start_array(size_t /*size*/) override {
    if (state_ == State::kShape) {
      state_ = State::kShapeItems;
    } else if (state_ == State::kOffsets) {
      state_ = State::kOffsetItems;
      n_offsets_ = 0;
    } else {
      return Unexpected("an array");
    }
    return true;
  }
  bool end_array() override {
    if (state_ == State::kOffsetItems && n_offsets_ != 2)
      return Fail(StatusCode::kCorrupt, "has data_offsets that are not two numbers");
    state_ = State::kEntry;
    return true;
  }
  bool number_unsigned(uint64_t value) override {
    SafetensorsEntry* const entry = entries.empty() ? nullptr : &entries.back();
    if (state_ == State::kShapeItems) {
      if (entry->shape.rank == kMaxRank)
        return Fail(StatusCode::kUnsupported, "has more than " + std::to_string(kMaxRank) +
                                                  " dimensions, which no model of ours needs");
      if (value > static_cast<uint64_t>(INT64_MAX))
        return Fail(StatusCode::kCorrupt, "has a dimension of " + std::to_string(value));
      entry->shape.dims[static_cast<size_t>(entry->shape.rank++)] = static_cast<int64_t>(value);
      return true;
    }
    if (state_ == State::kOffsetItems && n_offsets_ < 2) {
      (n_offsets_++ == 0 ? entry->begin : entry->end) = value;
      return true;
    }
    return Unexpected("a number");
  }
  bool string(std::string& text) override {
    if (state_ == State::kMetadataString) {
      state_ = State::kMetadata;
      return true;
    }
    if (state_ != State::kDType) return Unexpected("a string");
    const auto type = DTypeFromSafetensors(text);
    if (!type)
      return Fail(StatusCode::kUnsupported, "has the element type '" + Short(text) + "', unknown here");
    entries.back().dtype = *type;
    state_ = State::kEntry;
    return true;
  }
  bool number_integer(int64_t value) override {
    return Unexpected(("the negative number " + std::to_string(value)).c_str());
  }
  bool number_float(double /*value*/, const std::string& text) override {
    return Unexpected(("the number " + Short(text)).c_str());
  }
  bool null() override { return Unexpected("null"); }
  bool boolean(bool /*value*/) override { return Unexpected("a boolean"); }
  bool binary(binary_t& /*value*/) override { return Unexpected("binary data"); }
  bool parse_error(size_t position, const std::string& /*token*/,
                   const nlohmann::detail::exception& /*error*/) override {
    status = Error(StatusCode::kCorrupt,
                   "the header is not valid JSON at byte %zu; the file is damaged, fetch "
                   "it again",
                   position + 8);
    return false;
  }

 private:
  enum class State {
    kStart,
    kTop,
    kTopValue,
    kMetadataValue,
    kMetadata,
    kMetadataString,
    kEntry,
    kDType,
    kShape,
    kShapeItems,
    kOffsets,
    kOffsetItems,
    kDone
  };
  struct Seen {
    bool dtype = false, shape = false, offsets = false;
  };

  bool TopKey(const std::string& name) {
    if (!names_.insert(name).second) {
      status = Error(StatusCode::kCorrupt, "the header names '%s' twice", Short(name).c_str());
      return false;
    }
    if (name == "__metadata__") {
      state_ = State::kMetadataValue;
      return true;
    }
    entries.emplace_back().name = name;
    state_ = State::kTopValue;
    return true;
  }
  bool Unexpected(const char* found) {
    if (entries.empty() || state_ == State::kMetadata || state_ == State::kMetadataString ||
        state_ == State::kMetadataValue || state_ == State::kStart) {
      status = Error(StatusCode::kCorrupt, "the header has %s where the format allows none", found);
      return false;
    }
    return Fail(StatusCode::kCorrupt, std::string("has ") + found + " where the format allows none");
  }
  bool Fail(StatusCode code, const std::string& what) {
    status = Error(code, "tensor '%s' %s", Short(entries.back().name).c_str(), what.c_str());
    return false;
  }

  State state_ = State::kStart;
  Seen seen_;
  int n_offsets_ = 0;
  std::unordered_set<std::string> names_;
};

// Offsets against shapes, the file and each other; makes them absolute. `data` is where tensors begin.
Status CheckRanges(std::vector<SafetensorsEntry>& entries, uint64_t data, uint64_t file_size) {
  const uint64_t data_size = file_size - data;
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  uint64_t cursor = 0;
  for (SafetensorsEntry& entry : entries) {
    const std::string name = Short(entry.name);
    if (entry.begin > entry.end || entry.end > data_size)
      return Error(
          StatusCode::kCorrupt,
          "tensor '%s' should lie at bytes [%llu, %llu) of the data, which has only %llu; the file is cut "
          "short or damaged, fetch it again",
          name.c_str(), static_cast<unsigned long long>(entry.begin),
          static_cast<unsigned long long>(entry.end), static_cast<unsigned long long>(data_size));
    const auto count = entry.shape.NumElements();
    int64_t size = 0;
    if (!count || __builtin_mul_overflow(*count, SizeOf(entry.dtype), &size))
      return Error(StatusCode::kCorrupt, "tensor '%s' has the shape %s, too large for any file", name.c_str(),
                   entry.shape.ToString().c_str());
    if (static_cast<uint64_t>(size) != entry.end - entry.begin)
      return Error(StatusCode::kCorrupt, "tensor '%s' of %s %s needs %lld bytes, its data_offsets hold %llu",
                   name.c_str(), std::string(ToString(entry.dtype)).c_str(), entry.shape.ToString().c_str(),
                   static_cast<long long>(size), static_cast<unsigned long long>(entry.end - entry.begin));
    if (entry.begin != cursor)
      return Error(StatusCode::kCorrupt,
                   "tensor '%s' begins at byte %llu of the data, %s byte %llu where the one "
                   "before ends",
                   name.c_str(), static_cast<unsigned long long>(entry.begin),
                   entry.begin < cursor ? "overlapping" : "leaving a gap after",
                   static_cast<unsigned long long>(cursor));
    cursor = entry.end;
    entry.begin += data;
    entry.end += data;
  }
  if (cursor != data_size)
    return Error(StatusCode::kCorrupt,
                 "the tensors end at byte %llu of the data, the file goes on to byte %llu",
                 static_cast<unsigned long long>(cursor), static_cast<unsigned long long>(data_size));
  return Status::Ok();
}

}  // namespace

std::string_view SafetensorsDTypeName(DType type) {
  for (const auto& [known, name] : kDTypeNames)
    if (known == type) return name;
  return "?";
}

Expected<std::vector<SafetensorsEntry>> ParseSafetensors(std::span<const std::byte> file,
                                                         std::string_view where) {
  if (file.size() < 8)
    return Error(StatusCode::kCorrupt, "%s: %zu bytes are too few for a safetensors file; fetch it again",
                 std::string(where).c_str(), file.size());
  uint64_t header_size = 0;
  for (size_t i = 0; i < 8; ++i) header_size |= static_cast<uint64_t>(file[i]) << (8 * i);
  if (header_size > kMaxSafetensorsHeader || header_size > file.size() - 8)
    return Error(
        StatusCode::kCorrupt,
        "%s: the header should have %llu bytes, the file has %zu after its length field and at most %llu "
        "are accepted; the file is cut short or is no safetensors file",
        std::string(where).c_str(), static_cast<unsigned long long>(header_size), file.size() - 8,
        static_cast<unsigned long long>(kMaxSafetensorsHeader));
  const auto* text = reinterpret_cast<const char*>(file.data()) + 8;
  HeaderHandler handler;
  const bool parsed = nlohmann::json::sax_parse(text, text + header_size, &handler);
  if (!parsed && handler.status.ok())
    handler.status = Status(StatusCode::kCorrupt, "the header is not what the format allows");
  if (handler.status.ok()) handler.status = CheckRanges(handler.entries, 8 + header_size, file.size());
  if (!handler.status.ok()) return handler.status.WithContext(where);
  return std::move(handler.entries);
}

std::string TensorView::Describe() const {
  return "'" + Short(name) + "' (" + std::string(ToString(dtype)) + " " + shape.ToString() + " at byte " +
         std::to_string(offset) + " of " + (file != nullptr ? file->path() : "memory") + ")";
}

void TensorView::DropPages(uint64_t begin, uint64_t size) const {
  if (file != nullptr) file->DropPages(offset + begin, size);
}

Expected<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  SafetensorsFile out;
  LATHE_ASSIGN_OR_RETURN(out.file_, MappedFile::Open(path));
  LATHE_ASSIGN_OR_RETURN(out.entries_, ParseSafetensors(out.file_.bytes(), path));
  return out;
}

TensorView SafetensorsFile::View(const SafetensorsEntry& entry) const {
  return {.name = entry.name,
          .dtype = entry.dtype,
          .shape = entry.shape,
          .bytes = file_.bytes().subspan(entry.begin, entry.end - entry.begin),
          .file = &file_,
          .offset = entry.begin};
}

}  // namespace lathe
