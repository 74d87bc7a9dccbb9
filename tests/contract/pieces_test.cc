// The pieces of which the generated codecs are made, at their edges. What lies behind is looked at, too.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "proto/contract/fields.h"
#include "proto/contract/wire.h"

namespace dxg::contract {
namespace {

constexpr std::byte kUntouched{0xa5};

std::array<std::byte, 16> Untouched() {
  std::array<std::byte, 16> bytes;
  bytes.fill(kUntouched);
  return bytes;
}

size_t TouchedBytes(const std::array<std::byte, 16>& bytes) {
  return static_cast<size_t>(
      std::count_if(bytes.begin(), bytes.end(), [](auto b) { return b != kUntouched; }));
}

TEST(Pieces, NoMoreBytesAreReadThanThereAre) {
  const auto in = Untouched();
  std::string out;
  const auto read = [&](size_t offset, size_t size) {
    wire::GetBytes(std::span(in).first(8), offset, size, &out);
    return out.size();
  };
  EXPECT_EQ(read(0, 8), 8u);
  EXPECT_EQ(read(0, 9), 8u);
  EXPECT_EQ(read(5, 8), 3u);
  EXPECT_EQ(read(7, 8), 1u);
  EXPECT_EQ(read(8, 8), 0u);
  EXPECT_EQ(read(9, 8), 0u);
  EXPECT_EQ(read(SIZE_MAX, SIZE_MAX), 0u);
}

TEST(Pieces, NoMoreNumbersAreReadThanThereAre) {
  const auto in = Untouched();
  google::protobuf::RepeatedField<uint32_t> out;
  const auto read = [&](uint64_t offset, uint64_t count) {
    wire::GetNumbers(std::span(in).first(8), offset, count, &out);
    return out.size();
  };
  EXPECT_EQ(read(0, 2), 2);
  EXPECT_EQ(read(0, 3), 2);
  EXPECT_EQ(read(1, 2), 1) << "part of a number is none";
  EXPECT_EQ(read(8, 1), 0);
  EXPECT_EQ(read(UINT64_MAX, UINT64_MAX), 0);
}

TEST(Pieces, NoMoreBytesAreWrittenThanFit) {
  for (const size_t size : {size_t{0}, size_t{4}, size_t{12}}) {
    auto out = Untouched();
    wire::PutBytes(std::string(size, 'x'), 8, out.data());
    EXPECT_EQ(TouchedBytes(out), std::min<size_t>(size, 8)) << size;
    out = Untouched();
    WriteBytes<4, 8>(out.data(), std::string(size, 'x'));
    EXPECT_EQ(TouchedBytes(out), std::min<size_t>(size, 8)) << size;
    EXPECT_EQ(out[3], kUntouched);
    EXPECT_EQ(out[12], kUntouched);
  }
}

TEST(Pieces, NoMoreNumbersAreWrittenThanFit) {
  for (const int count : {0, 1, 3}) {
    google::protobuf::RepeatedField<uint32_t> in;
    in.Resize(count, 7);
    auto out = Untouched();
    wire::PutNumbers(in, 2, out.data());
    EXPECT_EQ(TouchedBytes(out), 4u * std::min<size_t>(static_cast<size_t>(count), 2)) << count;
    out = Untouched();
    WriteInline<4, 8>(out.data(), in);
    EXPECT_EQ(TouchedBytes(out), 4u * std::min<size_t>(static_cast<size_t>(count), 2)) << count;
    EXPECT_EQ(out[3], kUntouched);
    EXPECT_EQ(out[12], kUntouched);
  }
}

}  // namespace
}  // namespace dxg::contract
