#include "cuse-dxg/guest/same_mapping.h"

#include <gtest/gtest.h>

#include <vector>

namespace dxg::guest {
namespace {

constexpr uint64_t kAt = 0x10000, kPieceBytes = 0x1000;

class ListedMap final : public client::AddressMap {
 public:
  explicit ListedMap(std::vector<client::MappedRange>& ranges) : ranges_(ranges) {}
  client::Mapped Shows(uint64_t, uint64_t, const client::FileId&, uint64_t) override {
    return client::Mapped::kUnknown;
  }
  std::optional<client::MappedRange> At(uint64_t address) override {
    for (const auto& range : ranges_)
      if (address >= range.begin && address < range.end) return range;
    return std::nullopt;
  }
  bool is_quick() const override { return true; }
  bool alive() override { return true; }

 private:
  std::vector<client::MappedRange>& ranges_;
};

class Everything final : public client::AddressSpace {
 public:
  bool Read(uint64_t, std::span<std::byte>) override { return true; }
  bool Write(uint64_t, std::span<const std::byte>) override { return true; }
  bool Frames(uint64_t, std::span<uint64_t>) override { return true; }
  int file() const override { return 5; }
  uint64_t number() const override { return 77; }
};

// Two pages of a file, two without one, and a private copy of a page of the file.
class SameMappingTest : public testing::Test {
 protected:
  static client::MappedRange File(uint64_t page, uint64_t pages, uint64_t inode, uint64_t of_file,
                                  bool shared = true) {
    return {.begin = kAt + page * kPieceBytes,
            .end = kAt + (page + pages) * kPieceBytes,
            .readable = true,
            .writable = true,
            .shared = shared,
            .offset = of_file * kPieceBytes,
            .file = {inode == 0 ? 0u : 1u, inode},
            .name = {}};
  }
  bool Reads(uint64_t page, uint64_t pages = 1) {
    std::vector<std::byte> bytes(pages * kPieceBytes);
    const bool read = space_->Read(kAt + page * kPieceBytes, bytes);
    EXPECT_EQ(space_->Write(kAt + page * kPieceBytes, bytes), read);
    return read;
  }

  std::vector<client::MappedRange> ranges_ = {File(0, 2, 7, 3), File(2, 2, 0, 0, false),
                                              File(4, 1, 7, 9, false)};
  const std::unique_ptr<client::AddressSpace> space_ =
      AsMappedNow(std::make_unique<Everything>(), std::make_shared<ListedMap>(ranges_), kAt, 5 * kPieceBytes);
};

TEST_F(SameMappingTest, IsThereAsLongAsItIsMapped) {
  EXPECT_TRUE(Reads(0, 5));
  EXPECT_TRUE(Reads(3, 2));
  ranges_.erase(ranges_.begin() + 1);
  EXPECT_TRUE(Reads(0, 2));
  EXPECT_FALSE(Reads(2));
  EXPECT_FALSE(Reads(1, 2));
  EXPECT_TRUE(Reads(4));
}

TEST_F(SameMappingTest, IsOfTheSameAddressSpace) {
  EXPECT_EQ(space_->file(), 5);
  EXPECT_EQ(space_->number(), 77u);
}

TEST_F(SameMappingTest, SplitAndMergedItIsTheSame) {
  ranges_ = {File(0, 1, 7, 3), File(1, 1, 7, 4), File(2, 1, 0, 0, false), File(3, 1, 0, 0, false),
             File(4, 1, 7, 9, false)};
  EXPECT_TRUE(Reads(0, 5));
}

TEST_F(SameMappingTest, OtherMemoryIsNotThere) {
  ranges_[0] = File(0, 2, 8, 3);
  EXPECT_FALSE(Reads(0)) << "another file";
  ranges_[0] = File(0, 2, 7, 4);
  EXPECT_FALSE(Reads(0)) << "other bytes of the file";
  ranges_[0] = File(0, 2, 7, 3, false);
  EXPECT_FALSE(Reads(0)) << "a copy";
  ranges_[0] = File(0, 2, 0, 0, false);
  EXPECT_FALSE(Reads(1)) << "no file";
  ranges_[1] = File(2, 2, 7, 3);
  EXPECT_FALSE(Reads(2)) << "a file where there was none";
  EXPECT_TRUE(Reads(4));
}

TEST_F(SameMappingTest, WhatIsNotAllMappedIsNothing) {
  EXPECT_EQ(
      AsMappedNow(std::make_unique<Everything>(), std::make_shared<ListedMap>(ranges_), kAt, 6 * kPieceBytes),
      nullptr);
}

}  // namespace
}  // namespace dxg::guest
