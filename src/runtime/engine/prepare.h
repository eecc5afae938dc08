// From a request as the caller wrote it to one that the scheduler takes. Runs on the caller's thread.
#pragma once

#include "lathe/engine.h"
#include "runtime/engine/text_model.h"
#include "runtime/sched/scheduler.h"

namespace lathe {

// TextModel::CompileFormat, but a format beyond the limits is kInvalidArgument: no use in trying again later.
Expected<ConstraintFactory> CompileOutputFormat(const TextModel& text, const OutputFormat& format);

// What can be told of a request without its model's texts: ranges of fields, and which go together. Ids are
// below `vocab`. Errors: kInvalidArgument, beginning with the field's name.
Status CheckRequestFields(const Request& request, int vocab);

// Checks every field, makes ids of the prompt, fixes the seed. `now` is the clock that deadlines are on; the
// id is left 0. Reads only what never changes of `scheduler`. Errors: kInvalidArgument (also where
// it can never fit), kUnsupported (a conversation without a template), each with what was found.
Expected<SchedRequest> PrepareRequest(const Request& request, const ModelInfo& info, const TextModel& text,
                                      const Scheduler& scheduler, double now);

}  // namespace lathe
