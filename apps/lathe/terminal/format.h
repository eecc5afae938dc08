// Quantities for people: reading them from flags, writing them into tables.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lathe/status.h"
#include "lathe/types.h"

namespace lathe::cli {

// "4096", "512M", "1.5G", "2GiB": bytes, with K, M, G and T as powers of 1024, in either case. Errors:
// kInvalidArgument quoting the text.
Expected<uint64_t> ParseByteSize(std::string_view text);

// "ID:VALUE", e.g. "1234:-5.5" (the ranges are SamplingParams::Validate's to check).
Expected<std::pair<TokenId, double>> ParseLogitBias(std::string_view text);

// "512 B", "31.5 MB", "2.21 GB": powers of 1000, as GB/s are.
std::string FormatBytes(double bytes);

// "850 us", "12.3 ms", "4.56 s", "2:05".
std::string FormatSeconds(double seconds);

// "1,234,567".
std::string FormatCount(uint64_t n);

// Value at fraction p in [0, 1] of `values` (any order), by linear interpolation between the two nearest; 0
// when there are none.
double Percentile(std::vector<double> values, double p);
// The same at each of `ps`, sorting once.
std::vector<double> Percentiles(std::vector<double> values, std::span<const double> ps);

// The entry of `names` closest to `typed` when at most two edits (half of its length) away, else "".
std::string NearestName(std::string_view typed, std::span<const std::string> names);

}  // namespace lathe::cli
