#include "runtime/engine/output_formats.h"

#include "base/status.h"
#include "text/tokenizer.h"

namespace lathe {

struct OutputFormats::Impl {};

OutputFormats::OutputFormats(const Tokenizer&, std::span<const TokenId>) : impl_(std::make_unique<Impl>()) {}
OutputFormats::~OutputFormats() = default;

Expected<ConstraintFactory> OutputFormats::Compile(const OutputFormat&) const {
  return Error(StatusCode::kUnsupported, "this build has no output formats");
}

}  // namespace lathe
