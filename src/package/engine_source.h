// An engine file as the content of an image: checked and digested while it is copied, so that it is read
// once.
#pragma once

#include <memory>
#include <string>

#include "formats/engine_file.h"
#include "package/rootfs.h"

namespace lathe::package {

// `digest` receives the SHA-256 of the file once it has been read. Reading ends in kCorrupt when a blob's
// checksum does not match, be it a weight's.
Expected<Source> EngineSource(const EngineReader& engine, std::shared_ptr<std::string> digest);

}  // namespace lathe::package
