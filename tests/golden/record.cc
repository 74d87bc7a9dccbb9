#include "tests/golden/record.h"

#include <fmt/format.h>
#include <zstd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>

namespace dxg::golden {
namespace {

Result<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file)
    return Status::Refuse(errno, "{}: cannot be read ({}); expected a .jsonl or .jsonl.zst file of records",
                          path, std::strerror(errno));
  return std::string(std::istreambuf_iterator<char>(file), {});
}

Result<std::string> Decompress(const std::string& path, const std::string& in) {
  const std::unique_ptr<ZSTD_DStream, decltype(&ZSTD_freeDStream)> stream(ZSTD_createDStream(),
                                                                          ZSTD_freeDStream);
  ZSTD_inBuffer input{in.data(), in.size(), 0};
  std::string out, chunk(ZSTD_DStreamOutSize(), '\0');
  while (input.pos < input.size) {
    ZSTD_outBuffer output{chunk.data(), chunk.size(), 0};
    const size_t result = ZSTD_decompressStream(stream.get(), &output, &input);
    if (ZSTD_isError(result))
      return Status::Refuse(EINVAL, "{}: no valid zstd data ({})", path, ZSTD_getErrorName(result));
    out.append(chunk.data(), output.pos);
  }
  return out;
}

}  // namespace

Bytes FromHex(const std::string& hex) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10; };
  Bytes bytes(hex.size() / 2);
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<std::byte>(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
  return bytes;
}

std::string ToHex(std::span<const std::byte> bytes) {
  std::string hex;
  for (std::byte b : bytes) hex += fmt::format("{:02x}", static_cast<unsigned>(b));
  return hex;
}

Status ForEachRecord(const std::string& path, const std::function<void(const Json&)>& each) {
  DXG_ASSIGN(std::string text, ReadFile(path));
  if (path.ends_with(".zst")) {
    DXG_ASSIGN(text, Decompress(path, text));
  }
  size_t line = 1;
  for (size_t begin = 0; begin < text.size(); ++line) {
    size_t end = text.find('\n', begin);
    if (end == std::string::npos) end = text.size();
    const Json record =
        Json::parse(text.begin() + begin, text.begin() + end, nullptr, /*allow_exceptions=*/false);
    if (!record.is_object())
      return Status::Refuse(EINVAL, "{}:{}: expected one JSON object on the line", path, line);
    each(record);
    begin = end + 1;
  }
  return Status::Ok();
}

std::vector<Range> Volatile(const Json& record, const std::string& key) {
  std::vector<Range> ranges;
  const auto all = record.find("volatile");
  if (all == record.end() || !all->is_object() || !all->contains(key)) return ranges;
  for (const auto& range : (*all)[key]) ranges.push_back({range[0], range[1]});
  return ranges;
}

std::string Difference(std::span<const std::byte> expected, std::span<const std::byte> actual,
                       const std::vector<Range>& ignore) {
  if (expected.size() != actual.size())
    return fmt::format("{} bytes instead of {}", actual.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    if (expected[i] == actual[i]) continue;
    bool ignored = false;
    for (const Range& range : ignore) ignored |= i >= range.begin && i < range.end;
    if (!ignored) {
      return fmt::format("offset {}: {:02x} instead of {:02x}", i, static_cast<unsigned>(actual[i]),
                         static_cast<unsigned>(expected[i]));
    }
  }
  return "";
}

uint64_t Fnv64(std::span<const std::byte> bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (std::byte b : bytes) hash = (hash ^ static_cast<uint64_t>(b)) * 0x100000001b3;
  return hash;
}

}  // namespace dxg::golden
