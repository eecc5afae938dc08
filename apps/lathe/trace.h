// LATHE_TRACE_STARTUP=1 prints on stderr how long after the start of the process each stage was reached.
#pragma once

namespace lathe::cli {

// Call first thing in main: remembers the clock.
void StartTrace();

// Prints "startup    12.3 ms  STAGE" when tracing. Any thread.
void TraceStage(const char* stage);

}  // namespace lathe::cli
