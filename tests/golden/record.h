#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"

// Records of what the real driver answered and sent, one JSON object a line, zstd-compressed. This file knows
// their form; README.md beside it tells what they mean.

namespace dxg::golden {

using Json = nlohmann::json;
using Bytes = std::vector<std::byte>;

Bytes FromHex(const std::string& hex);
std::string ToHex(std::span<const std::byte> bytes);

// Runs `each` on every record of a file (.jsonl or .jsonl.zst). ENOENT and the like: the file cannot be read;
// EINVAL: it is no zstd data, or a line is no record; those before it were run.
Status ForEachRecord(const std::string& path, const std::function<void(const Json&)>& each);

// The byte ranges of a record that were different in every run, for "out", "bufs[0].out", "events[1].data",
// ...
struct Range {
  size_t begin, end;
};
std::vector<Range> Volatile(const Json& record, const std::string& key);

// Where two byte strings differ outside the volatile ranges: "offset 12: 40 instead of 00", or empty.
std::string Difference(std::span<const std::byte> expected, std::span<const std::byte> actual,
                       const std::vector<Range>& ignore);

uint64_t Fnv64(std::span<const std::byte> bytes);

}  // namespace dxg::golden
