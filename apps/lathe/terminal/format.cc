#include "terminal/format.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/status.h"

namespace lathe::cli {
namespace {

// from_chars over the whole of `text`; false for anything else, "inf" and "nan" included.
template <typename T>
bool ParseWhole(std::string_view text, T* out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return false;
  if constexpr (std::is_floating_point_v<T>) return std::isfinite(*out);
  return true;
}

Status BadSize(std::string_view text) {
  return Error(StatusCode::kInvalidArgument,
               "expected a size in bytes such as 4096, 512M or 1.5G, found \"%.*s\"",
               static_cast<int>(text.size()), text.data());
}

}  // namespace

Expected<uint64_t> ParseByteSize(std::string_view text) {
  std::string_view number = text;
  if (number.ends_with("iB") || number.ends_with("ib")) {
    number.remove_suffix(2);
    if (number.empty() || number.find_last_of("kKmMgGtT") != number.size() - 1) return BadSize(text);
  }
  double scale = 1;
  if (!number.empty()) {
    static constexpr std::string_view kSuffixes = "kmgt";
    const char last = static_cast<char>(number.back() | 0x20);
    if (const size_t power = kSuffixes.find(last); power != std::string_view::npos) {
      scale = std::ldexp(1.0, 10 * (static_cast<int>(power) + 1));
      number.remove_suffix(1);
    }
  }
  double value = 0;
  if (!ParseWhole(number, &value) || value < 0) return BadSize(text);
  const double bytes = value * scale;
  if (bytes >= 0x1p63) return BadSize(text);
  return static_cast<uint64_t>(bytes);
}

Expected<std::pair<TokenId, double>> ParseLogitBias(std::string_view text) {
  const size_t colon = text.find(':');
  TokenId id = 0;
  double bias = 0;
  if (colon == std::string_view::npos || !ParseWhole(text.substr(0, colon), &id) ||
      !ParseWhole(text.substr(colon + 1), &bias)) {
    return Error(StatusCode::kInvalidArgument, "expected TOKEN_ID:BIAS such as 1234:-5.5, found \"%.*s\"",
                 static_cast<int>(text.size()), text.data());
  }
  return std::pair<TokenId, double>(id, bias);
}

std::string FormatBytes(double bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  int unit = 0;
  while (bytes >= 999.5 && unit < 4) {
    bytes /= 1000;
    ++unit;
  }
  const int decimals = unit == 0 || bytes >= 99.95 ? 0 : bytes >= 9.995 ? 1 : 2;
  return StrFormat("%.*f %s", decimals, bytes, kUnits[unit]);
}

std::string FormatSeconds(double seconds) {
  if (seconds < 1e-3) return StrFormat("%.0f us", seconds * 1e6);
  if (seconds < 1) return StrFormat("%.1f ms", seconds * 1e3);
  if (seconds < 99.995) return StrFormat("%.2f s", seconds);
  const auto whole = static_cast<long long>(seconds + 0.5);
  if (whole < 3600) return StrFormat("%lld:%02lld", whole / 60, whole % 60);
  return StrFormat("%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string FormatCount(uint64_t n) {
  std::string digits = std::to_string(n);
  for (size_t i = digits.size(); i > 3;) digits.insert(i -= 3, ",");
  return digits;
}

double Percentile(std::vector<double> values, double p) {
  return Percentiles(std::move(values), std::span(&p, 1)).front();
}

std::vector<double> Percentiles(std::vector<double> values, std::span<const double> ps) {
  if (values.empty()) return std::vector<double>(ps.size(), 0.0);
  std::sort(values.begin(), values.end());
  std::vector<double> out;
  for (const double p : ps) {
    const double at = std::clamp(p, 0.0, 1.0) * static_cast<double>(values.size() - 1);
    const auto low = static_cast<size_t>(at);
    const size_t high = std::min(low + 1, values.size() - 1);
    out.push_back(values[low] + (values[high] - values[low]) * (at - static_cast<double>(low)));
  }
  return out;
}

std::string NearestName(std::string_view typed, std::span<const std::string> names) {
  std::string best;
  size_t best_distance = std::min<size_t>(2, typed.size() / 2) + 1;
  std::vector<size_t> row;
  for (const std::string& name : names) {
    row.resize(name.size() + 1);
    for (size_t j = 0; j <= name.size(); ++j) row[j] = j;
    for (size_t i = 1; i <= typed.size(); ++i) {
      size_t diagonal = row[0];
      row[0] = i;
      for (size_t j = 1; j <= name.size(); ++j) {
        const size_t replaced = diagonal + (typed[i - 1] == name[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
      }
    }
    if (row[name.size()] < best_distance) {
      best_distance = row[name.size()];
      best = name;
    }
  }
  return best;
}

}  // namespace lathe::cli
