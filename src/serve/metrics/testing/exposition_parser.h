// A strict reader of Prometheus' text format 0.0.4, for the tests: what a scraper might forgive is an error
// here.
#pragma once

#include <cmath>
#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lathe::serve::testing {

struct Sample {
  std::string name;
  std::map<std::string, std::string> labels;
  double value = 0;
};

struct ExpositionFamily {
  std::string type, help;
  std::vector<Sample> samples;

  // Names of the labels, but for a histogram's "le".
  std::set<std::string> LabelNames() const {
    std::set<std::string> names;
    for (const Sample& sample : samples) {
      for (const auto& [name, value] : sample.labels) names.insert(name);
    }
    if (type == "histogram") names.erase("le");
    return names;
  }
};

class ExpositionParser {
 public:
  // Empty on success, else the first fault.
  std::string Parse(std::string_view text) {
    if (text.empty() || text.back() != '\n') return "the last line has no end";
    int number = 0;
    while (!text.empty() && fault_.empty()) {
      const size_t end = text.find('\n');
      ++number;
      Line(text.substr(0, end));
      text.remove_prefix(end + 1);
    }
    if (!fault_.empty()) return "line " + std::to_string(number) + ": " + fault_;
    for (const auto& [name, family] : families_) CheckFamily(name, family);
    return fault_;
  }
  const std::map<std::string, ExpositionFamily>& families() const { return families_; }

 private:
  static bool IsName(std::string_view name, bool colon) {
    if (name.empty() || (name[0] >= '0' && name[0] <= '9')) return false;
    for (const char c : name) {
      const bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
      if (!ok && !(colon && c == ':')) return false;
    }
    return true;
  }

  void Line(std::string_view line) {
    if (line.starts_with("# HELP ")) return Help(line.substr(7));
    if (line.starts_with("# TYPE ")) return Type(line.substr(7));
    if (line.empty() || line[0] == '#') return Fail("neither HELP, TYPE nor a sample");
    ReadSample(line);
  }

  void Help(std::string_view rest) {
    const size_t space = rest.find(' ');
    current_ = rest.substr(0, space);
    if (!IsName(current_, true)) return Fail("bad name in HELP");
    if (space == std::string_view::npos || rest.size() < space + 3) return Fail("no help");
    if (!families_.try_emplace(current_).second) return Fail("family " + current_ + " twice");
    families_[current_].help = rest.substr(space + 1);
  }

  void Type(std::string_view rest) {
    const size_t space = rest.find(' ');
    if (space == std::string_view::npos || rest.substr(0, space) != current_)
      return Fail("TYPE without its HELP");
    ExpositionFamily& family = families_[current_];
    if (!family.type.empty() || !family.samples.empty()) return Fail("TYPE twice or too late");
    family.type = rest.substr(space + 1);
    if (!std::set<std::string>{"counter", "gauge", "histogram"}.contains(family.type))
      return Fail("bad type");
  }

  void ReadSample(std::string_view line) {
    Sample sample;
    size_t at = line.find_first_of("{ ");
    if (at == std::string_view::npos) return Fail("no value");
    sample.name = line.substr(0, at);
    if (line[at] == '{' && !ReadLabels(line, &at, &sample)) return Fail("bad labels");
    if (at >= line.size() || line[at] != ' ') return Fail("no space before the value");
    const std::string value(line.substr(at + 1));
    char* end = nullptr;
    sample.value = std::strtod(value.c_str(), &end);
    if (value.empty() || value[0] == ' ' || *end != '\0') return Fail("bad value \"" + value + "\"");

    ExpositionFamily& family = families_[current_];
    const bool histogram = family.type == "histogram";
    const std::string base = histogram ? WithoutSuffix(sample.name) : sample.name;
    if (family.type.empty() || base != current_)
      return Fail("sample " + sample.name + " outside of its family");
    if (std::isnan(sample.value) || (family.type != "gauge" && sample.value < 0))
      return Fail("impossible value");
    if (!seen_.emplace(sample.name, sample.labels).second) return Fail("the same series twice");
    family.samples.push_back(std::move(sample));
  }

  static std::string WithoutSuffix(const std::string& name) {
    for (const char* suffix : {"_bucket", "_sum", "_count"}) {
      if (name.ends_with(suffix)) return name.substr(0, name.size() - std::string_view(suffix).size());
    }
    return name + "?";
  }

  // {name="value",name="value"}; *at goes from the brace to behind the closing one.
  static bool ReadLabels(std::string_view line, size_t* at, Sample* sample) {
    size_t i = *at + 1;
    while (i < line.size() && line[i] != '}') {
      const size_t equal = line.find('=', i);
      if (equal == std::string_view::npos || equal + 1 >= line.size() || line[equal + 1] != '"') return false;
      const std::string name(line.substr(i, equal - i));
      if (!IsName(name, false)) return false;
      std::string value;
      for (i = equal + 2; i < line.size() && line[i] != '"'; ++i) {
        if (line[i] != '\\') {
          value += line[i];
        } else if (++i < line.size() && (line[i] == '\\' || line[i] == '"' || line[i] == 'n')) {
          value += line[i] == 'n' ? '\n' : line[i];
        } else {
          return false;
        }
      }
      if (++i >= line.size() || !sample->labels.emplace(name, value).second) return false;
      if (line[i] == ',') ++i;
    }
    *at = i + 1;
    return i < line.size();
  }

  void CheckFamily(const std::string& name, const ExpositionFamily& family) {
    if (family.type.empty()) return Fail(name + " has no type");
    if (family.samples.empty()) return Fail(name + " has no sample");
    if (family.type == "counter" && !name.ends_with("_total")) return Fail(name + " does not end in _total");
    if (family.type != "counter" && name.ends_with("_total")) return Fail(name + " ends in _total");
    if (family.type == "histogram") CheckHistogram(name, family);
  }

  // One series without labels of its own: ascending bounds and counts up to +Inf, then sum and count.
  void CheckHistogram(const std::string& name, const ExpositionFamily& family) {
    double bound = -1, count = 0, total = -1;
    bool sum = false;
    for (const Sample& sample : family.samples) {
      if (sample.name == name + "_bucket") {
        const auto le = sample.labels.find("le");
        if (le == sample.labels.end()) return Fail(name + " has a bucket without le");
        const double next = std::strtod(le->second.c_str(), nullptr);
        if (next <= bound || sample.value < count) return Fail(name + " has buckets out of order");
        bound = next;
        count = sample.value;
      } else if (sample.name == name + "_sum") {
        sum = true;
      } else {
        total = sample.value;
      }
    }
    if (!std::isinf(bound) || total != count || !sum) Fail(name + " is no whole histogram");
  }

  void Fail(const std::string& what) {
    if (fault_.empty()) fault_ = what;
  }

  std::string current_, fault_;
  std::map<std::string, ExpositionFamily> families_;
  std::set<std::pair<std::string, std::map<std::string, std::string>>> seen_;
};

}  // namespace lathe::serve::testing
