#include "compare/journal.h"

#include "base/file.h"
#include "base/json.h"

namespace lathe::cli {
namespace {

Json ToJson(const CaseResult& r) {
  return {{"first_ms", r.first_ms},
          {"per_token_ms", r.per_token_ms},
          {"tokens_per_second", r.tokens_per_second},
          {"memory_bytes", r.memory_bytes},
          {"missing", r.missing},
          {"first_tokens", r.first_tokens}};
}

// These throw what the library throws where something is not there or is something else; LoadJournal catches
// it.
void Read(const Json& json, CaseResult* r) {
  json.at("first_ms").get_to(r->first_ms);
  json.at("per_token_ms").get_to(r->per_token_ms);
  json.at("tokens_per_second").get_to(r->tokens_per_second);
  json.at("memory_bytes").get_to(r->memory_bytes);
  json.at("missing").get_to(r->missing);
  json.at("first_tokens").get_to(r->first_tokens);
}

Json ToJson(const ContenderResult& r) {
  Json cases = Json::array();
  for (const CaseResult& one : r.cases) cases.push_back(ToJson(one));
  return {{"name", r.name},
          {"detail", r.detail},
          {"startup_seconds", r.startup_seconds},
          {"cases", std::move(cases)}};
}

void Read(const Json& json, ContenderResult* r) {
  json.at("name").get_to(r->name);
  json.at("detail").get_to(r->detail);
  json.at("startup_seconds").get_to(r->startup_seconds);
  for (const Json& one : json.at("cases")) Read(one, &r->cases.emplace_back());
}

void Read(const Json& json, CompareState* state) {
  Comparison& c = state->comparison;
  json.at("model").get_to(c.model);
  json.at("command").get_to(c.command);
  json.at("date").get_to(c.date);
  json.at("rounds").get_to(c.rounds);
  json.at("repeats").get_to(c.repeats);
  json.at("settings").get_to(state->settings);
  json.at("vocab").get_to(state->vocab);
  json.at("turn").get_to(state->turn);
  json.at("next").get_to(state->next);
  for (const Json& one : json.at("cases")) {
    CompareCase& out = c.cases.emplace_back();
    one.at("batch").get_to(out.batch);
    one.at("input").get_to(out.input);
    one.at("output").get_to(out.output);
    one.at("fills").get_to(out.fills);
  }
  for (const Json& one : json.at("contenders")) Read(one, &c.contenders.emplace_back());
}

bool IsWhole(const CompareState& state) {
  const Comparison& c = state.comparison;
  if (c.contenders.empty() || c.cases.empty() || state.next > c.cases.size() || state.vocab <= 0)
    return false;
  for (const ContenderResult& contender : c.contenders)
    if (contender.cases.size() != c.cases.size()) return false;
  return true;
}

}  // namespace

Status SaveJournal(const std::string& path, const CompareState& state) {
  const Comparison& c = state.comparison;
  Json cases = Json::array(), contenders = Json::array();
  for (const CompareCase& one : c.cases)
    cases.push_back(
        {{"batch", one.batch}, {"input", one.input}, {"output", one.output}, {"fills", one.fills}});
  for (const ContenderResult& one : c.contenders) contenders.push_back(ToJson(one));
  const Json json{{"model", c.model},
                  {"command", c.command},
                  {"date", c.date},
                  {"rounds", c.rounds},
                  {"repeats", c.repeats},
                  {"settings", state.settings},
                  {"vocab", state.vocab},
                  {"turn", state.turn},
                  {"next", state.next},
                  {"cases", std::move(cases)},
                  {"contenders", std::move(contenders)}};
  return WriteFileAtomic(path, DumpJson(json));
}

Expected<CompareState> LoadJournal(const std::string& path) {
  LATHE_ASSIGN_OR_RETURN(const Json json, ReadJsonFile(path));
  CompareState state;
  bool whole = false;
  try {
    Read(json, &state);
    whole = IsWhole(state);
  } catch (const Json::exception&) {
  }
  if (whole) return state;
  return Error(StatusCode::kCorrupt,
               "%s is not what an interrupted comparison leaves: run without --resume to begin anew",
               path.c_str());
}

}  // namespace lathe::cli
