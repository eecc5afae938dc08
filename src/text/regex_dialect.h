// Rewriting of Oniguruma patterns into PCRE2's dialect.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace lathe::text {

// The same pattern for PCRE2 with UTF, UCP and MULTILINE. kUnsupported for nested classes, class
// intersections, \H and PCRE2's own verbs.
Expected<std::string> ToPcreDialect(std::string_view pattern);

}  // namespace lathe::text
