// Arithmetic operators, lengths and iteration.
#include <algorithm>
#include <cmath>

#include "text/template/format.h"
#include "text/template/methods.h"
#include "text/template/ops.h"
#include "text/template/text.h"
#include "text/template/unicode.h"

namespace lathe::tmpl {
namespace {

const char* Symbol(BinaryOp op) {
  switch (op) {
    case BinaryOp::kAdd: return "+";
    case BinaryOp::kSub: return "-";
    case BinaryOp::kMul: return "*";
    case BinaryOp::kDiv: return "/";
    case BinaryOp::kFloorDiv: return "//";
    case BinaryOp::kMod: return "%";
    case BinaryOp::kPow: return "**";
  }
  return "?";
}

Value Overflow(Runtime& rt) {
  return rt.Fail(StatusCode::kResourceExhausted, "an integer result has more than 127 bits");
}

Value DivisionByZero(Runtime& rt) { return rt.Invalid("division by zero"); }

Int FloorDivide(Int a, Int b) {
  const Int q = a / b;
  return (a % b != 0) && ((a < 0) != (b < 0)) ? q - 1 : q;
}

Value IntPower(Runtime& rt, Int base, Int exponent) {
  if (exponent < 0) {
    if (base == 0) return rt.Invalid("0 cannot be raised to a negative power");
    return Value::Real(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  Int result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) return Overflow(rt);
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) return Overflow(rt);
  }
  return Value::Integer(result);
}

Value IntArithmetic(Runtime& rt, BinaryOp op, Int a, Int b) {
  constexpr Int kLowest = static_cast<Int>(static_cast<unsigned __int128>(1) << 127);
  Int out = 0;
  switch (op) {
    case BinaryOp::kAdd: return __builtin_add_overflow(a, b, &out) ? Overflow(rt) : Value::Integer(out);
    case BinaryOp::kSub: return __builtin_sub_overflow(a, b, &out) ? Overflow(rt) : Value::Integer(out);
    case BinaryOp::kMul: return __builtin_mul_overflow(a, b, &out) ? Overflow(rt) : Value::Integer(out);
    case BinaryOp::kPow: return IntPower(rt, a, b);
    default: break;
  }
  if (b == 0) return DivisionByZero(rt);
  if (a == kLowest && b == -1) return Overflow(rt);
  if (op == BinaryOp::kDiv) return Value::Real(static_cast<double>(a) / static_cast<double>(b));
  const Int quotient = FloorDivide(a, b);
  return Value::Integer(op == BinaryOp::kFloorDiv ? quotient : a - quotient * b);
}

// Python's float remainder has the sign of the divisor.
double FloatModulo(double a, double b) {
  double mod = std::fmod(a, b);
  if (mod != 0) {
    if ((b < 0) != (mod < 0)) mod += b;
  } else {
    mod = std::copysign(0.0, b);
  }
  return mod;
}

double FloatFloorDivide(double a, double b) {
  double mod = std::fmod(a, b);
  double div = (a - mod) / b;
  if (mod != 0 && (b < 0) != (mod < 0)) div -= 1.0;
  if (div == 0) return std::copysign(0.0, a / b);
  double floor_div = std::floor(div);
  if (div - floor_div > 0.5) floor_div += 1.0;
  return floor_div;
}

Value FloatArithmetic(Runtime& rt, BinaryOp op, double a, double b) {
  switch (op) {
    case BinaryOp::kAdd: return Value::Real(a + b);
    case BinaryOp::kSub: return Value::Real(a - b);
    case BinaryOp::kMul: return Value::Real(a * b);
    case BinaryOp::kPow: {
      if (a == 0 && b < 0) return rt.Invalid("0.0 cannot be raised to a negative power");
      if (a < 0 && std::isfinite(b) && b != std::floor(b))
        return rt.Fail(StatusCode::kUnsupported, "complex numbers are not supported");
      const double result = std::pow(a, b);
      if (std::isinf(result) && std::isfinite(a) && std::isfinite(b))
        return rt.Invalid("the result of '**' is too large");
      return Value::Real(result);
    }
    default: break;
  }
  if (b == 0) return DivisionByZero(rt);
  if (op == BinaryOp::kDiv) return Value::Real(a / b);
  return Value::Real(op == BinaryOp::kMod ? FloatModulo(a, b) : FloatFloorDivide(a, b));
}

Value Concatenate(Runtime& rt, const Value& a, const Value& b) {
  if (a.IsString()) {
    StrBuilder out = rt.Builder();
    if (a.str().markup() || b.str().markup()) {
      AppendEscaped(&out, a.str());
      AppendEscaped(&out, b.str());
      out.SetMarkup(true);
    } else {
      out.Append(a.str());
      out.Append(b.str());
    }
    return rt.MakeString(std::move(out));
  }
  const auto &x = a.list().items, &y = b.list().items;
  if (!rt.Room((x.size() + y.size()) * sizeof(Value))) return {};
  std::vector<Value> items = x;
  items.insert(items.end(), y.begin(), y.end());
  return a.Is(Kind::kList) ? rt.MakeList(std::move(items)) : rt.MakeTuple(std::move(items));
}

Value Repeat(Runtime& rt, const Value& what, Int count) {
  if (count < 0) count = 0;
  const Int size = what.IsString() ? static_cast<Int>(what.str().size())
                                   : static_cast<Int>(what.list().items.size() * sizeof(Value));
  constexpr Int kHuge = Int{1} << 62;
  const Int bytes = size == 0 ? 0 : count > kHuge / size ? kHuge : size * count;
  if (!rt.Room(static_cast<size_t>(bytes)) || !rt.StepBytes(static_cast<size_t>(bytes))) return {};
  const auto times = static_cast<size_t>(size == 0 ? 0 : count);
  if (what.IsString()) {
    StrBuilder out = rt.Builder();
    out.SetMarkup(what.str().markup());
    for (size_t i = 0; i < times; ++i) out.Append(what.str());
    return rt.MakeString(std::move(out));
  }
  std::vector<Value> items;
  for (size_t i = 0; i < times; ++i)
    items.insert(items.end(), what.list().items.begin(), what.list().items.end());
  return what.Is(Kind::kList) ? rt.MakeList(std::move(items)) : rt.MakeTuple(std::move(items));
}

bool Repeatable(const Value& v) { return v.IsString() || v.IsSequence(); }

}  // namespace

Value Binary(Runtime& rt, BinaryOp op, const Value& a, const Value& b) {
  if (!rt.Step()) return {};
  if (a.IsIntegral() && b.IsIntegral()) return IntArithmetic(rt, op, a.integer(), b.integer());
  if (a.IsNumber() && b.IsNumber()) {
    const auto real = [](const Value& v) {
      return v.Is(Kind::kFloat) ? v.real() : static_cast<double>(v.integer());
    };
    return FloatArithmetic(rt, op, real(a), real(b));
  }
  if (op == BinaryOp::kMod && a.IsString()) return PercentFormat(rt, a, b);
  if (a.IsUndefined()) return rt.FailUndefined(a);
  if (b.IsUndefined()) return rt.FailUndefined(b);
  if (op == BinaryOp::kAdd && a.kind() == b.kind() && Repeatable(a)) return Concatenate(rt, a, b);
  if (op == BinaryOp::kMul && Repeatable(a) && b.IsIntegral()) return Repeat(rt, a, b.integer());
  if (op == BinaryOp::kMul && Repeatable(b) && a.IsIntegral()) return Repeat(rt, b, a.integer());
  return rt.Invalid("'%s' does not work on a %s and a %s", Symbol(op), TypeRepr(a).c_str(),
                    TypeRepr(b).c_str());
}

bool HasLength(const Value& value) {
  switch (value.kind()) {
    case Kind::kMissing:
    case Kind::kUndefined:
    case Kind::kString:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict:
    case Kind::kDictView:
    case Kind::kRange:
    case Kind::kLoop: return true;
    default: return false;
  }
}

Int Length(Runtime& rt, const Value& value) {
  switch (value.kind()) {
    case Kind::kMissing:
    case Kind::kUndefined: return 0;
    case Kind::kString: return static_cast<Int>(value.str().chars());
    case Kind::kList:
    case Kind::kTuple: return static_cast<Int>(value.list().items.size());
    case Kind::kDict: return static_cast<Int>(value.dict().entries.size());
    case Kind::kDictView: return static_cast<Int>(value.dict_view().dict.dict().entries.size());
    case Kind::kRange: return value.range().size();
    case Kind::kLoop: return LoopLength(rt, value.loop());
    default: rt.Invalid("a %s has no length", TypeRepr(value).c_str()); return 0;
  }
}

Int LoopLength(Runtime& rt, const Loop& loop) {
  while (loop.fetch && !rt.failed() && loop.fetch()) {
  }
  return static_cast<Int>(loop.items.size());
}

bool IsIterable(const Value& value) { return value.Is(Kind::kIterator) || HasLength(value); }

bool Items(Runtime& rt, const Value& iterable, std::vector<Value>* out, Status* deferred) {
  const auto reserve = [&](Int n) {
    if (!rt.Step(1 + static_cast<uint64_t>(n) / 8) || !rt.Room(static_cast<size_t>(n) * sizeof(Value)))
      return false;
    out->reserve(static_cast<size_t>(n));
    return true;
  };
  switch (iterable.kind()) {
    case Kind::kMissing:
    case Kind::kUndefined: return true;
    case Kind::kList:
    case Kind::kTuple:
      if (!reserve(Length(rt, iterable))) return false;
      *out = iterable.list().items;
      return true;
    case Kind::kString: {
      const Str& s = iterable.str();
      if (!reserve(Length(rt, iterable))) return false;
      for (size_t pos = 0; pos < s.size() && !rt.failed();) {
        const size_t begin = pos;
        DecodeUtf8(s.text(), &pos);
        out->push_back(rt.Substring(iterable, begin, pos));
      }
      return !rt.failed();
    }
    case Kind::kDict:
    case Kind::kDictView: {
      const bool view = iterable.Is(Kind::kDictView);
      const auto part = view ? iterable.dict_view().part : DictView::Part::kKeys;
      const Dict& dict = view ? iterable.dict_view().dict.dict() : iterable.dict();
      if (!reserve(static_cast<Int>(dict.entries.size()))) return false;
      for (const auto& [key, value] : dict.entries)
        out->push_back(part == DictView::Part::kKeys     ? key
                       : part == DictView::Part::kValues ? value
                                                         : rt.MakePair(key, value));
      return !rt.failed();
    }
    case Kind::kRange: {
      const Range& r = iterable.range();
      if (!reserve(r.size())) return false;
      for (Int i = 0; i < r.size(); ++i) out->push_back(Value::Integer(r.start + i * r.step));
      return true;
    }
    case Kind::kIterator: {
      Iterator& it = iterable.iterator();
      if (!reserve(static_cast<Int>(it.items.size() - it.next))) return false;
      out->assign(it.items.begin() + static_cast<std::ptrdiff_t>(it.next), it.items.end());
      it.next = it.items.size();
      if (it.error.ok()) return true;
      Status error = std::exchange(it.error, Status::Ok());
      if (deferred == nullptr)
        rt.FailWith(std::move(error));
      else
        *deferred = std::move(error);
      return deferred != nullptr;
    }
    case Kind::kLoop:
      rt.Fail(StatusCode::kUnsupported, "going through the loop variable itself is not supported");
      return false;
    default: rt.Invalid("a %s cannot be gone through", TypeRepr(iterable).c_str()); return false;
  }
}

}  // namespace lathe::tmpl
