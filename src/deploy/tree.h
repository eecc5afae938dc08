// What of Kustomize the tree of deploy/kubernetes uses: resources, strategic merge patches, and JSON patches
// that replace. Only the embedded files are read, so a fault in them is ours (kInternal) and a test reads
// them all.
#pragma once

#include <yaml-cpp/yaml.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace lathe::deploy {

using Objects = std::vector<YAML::Node>;

// What `folder` ("base", "overlays/spot") itself adds to `objects` and changes in them; the folders below it
// ("bases") are the caller's business, who may so put overlays together as a kustomization cannot.
Status ApplyFolder(std::string_view folder, Objects* objects);

// A strategic merge: tables are merged, lists of named things by their names, null removes, all else is
// replaced. `key` is the name under which both stand. https://github.com/kubernetes/community,
// strategic-merge-patch.md
YAML::Node Merged(const YAML::Node& base, const YAML::Node& patch, const std::string& key);

// Documents of one text.
std::string ToYaml(const Objects& objects);

}  // namespace lathe::deploy
