// The page at "/": chat and live view in a browser, served from the program.
#pragma once

#include "serve/router.h"

namespace lathe::serve {

// GET / and GET /playground/<file> for each other file, with a Content-Security-Policy that allows nothing
// but this server, and an ETag.
void RegisterPlayground(Router* router);

}  // namespace lathe::serve
