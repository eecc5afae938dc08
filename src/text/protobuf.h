// The wire format of protocol buffers, as much as a SentencePiece model needs. Bounds-checked, no recursion.
#pragma once

#include <cstdint>
#include <string_view>

namespace lathe::text {

// Goes through the fields of one message. Not thread-safe; refers to the bytes it was given.
class ProtoReader {
 public:
  explicit ProtoReader(std::string_view message) : message_(message) {}

  // Moves to the next field. False at the end, or when the bytes are no message: then bad() is true.
  bool Next();
  bool bad() const { return bad_; }
  size_t position() const { return pos_; }

  uint32_t field() const { return field_; }
  bool is_varint() const { return wire_ == 0; }
  bool is_bytes() const { return wire_ == 2; }
  bool is_fixed32() const { return wire_ == 5; }
  uint64_t varint() const { return value_; }  // is_varint
  int32_t int32() const { return static_cast<int32_t>(static_cast<uint32_t>(value_)); }
  float fixed_float() const;                         // is_fixed32
  std::string_view bytes() const { return bytes_; }  // is_bytes

 private:
  bool ReadVarint(uint64_t* value);
  bool ReadFixed(size_t size);

  std::string_view message_;
  size_t pos_ = 0;
  bool bad_ = false;
  uint32_t field_ = 0;
  uint32_t wire_ = 0;
  uint64_t value_ = 0;
  std::string_view bytes_;
};

}  // namespace lathe::text
