// Version of the library and of the engine file it writes and reads.
#pragma once

namespace lathe {

inline constexpr int kVersionMajor = 0;
inline constexpr int kVersionMinor = 1;
inline constexpr int kVersionPatch = 0;
inline constexpr char kVersionString[] = "0.1.0";

// Raised whenever a reader of the old format would misread the new one (docs/engine-format.md).
inline constexpr unsigned kEngineFormatVersion = 3;

}  // namespace lathe
