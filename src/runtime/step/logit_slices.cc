#include "runtime/step/logit_slices.h"

#include "base/check.h"

namespace lathe {

void SliceLogitRows(const Step& step, std::vector<SeqSlice>* out) {
  out->clear();
  size_t of = 0;        // the sequence of the row
  int32_t before = -2;  // the logit row before, where it was of the same sequence
  for (size_t i = 0; i < step.logit_rows.size(); ++i) {
    const int32_t row = step.logit_rows[i];
    while (of < step.sequences.size() && row >= step.sequences[of].first_row + step.sequences[of].n_rows) {
      ++of;
      before = -2;
    }
    LATHE_CHECK_LT(of, step.sequences.size());
    const SeqSlice& s = step.sequences[of];
    LATHE_CHECK_GE(row, s.first_row);
    if (row == before + 1) {
      ++out->back().n_rows;
    } else {
      SeqSlice slice = s;
      slice.first_row = static_cast<int32_t>(i);
      slice.n_rows = 1;
      slice.first_position = s.first_position + row - s.first_row;
      out->push_back(slice);
    }
    before = row;
  }
}

bool AllRowsAreLogitRows(const Step& step) {
  if (static_cast<int>(step.logit_rows.size()) != step.n_rows()) return false;
  for (size_t i = 0; i < step.logit_rows.size(); ++i)
    if (step.logit_rows[i] != static_cast<int32_t>(i)) return false;
  return true;
}

}  // namespace lathe
