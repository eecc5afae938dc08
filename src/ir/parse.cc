#include <charconv>
#include <cmath>

#include "ir/schema.h"
#include "ir/text.h"

namespace lathe::ir {
namespace {

// Bounds that no real graph comes near; they keep hostile text from costing memory.
constexpr int64_t kMaxId = 1 << 24;
constexpr size_t kMaxListed = 64;

bool IsNameChar(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
}

// One line of text, read from left to right. The first fault sticks.
class Line {
 public:
  Line(std::string_view text, std::string_view where, int number)
      : text_(text), where_(where), number_(number) {}

  void SkipSpaces() {
    while (pos_ < text_.size() && (text_[pos_] == ' ' || text_[pos_] == '\t' || text_[pos_] == '\r')) ++pos_;
  }
  bool AtEnd() {
    SkipSpaces();
    return pos_ == text_.size() || text_[pos_] == '#';
  }
  char Peek() {
    SkipSpaces();
    return pos_ < text_.size() ? text_[pos_] : '\0';
  }
  // Takes `c` if it comes next.
  bool Take(char c) {
    if (Peek() != c) return false;
    ++pos_;
    return true;
  }
  Status Need(char c) {
    if (Take(c)) return Status::Ok();
    return Fault(StrFormat("'%c' was expected", c));
  }
  std::string_view Name() {
    SkipSpaces();
    const size_t begin = pos_;
    while (pos_ < text_.size() && IsNameChar(text_[pos_])) ++pos_;
    return text_.substr(begin, pos_ - begin);
  }
  Expected<int64_t> Integer() {
    SkipSpaces();
    int64_t value = 0;
    const char* begin = text_.data() + pos_;
    const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
    if (error != std::errc()) return Fault("an integer was expected");
    pos_ += static_cast<size_t>(end - begin);
    return value;
  }
  Expected<int> Id() {
    LATHE_RETURN_IF_ERROR(Need('%'));
    LATHE_ASSIGN_OR_RETURN(const int64_t id, Integer());
    if (id < 0 || id > kMaxId)
      return Fault(StrFormat("a value number is 0 to %lld", static_cast<long long>(kMaxId)));
    return static_cast<int>(id);
  }
  // An integer, or a float when it has a point, an exponent or is inf/nan.
  Expected<std::variant<int64_t, float>> Number() {
    SkipSpaces();
    size_t end = pos_;
    while (end < text_.size() && (IsNameChar(text_[end]) || text_[end] == '+' || text_[end] == '-')) ++end;
    const std::string_view word = text_.substr(pos_, end - pos_);
    const char* last = word.data() + word.size();
    std::variant<int64_t, float> value;
    int64_t integer = 0;
    float real = 0;
    if (const auto r = std::from_chars(word.data(), last, integer); r.ec == std::errc() && r.ptr == last) {
      value = integer;
    } else if (const auto f = std::from_chars(word.data(), last, real);
               f.ec == std::errc() && f.ptr == last && std::isfinite(real)) {
      value = real;
    } else {
      return Fault("a finite number was expected");
    }
    pos_ = end;
    return value;
  }
  Status Fault(std::string_view what) const {
    return Error(StatusCode::kInvalidArgument, "%.*s:%d:%zu: %.*s", static_cast<int>(where_.size()),
                 where_.data(), number_, pos_ + 1, static_cast<int>(what.size()), what.data());
  }

 private:
  std::string_view text_, where_;
  int number_;
  size_t pos_ = 0;
};

Status ParseRange(Line* line, int64_t* begin, int64_t* end) {
  if (line->Peek() != ':') {
    LATHE_ASSIGN_OR_RETURN(*begin, line->Integer());
    if (*begin < 0) return line->Fault("a slice begins at 0 or later");
  }
  LATHE_RETURN_IF_ERROR(line->Need(':'));
  if (line->Peek() != ',' && line->Peek() != ']') {
    LATHE_ASSIGN_OR_RETURN(*end, line->Integer());
    if (*end < 0) return line->Fault("a slice ends at 0 or later");
  }
  return Status::Ok();
}

Expected<WeightRef> ParseRef(Line* line) {
  LATHE_RETURN_IF_ERROR(line->Need('@'));
  WeightRef ref;
  ref.name = line->Name();
  if (ref.name.empty()) return line->Fault("a weight name was expected");
  if (!line->Take('[')) return ref;
  LATHE_RETURN_IF_ERROR(ParseRange(line, &ref.row_begin, &ref.row_end));
  if (line->Take(',')) LATHE_RETURN_IF_ERROR(ParseRange(line, &ref.col_begin, &ref.col_end));
  LATHE_RETURN_IF_ERROR(line->Need(']'));
  return ref;
}

Status ParseRefs(Line* line, std::vector<WeightRef>* refs) {
  while (line->Peek() == '@') {
    LATHE_ASSIGN_OR_RETURN(WeightRef ref, ParseRef(line));
    refs->push_back(std::move(ref));
    if (refs->size() > kMaxListed) return line->Fault("too many weights");
  }
  return Status::Ok();
}

// "weight" was read; "@name [N,K] rows:unit" follows.
Expected<WeightDecl> ParseWeight(Line* line) {
  LATHE_RETURN_IF_ERROR(line->Need('@'));
  WeightDecl decl;
  decl.name = line->Name();
  if (decl.name.empty()) return line->Fault("a weight name was expected");
  LATHE_RETURN_IF_ERROR(line->Need('['));
  do {
    if (decl.shape.rank == 2) return line->Fault("a weight has one or two dimensions");
    LATHE_ASSIGN_OR_RETURN(decl.shape.dims[static_cast<size_t>(decl.shape.rank)], line->Integer());
    ++decl.shape.rank;
  } while (line->Take(','));
  LATHE_RETURN_IF_ERROR(line->Need(']'));
  if (line->AtEnd()) return decl;
  const std::string_view side = line->Name();
  if (side != "rows" && side != "cols") return line->Fault("'rows:<unit>' or 'cols:<unit>' was expected");
  decl.split = side == "rows" ? SplitSide::kRows : SplitSide::kCols;
  LATHE_RETURN_IF_ERROR(line->Need(':'));
  LATHE_ASSIGN_OR_RETURN(decl.split_unit, line->Integer());
  return decl;
}

// "%2:f32[T,384]"
Expected<Value> ParseValue(Line* line) {
  Value value;
  LATHE_ASSIGN_OR_RETURN(value.id, line->Id());
  LATHE_RETURN_IF_ERROR(line->Need(':'));
  const auto dtype = DTypeFromString(line->Name());
  if (!dtype) return line->Fault("an element type was expected");
  value.type.dtype = *dtype;
  LATHE_RETURN_IF_ERROR(line->Need('['));
  const std::string_view rows = line->Name();
  if (rows != "T" && rows != "L") return line->Fault("rows are T or L");
  value.type.rows = rows == "T" ? Rows::kTokens : Rows::kLogits;
  LATHE_RETURN_IF_ERROR(line->Need(','));
  LATHE_ASSIGN_OR_RETURN(value.type.width, line->Integer());
  LATHE_RETURN_IF_ERROR(line->Need(']'));
  return value;
}

Status ParseAttrs(Line* line, std::vector<Attr>* attrs) {
  if (!line->Take('{')) return Status::Ok();
  do {
    Attr attr;
    attr.name = line->Name();
    if (attr.name.empty()) return line->Fault("an attribute name was expected");
    LATHE_RETURN_IF_ERROR(line->Need('='));
    LATHE_ASSIGN_OR_RETURN(attr.value, line->Number());
    attrs->push_back(std::move(attr));
    if (attrs->size() > kMaxListed) return line->Fault("too many attributes");
  } while (line->Take(','));
  return line->Need('}');
}

Expected<Op> ParseOp(Line* line) {
  Op op;
  if (line->Peek() == '%') {
    do {
      LATHE_ASSIGN_OR_RETURN(const Value value, ParseValue(line));
      op.results.push_back(value);
      if (op.results.size() > kMaxListed) return line->Fault("too many results");
    } while (line->Take(','));
    LATHE_RETURN_IF_ERROR(line->Need('='));
  }
  const std::string_view name = line->Name();
  const OpSchema* schema = FindSchema(name);
  if (schema == nullptr) return line->Fault("unknown op '" + std::string(name) + "'");
  op.code = schema->code;
  while (line->Peek() == '%') {
    LATHE_ASSIGN_OR_RETURN(const int id, line->Id());
    op.operands.push_back(id);
    if (op.operands.size() > kMaxListed) return line->Fault("too many operands");
  }
  LATHE_RETURN_IF_ERROR(ParseRefs(line, &op.weights));
  if (line->Take('+')) LATHE_RETURN_IF_ERROR(ParseRefs(line, &op.biases));
  LATHE_RETURN_IF_ERROR(ParseAttrs(line, &op.attrs));
  if (!line->AtEnd()) return line->Fault("nothing more was expected on this line");
  return op;
}

bool IsWeightLine(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  return begin != std::string_view::npos && text.substr(begin).starts_with("weight ");
}

}  // namespace

Expected<Graph> ParseGraph(std::string_view text, std::string_view where) {
  Graph graph;
  for (int number = 1; !text.empty(); ++number) {
    const size_t newline = text.find('\n');
    const std::string_view content = text.substr(0, newline);
    text.remove_prefix(newline == std::string_view::npos ? text.size() : newline + 1);
    Line line(content, where, number);
    if (line.AtEnd()) continue;
    if (IsWeightLine(content)) {
      line.Name();
      LATHE_ASSIGN_OR_RETURN(WeightDecl decl, ParseWeight(&line));
      if (!line.AtEnd()) return line.Fault("nothing more was expected on this line");
      graph.weights.push_back(std::move(decl));
    } else {
      LATHE_ASSIGN_OR_RETURN(Op op, ParseOp(&line));
      graph.ops.push_back(std::move(op));
    }
  }
  return graph;
}

}  // namespace lathe::ir
