// The model card of a repository of engines.
#pragma once

#include <string>
#include <vector>

#include "hub/engine_index.h"

namespace lathe::hub {

// README.md with front matter: what each engine is for, how large it is, and what to type. `base_model`: the
// repository that the weights came from; "": unknown.
std::string ModelCard(const std::string& repo, const std::string& base_model,
                      const std::vector<EngineEntry>& engines);

// The base model that a card names; "" when it names none.
std::string BaseModelOf(const std::string& card);

}  // namespace lathe::hub
