#include "text/protobuf.h"

#include <bit>

namespace lathe::text {

bool ProtoReader::ReadVarint(uint64_t* value) {
  *value = 0;
  for (int shift = 0; shift < 70 && pos_ < message_.size(); shift += 7) {
    const auto byte = static_cast<uint8_t>(message_[pos_++]);
    if (shift < 64) *value |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if ((byte & 0x80) == 0) return true;
  }
  return false;
}

bool ProtoReader::ReadFixed(size_t size) {
  if (message_.size() - pos_ < size) return false;
  value_ = 0;
  for (size_t i = 0; i < size; ++i)
    value_ |= static_cast<uint64_t>(static_cast<uint8_t>(message_[pos_ + i])) << (8 * i);
  pos_ += size;
  return true;
}

bool ProtoReader::Next() {
  if (bad_ || pos_ == message_.size()) return false;
  bad_ = true;  // until the field turns out well
  uint64_t key = 0;
  if (!ReadVarint(&key) || (key >> 3) == 0 || (key >> 3) > 0x1FFFFFFF) return false;
  field_ = static_cast<uint32_t>(key >> 3);
  wire_ = static_cast<uint32_t>(key & 7);
  switch (wire_) {
    case 0: bad_ = !ReadVarint(&value_); break;
    case 1: bad_ = !ReadFixed(8); break;
    case 2: {
      uint64_t size = 0;
      if (!ReadVarint(&size) || size > message_.size() - pos_) return false;
      bytes_ = message_.substr(pos_, static_cast<size_t>(size));
      pos_ += static_cast<size_t>(size);
      bad_ = false;
      break;
    }
    case 5: bad_ = !ReadFixed(4); break;
    default: break;  // groups are long gone
  }
  return !bad_;
}

float ProtoReader::fixed_float() const { return std::bit_cast<float>(static_cast<uint32_t>(value_)); }

}  // namespace lathe::text
