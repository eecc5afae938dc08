// What `lathe inspect` shows of an engine: as JSON, and as tables for people.
#pragma once

#include <string>

#include "base/json.h"
#include "base/status.h"
#include "formats/engine_file.h"

namespace lathe {

// Identity, model, for each rank its weights, buffers, ops and tactics, the compiled kernels of an engine for
// GPUs, and build information. kCorrupt for an engine whose plans or kernels do not parse.
Expected<Json> DescribeEngine(const EngineReader& engine);

// Tables ending in a newline.
Expected<std::string> IdentityTable(const EngineReader& engine);  // model, machine, file
Expected<std::string> MemoryTable(
    const EngineReader& engine);  // weights, buffers per row, KV per token; passes
Expected<std::string> TuningTable(
    const EngineReader& engine);  // kernel per matmul and token count, us, % of roof
// Compiled kernels with what they take of the chip; of an engine for CPUs a sentence that there are none.
Expected<std::string> KernelTable(const EngineReader& engine);

}  // namespace lathe
