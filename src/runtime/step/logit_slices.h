// The logit rows of a step as slices of their own, for what runs over them alone.
#pragma once

#include <vector>

#include "runtime/step/step.h"

namespace lathe {

// Row i of the slices is logit row i. Logit rows that follow one another in a sequence are one slice, so that
// a step of which all rows are logit rows gives its own slices.
void SliceLogitRows(const Step& step, std::vector<SeqSlice>* out);

// Whether logit row i is row i of the step, for all of its rows.
bool AllRowsAreLogitRows(const Step& step);

}  // namespace lathe
