#include "package/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <vector>

#include "base/check.h"

namespace lathe::package {
namespace {

constexpr size_t kOutput = size_t{1} << 18;
constexpr int kGzipWindow = 15 + 16;  // zlib's way to ask for gzip's frame instead of its own
constexpr int kMemory = 9;
// 9 makes a lathe 0.5 % smaller in three times the time.
constexpr int kLevel = 6;
constexpr int kSystemUnix = 3;

}  // namespace

struct GzipWriter::State {
  Sink sink;
  z_stream stream{};
  gz_header header{};
  std::vector<Bytef> output = std::vector<Bytef>(kOutput);
};

GzipWriter::GzipWriter(Sink sink) : state_(std::make_unique<State>()) {
  state_->sink = std::move(sink);
  LATHE_CHECK(deflateInit2(&state_->stream, kLevel, Z_DEFLATED, kGzipWindow, kMemory, Z_DEFAULT_STRATEGY) ==
              Z_OK);
  state_->header.os = kSystemUnix;
  LATHE_CHECK(deflateSetHeader(&state_->stream, &state_->header) == Z_OK);
}

GzipWriter::~GzipWriter() { deflateEnd(&state_->stream); }

Status GzipWriter::Deflate(std::span<const std::byte> bytes, bool last) {
  z_stream& stream = state_->stream;
  // zlib reads through the pointer only.
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  int code = Z_OK;
  do {
    stream.next_out = state_->output.data();
    stream.avail_out = static_cast<uInt>(state_->output.size());
    code = deflate(&stream, last ? Z_FINISH : Z_NO_FLUSH);
    LATHE_CHECK(code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR);
    const size_t made = state_->output.size() - stream.avail_out;
    if (made > 0) LATHE_RETURN_IF_ERROR(state_->sink(std::as_bytes(std::span(state_->output)).first(made)));
  } while (stream.avail_out == 0 || (last && code != Z_STREAM_END));
  return {};
}

Status GzipWriter::Append(std::span<const std::byte> bytes) {
  constexpr size_t kSlice = size_t{1} << 30;  // zlib counts in 32 bits
  for (size_t at = 0; at < bytes.size(); at += kSlice) {
    LATHE_RETURN_IF_ERROR(Deflate(bytes.subspan(at, std::min(kSlice, bytes.size() - at)), false));
  }
  return {};
}

Status GzipWriter::Finish() { return Deflate({}, true); }

}  // namespace lathe::package
