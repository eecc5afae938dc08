#include "hub/card.h"

#include "base/status.h"
#include "hub/names.h"
#include "hub/push.h"

namespace lathe::hub {
namespace {

// Into a cell of a table.
std::string Cell(const std::string& text) {
  std::string out;
  for (const char c : Quoted(text)) {
    if (c == '|' || c == '`' || c == '<' || c == '>') continue;
    out += c;
  }
  return out;
}

}  // namespace

std::string ModelCard(const std::string& repo, const std::string& base_model,
                      const std::vector<EngineEntry>& engines) {
  std::string out = "---\nlibrary_name: lathe\npipeline_tag: text-generation\ntags:\n- lathe\n- engine\n";
  if (!base_model.empty()) out += "base_model: " + base_model + "\n";
  out += "---\n" + std::string(kCardMark) + "\n\n# " + repo + "\n\n";
  out += "Engines of lathe" +
         (base_model.empty()
              ? ""
              : ", compiled from [" + base_model + "](https://huggingface.co/" + base_model + ")") +
         ": each is cut for one kind of machine and runs on no other.\n\n";
  out += "| file | for | measured on | weights | ranks | size | lathe |\n|---|---|---|---|---|---|---|\n";
  for (const EngineEntry& e : engines)
    out += StrFormat("| `%s` | %s | %s | %s | %d | %s | %s |\n", Cell(e.file).c_str(), Cell(e.target).c_str(),
                     e.machine.empty() ? "not measured" : Cell(e.machine).c_str(), Cell(e.dtype).c_str(),
                     e.tp * e.pp, SizeText(e.size).c_str(), Cell(e.builder).c_str());
  out +=
      "\nThe machine's own engine is found by itself, and nothing else is fetched:\n\n```sh\nlathe serve " +
      repo + "\nlathe run " + repo + " \"Once upon a time\"\n```\n\n";
  if (!base_model.empty())
    out += "On any other machine, from the weights (built once):\n\n```sh\nlathe serve " + base_model +
           "\n```\n";
  return out;
}

std::string BaseModelOf(const std::string& card) {
  constexpr std::string_view kKey = "\nbase_model: ";
  const size_t at = card.find(kKey);
  if (at == std::string::npos) return "";
  const size_t begin = at + kKey.size();
  const std::string name = card.substr(begin, card.find('\n', begin) - begin);
  return ParseRepoName(name).ok() ? name : "";
}

}  // namespace lathe::hub
