// Python values to requests and back.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine_cell.h"
#include "lathe/request.h"
#include "mailbox.h"
#include "python.h"

namespace lathe::python {

// Each raises lathe.InvalidArgumentError, with `name` and what was found, for anything else.
std::string TextOf(nb::handle value, const std::string& name);
std::vector<TokenId> IdsOf(nb::handle value, const std::string& name);
int64_t IntOf(nb::handle value, const std::string& name, int64_t min, int64_t max);
double NumberOf(nb::handle value, const std::string& name);

// The fields of a lathe.SamplingParams over `request->sampling`, which holds the defaults; also n,
// prompt_logprobs and the output format.
void ReadSampling(nb::handle params, Request* request);
// How it chooses tokens, by those names: what a model's generation_config.json may set.
nb::dict SamplingToPython(const SamplingParams& sampling);
// ReadSampling without a model: raises what no model would take.
void CheckSampling(nb::handle params);

nb::object TextToPython(std::string_view text);
nb::list IdsToPython(const std::vector<TokenId>& ids);
nb::list TokenIdsOf(const std::vector<TokenOutput>& tokens);
// [{id: lathe.Logprob}, ...]; None for a token without one (the first of a prompt).
nb::list LogprobsToPython(const std::vector<TokenOutput>& tokens, bool first_has_none,
                          const EngineCell& cell);
// None while it runs.
nb::object FinishToPython(FinishReason finish);

}  // namespace lathe::python
