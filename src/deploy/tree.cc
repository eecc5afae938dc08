#include "deploy/tree.h"

#include <algorithm>

#include "deploy/embedded.h"

namespace lathe::deploy {
namespace {

Status Fault(std::string_view file, const char* what) {
  return Error(StatusCode::kInternal, "the manifest %.*s of this program %s", static_cast<int>(file.size()),
               file.data(), what);
}

Expected<Objects> ReadDocuments(const std::string& name) {
  for (const EmbeddedFile& file : ManifestFiles()) {
    if (file.name != name) continue;
    try {
      Objects objects;
      for (const YAML::Node& node : YAML::LoadAll(std::string(file.bytes))) {
        if (!node.IsNull()) objects.push_back(node);
      }
      return objects;
    } catch (const YAML::Exception&) {
      return Fault(name, "is not well-formed");
    }
  }
  return Fault(name, "is missing");
}

// The field by which Kubernetes' API tells the items of a list apart; empty for lists that are values.
std::string MergeKey(const std::string& key) {
  if (key == "volumeMounts") return "mountPath";
  for (const char* named : {"containers", "initContainers", "env", "volumes"}) {
    if (key == named) return "name";
  }
  return {};
}

bool Removes(const YAML::Node& patch) {
  return patch.IsMap() && patch["$patch"] && patch["$patch"].Scalar() == "delete";
}

YAML::Node MergedMap(const YAML::Node& base, const YAML::Node& patch) {
  YAML::Node out(YAML::NodeType::Map);
  for (const auto& item : base) {
    const std::string name = item.first.Scalar();
    const YAML::Node change = patch[name];
    if (!change.IsDefined()) {
      out[name] = YAML::Clone(item.second);
    } else if (!change.IsNull() && !Removes(change)) {
      out[name] = Merged(item.second, change, name);
    }
  }
  for (const auto& item : patch) {
    const std::string name = item.first.Scalar();
    if (!base[name].IsDefined() && !item.second.IsNull()) out[name] = YAML::Clone(item.second);
  }
  return out;
}

YAML::Node MergedList(const YAML::Node& base, const YAML::Node& patch, const std::string& field) {
  const auto find = [&field](const YAML::Node& list, const std::string& name) -> YAML::Node {
    for (const YAML::Node& item : list) {
      if (item[field] && item[field].Scalar() == name) return item;
    }
    return YAML::Node(YAML::NodeType::Undefined);
  };
  YAML::Node out(YAML::NodeType::Sequence);
  for (const YAML::Node& item : base) {
    const YAML::Node change = find(patch, item[field].Scalar());
    if (!change.IsDefined()) {
      out.push_back(YAML::Clone(item));
    } else if (!Removes(change)) {
      out.push_back(Merged(item, change, {}));
    }
  }
  for (const YAML::Node& item : patch) {
    if (!find(base, item[field].Scalar()).IsDefined()) out.push_back(YAML::Clone(item));
  }
  return out;
}

bool Same(const YAML::Node& a, const YAML::Node& b) {
  return a["kind"].Scalar() == b["kind"].Scalar() &&
         a["metadata"]["name"].Scalar() == b["metadata"]["name"].Scalar();
}

Status MergePatch(const std::string& file, Objects* objects) {
  LATHE_ASSIGN_OR_RETURN(const Objects patches, ReadDocuments(file));
  for (const YAML::Node& patch : patches) {
    bool found = false;
    Objects kept;  // rebuilt, because to assign one node to another changes both
    for (const YAML::Node& object : *objects) {
      const bool same = Same(object, patch);
      found = found || same;
      if (!same) {
        kept.push_back(object);
      } else if (!Removes(patch)) {
        kept.push_back(Merged(object, patch, {}));
      }
    }
    if (!found) return Fault(file, "changes an object that is not there");
    objects->swap(kept);
  }
  return {};
}

// One {op: replace, path: /a/0/b, value: v}.
Status ReplaceAt(const std::string& file, const YAML::Node& operation, YAML::Node node) {
  if (operation["op"].Scalar() != "replace") return Fault(file, "has an operation other than replace");
  const std::string path = operation["path"].Scalar();
  size_t begin = 1;
  for (size_t end; begin <= path.size(); begin = end + 1) {
    end = std::min(path.find('/', begin), path.size());
    const std::string part = path.substr(begin, end - begin);
    const YAML::Node next =
        node.IsSequence() ? node[static_cast<size_t>(std::atoi(part.c_str()))] : node[part];
    if (!next.IsDefined()) return Fault(file, "replaces what is not there");
    node.reset(next);
  }
  node = YAML::Clone(operation["value"]);
  return {};
}

Status JsonPatch(const std::string& folder, const YAML::Node& patch, Objects* objects) {
  const std::string file = folder + "/" + patch["path"].Scalar();
  LATHE_ASSIGN_OR_RETURN(const Objects documents, ReadDocuments(file));
  for (YAML::Node& object : *objects) {
    const YAML::Node& target = patch["target"];
    if (object["kind"].Scalar() != target["kind"].Scalar() ||
        object["metadata"]["name"].Scalar() != target["name"].Scalar()) {
      continue;
    }
    for (const YAML::Node& operation : documents.at(0)) {
      LATHE_RETURN_IF_ERROR(ReplaceAt(file, operation, object));
    }
    return {};
  }
  return Fault(file, "changes an object that is not there");
}

Status ApplyKustomization(const std::string& folder, const YAML::Node& kustomization, Objects* objects) {
  static constexpr const char* kKnown[] = {
      "apiVersion", "kind", "bases", "resources", "patchesStrategicMerge", "patchesJson6902"};
  for (const auto& item : kustomization) {
    if (std::find(std::begin(kKnown), std::end(kKnown), item.first.Scalar()) == std::end(kKnown)) {
      return Fault(folder, "uses more of Kustomize than this program knows");
    }
  }
  for (const YAML::Node& item : kustomization["resources"]) {
    LATHE_ASSIGN_OR_RETURN(const Objects more, ReadDocuments(folder + "/" + item.Scalar()));
    for (const YAML::Node& object : more) objects->push_back(YAML::Clone(object));
  }
  for (const YAML::Node& item : kustomization["patchesStrategicMerge"]) {
    LATHE_RETURN_IF_ERROR(MergePatch(folder + "/" + item.Scalar(), objects));
  }
  for (const YAML::Node& item : kustomization["patchesJson6902"]) {
    LATHE_RETURN_IF_ERROR(JsonPatch(folder, item, objects));
  }
  return {};
}

void Emit(const YAML::Node& node, YAML::Emitter* out) {
  if (node.IsMap()) {
    *out << (node.size() == 0 ? YAML::Flow : YAML::Block) << YAML::BeginMap;
    for (const auto& item : node) {
      *out << YAML::Key << item.first.Scalar() << YAML::Value;
      Emit(item.second, out);
    }
    *out << YAML::EndMap;
  } else if (node.IsSequence()) {
    *out << (node.size() == 0 ? YAML::Flow : YAML::Block) << YAML::BeginSeq;
    for (const YAML::Node& item : node) Emit(item, out);
    *out << YAML::EndSeq;
  } else if (node.IsNull()) {
    *out << YAML::Null;
  } else if (node.Scalar().find('\n') != std::string::npos) {
    *out << YAML::Literal << node.Scalar();
  } else if (node.Tag() == "!") {  // was quoted, as "8" and "true" must stay
    *out << YAML::DoubleQuoted << node.Scalar();
  } else {
    *out << node.Scalar();
  }
}

}  // namespace

YAML::Node Merged(const YAML::Node& base, const YAML::Node& patch, const std::string& key) {
  if (base.IsMap() && patch.IsMap()) return MergedMap(base, patch);
  if (base.IsSequence() && patch.IsSequence() && !MergeKey(key).empty()) {
    return MergedList(base, patch, MergeKey(key));
  }
  return YAML::Clone(patch);
}

Status ApplyFolder(std::string_view folder, Objects* objects) {
  const std::string path(folder);
  LATHE_ASSIGN_OR_RETURN(const Objects documents, ReadDocuments(path + "/kustomization.yaml"));
  try {
    return ApplyKustomization(path, documents.at(0), objects);
  } catch (const YAML::Exception&) {
    return Fault(folder, "has not the form of a kustomization");
  }
}

std::string ToYaml(const Objects& objects) {
  std::string text;
  for (const YAML::Node& object : objects) {
    YAML::Emitter out;
    out.SetIndent(2);
    Emit(object, &out);
    text += "---\n";
    text += out.c_str();
    text += "\n";
  }
  return text;
}

}  // namespace lathe::deploy
