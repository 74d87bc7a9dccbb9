#include "cuse-dxg/client/address_map.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <string>
#include <thread>

#include "base/page.h"
#include "base/unique_fd.h"
#include "tests/client/own_process.h"

namespace dxg::client {
namespace {

constexpr uint64_t kFirstPage = 2, kPagesMapped = 8;  // of the file, everywhere but where it says otherwise

UniqueFd MemoryFile() {
  UniqueFd file(memfd_create("address-map", MFD_CLOEXEC));
  EXPECT_EQ(ftruncate(file.get(), 16 * kPageBytes), 0);
  return file;
}

// A child that has mapped what the test had when it was made, until it is told to go on. By an ioctl, and as
// on a kernel before Linux 6.11.
class AddressMapTest : public testing::TestWithParam<bool> {
 protected:
  ~AddressMapTest() override { End(); }
  void End() {
    if (child_ == 0) return;
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
    child_ = 0;
  }
  // Maps at the test's own address, or anywhere.
  static uint64_t Map(int flags, int file, uint64_t offset, uint64_t pages, uint64_t address = 0) {
    void* const mapped = mmap(reinterpret_cast<void*>(address), pages * kPageBytes, PROT_READ | PROT_WRITE,
                              flags | (address != 0 ? MAP_FIXED : 0), file, static_cast<off_t>(offset));
    EXPECT_NE(mapped, MAP_FAILED);
    return reinterpret_cast<uint64_t>(mapped);
  }
  pid_t Fork() {
    End();
    const pid_t child = fork();
    if (child != 0) return child;
    pause();
    _exit(0);
  }
  Mapped Shows(uint64_t address, uint64_t pages, int file, uint64_t offset) {
    child_ = Fork();
    const auto map = GetParam() ? AddressMap::Of(child_) : AddressMap::ByText(child_);
    if (map == nullptr) return Mapped::kUnknown;
    const Mapped first = map->Shows(address, pages * kPageBytes, FileIdOf(file), offset);
    EXPECT_EQ(map->Shows(address, pages * kPageBytes, FileIdOf(file), offset), first) << "asked again";
    return first;
  }

  pid_t child_ = 0;
  const UniqueFd file_ = MemoryFile(), other_ = MemoryFile();
  const uint64_t mapped_ = Map(MAP_SHARED, file_.get(), kFirstPage* kPageBytes, kPagesMapped);
};

INSTANTIATE_TEST_SUITE_P(Ways, AddressMapTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "Asked" : "ByText"; });

TEST_P(AddressMapTest, ShowsTheVeryBytesOfTheFile) {
  EXPECT_EQ(Shows(mapped_, 8, file_.get(), 2 * kPageBytes), Mapped::kYes);
  EXPECT_EQ(Shows(mapped_ + 3 * kPageBytes, 2, file_.get(), 5 * kPageBytes), Mapped::kYes);
  EXPECT_EQ(Shows(mapped_, 8, file_.get(), 3 * kPageBytes), Mapped::kNo) << "others of its bytes";
  EXPECT_EQ(Shows(mapped_, 8, other_.get(), 2 * kPageBytes), Mapped::kNo) << "a file of the same name";
  EXPECT_EQ(Shows(mapped_, 8, -1, 2 * kPageBytes), Mapped::kUnknown);
  EXPECT_EQ(Shows(0, 1, file_.get(), 0), Mapped::kNo);
}

TEST_P(AddressMapTest, SplitByRightsItIsStillWhole) {
  ASSERT_EQ(mprotect(reinterpret_cast<void*>(mapped_ + 2 * kPageBytes), kPageBytes, PROT_READ), 0);
  EXPECT_EQ(Shows(mapped_, 8, file_.get(), 2 * kPageBytes), Mapped::kYes);
}

TEST_P(AddressMapTest, UnmappedInTheMiddleOrAtTheEnd) {
  ASSERT_EQ(munmap(reinterpret_cast<void*>(mapped_ + 7 * kPageBytes), kPageBytes), 0);
  EXPECT_EQ(Shows(mapped_, 8, file_.get(), 2 * kPageBytes), Mapped::kNo);
  EXPECT_EQ(Shows(mapped_, 7, file_.get(), 2 * kPageBytes), Mapped::kYes);
  ASSERT_EQ(munmap(reinterpret_cast<void*>(mapped_ + 3 * kPageBytes), kPageBytes), 0);
  EXPECT_EQ(Shows(mapped_, 7, file_.get(), 2 * kPageBytes), Mapped::kNo);
  EXPECT_EQ(Shows(mapped_ + 4 * kPageBytes, 3, file_.get(), 6 * kPageBytes), Mapped::kYes);
}

TEST_P(AddressMapTest, MappedOverByOtherMemory) {
  Map(MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, 1, mapped_ + kPageBytes);
  EXPECT_EQ(Shows(mapped_, 8, file_.get(), 2 * kPageBytes), Mapped::kNo);
  Map(MAP_SHARED, other_.get(), 3 * kPageBytes, 1, mapped_ + kPageBytes);
  EXPECT_EQ(Shows(mapped_ + kPageBytes, 1, file_.get(), 3 * kPageBytes), Mapped::kNo);
  Map(MAP_PRIVATE, file_.get(), 3 * kPageBytes, 1, mapped_ + kPageBytes);
  EXPECT_EQ(Shows(mapped_ + kPageBytes, 1, file_.get(), 3 * kPageBytes), Mapped::kNo) << "a copy of its own";
  Map(MAP_SHARED, file_.get(), 3 * kPageBytes, 1, mapped_ + kPageBytes);
  EXPECT_EQ(Shows(mapped_, 8, file_.get(), 2 * kPageBytes), Mapped::kYes) << "and back";
}

TEST_P(AddressMapTest, AMappingHasItsBoundsItsFileAndItsName) {
  EXPECT_EQ(Shows(mapped_, 8, file_.get(), 2 * kPageBytes), Mapped::kYes);
  const auto map = GetParam() ? AddressMap::Of(child_) : AddressMap::ByText(child_);
  const auto range = map->At(mapped_ + kPageBytes);
  ASSERT_TRUE(range);
  EXPECT_EQ(range->begin, mapped_);
  EXPECT_EQ(range->end, mapped_ + 8 * kPageBytes);
  EXPECT_EQ(range->offset, 2 * kPageBytes);
  EXPECT_EQ(range->file, FileIdOf(file_.get()));
  EXPECT_EQ(range->name, "/memfd:address-map (deleted)");
  EXPECT_TRUE(range->readable && range->writable && range->shared);
  EXPECT_FALSE(map->At(0x1000));
}

TEST_P(AddressMapTest, NothingLiesBehindTheEndOfTheAddressSpace) {
  constexpr uint64_t kLastPages = 3;
  const uint64_t last = ~uint64_t{0} - kLastPages * kPageBytes + 1;
  EXPECT_EQ(Shows(mapped_, last / kPageBytes, file_.get(), 2 * kPageBytes), Mapped::kNo);
  EXPECT_EQ(Shows(last, 2 * kLastPages, file_.get(), 0), Mapped::kNo);
}

// A walk comes to each mapping once, in order, as the single questions do.
TEST_P(AddressMapTest, AWalkSeesEachMappingOfARange) {
  constexpr uint64_t kPages = 600;
  const uint64_t begin = Map(MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, kPages);
  for (uint64_t i = 1; i < kPages; i += 2)
    ASSERT_EQ(mprotect(reinterpret_cast<void*>(begin + i * kPageBytes), kPageBytes, PROT_READ), 0);
  child_ = Fork();
  const auto map = GetParam() ? AddressMap::Of(child_) : AddressMap::ByText(child_);
  ASSERT_NE(map, nullptr);
  uint64_t next = begin + kPageBytes;
  const auto comes_next = [&](const MappedRange& range) {
    EXPECT_LE(range.begin, next);
    EXPECT_GT(range.end, next);
    EXPECT_EQ(range.writable, (next - begin) / kPageBytes % 2 == 0);
    next = range.end;
    return true;
  };
  EXPECT_TRUE(map->Walk(begin + kPageBytes, (kPages - 2) * kPageBytes, comes_next));
  EXPECT_EQ(next, begin + (kPages - 1) * kPageBytes);

  int seen = 0;
  EXPECT_FALSE(map->Walk(begin, kPages * kPageBytes, [&](const MappedRange&) { return ++seen < 3; }));
  EXPECT_EQ(seen, 3);
  munmap(reinterpret_cast<void*>(begin), kPages * kPageBytes);
  ASSERT_EQ(munmap(reinterpret_cast<void*>(mapped_ + 3 * kPageBytes), kPageBytes), 0);
  child_ = Fork();
  const auto with_a_hole = GetParam() ? AddressMap::Of(child_) : AddressMap::ByText(child_);
  EXPECT_FALSE(with_a_hole->Walk(mapped_, 8 * kPageBytes, [](const MappedRange&) { return true; }));
}

// What a walk reads of the text is no more than that of all mappings, however many of them it comes to.
TEST(AddressMapByText, AWalkReadsTheTextOnce) {
  const auto bytes_read = [] {
    std::ifstream io("/proc/thread-self/io");
    std::string key;
    uint64_t bytes = 0;
    io >> key >> bytes;
    return bytes;
  };
  constexpr uint64_t kPages = 1000, kLineMax = 256;
  auto* const memory = static_cast<std::byte*>(
      mmap(nullptr, kPages * kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  for (uint64_t i = 1; i < kPages; i += 2)
    ASSERT_EQ(mprotect(memory + i * kPageBytes, kPageBytes, PROT_READ), 0);
  const auto map = AddressMap::ByText(getpid());
  const uint64_t before = bytes_read();
  EXPECT_TRUE(map->Walk(reinterpret_cast<uint64_t>(memory), kPages * kPageBytes,
                        [](const MappedRange&) { return true; }));
  EXPECT_LT(bytes_read() - before, 2 * kPages * kLineMax);
  munmap(memory, kPages * kPageBytes);
}

// An AddressMap is of one program: what the process executes later has none of it.
TEST_P(AddressMapTest, EndsWithItsProgram) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  child_ = fork();
  if (child_ == 0) {
    char byte;
    if (read(ends[0], &byte, 1) == 1) execl("/bin/sleep", "sleep", "100", nullptr);
    _exit(1);
  }
  const auto map = GetParam() ? AddressMap::Of(child_) : AddressMap::ByText(child_);
  ASSERT_NE(map, nullptr);
  EXPECT_TRUE(map->alive());
  EXPECT_EQ(map->Shows(mapped_, 8 * kPageBytes, FileIdOf(file_.get()), 2 * kPageBytes), Mapped::kYes);
  ASSERT_EQ(write(ends[1], "x", 1), 1);
  while (map->alive()) std::this_thread::yield();
  EXPECT_EQ(map->Shows(mapped_, 8 * kPageBytes, FileIdOf(file_.get()), 2 * kPageBytes), Mapped::kNo);
}

// Not even where that has a file of the same name in the same place.
TEST_P(AddressMapTest, EndsWithItsProgramThoughTheNextLooksLikeIt) {
  int ends[2], ready[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  ASSERT_EQ(pipe2(ready, O_CLOEXEC), 0);
  const std::string address = std::to_string(mapped_);
  child_ = fork();
  if (child_ == 0) {
    char byte;
    dup2(ready[1], STDOUT_FILENO);
    if (read(ends[0], &byte, 1) == 1)
      execl("/proc/self/exe", "client_test", "map-again", address.c_str(), nullptr);
    _exit(1);
  }
  close(ready[1]);
  const auto map = GetParam() ? AddressMap::Of(child_) : AddressMap::ByText(child_);
  ASSERT_NE(map, nullptr);
  const auto shows = [&] {
    return map->Shows(mapped_, kPagesMapped * kPageBytes, FileIdOf(file_.get()), kFirstPage * kPageBytes);
  };
  EXPECT_EQ(shows(), Mapped::kYes);
  ASSERT_EQ(write(ends[1], "x", 1), 1);
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1) << "the child does not map it again";
  EXPECT_EQ(shows(), Mapped::kNo);
}

}  // namespace

int MapAgain(const char* address) {
  const UniqueFd file = MemoryFile();
  auto* const at = reinterpret_cast<void*>(std::stoull(address));
  if (mmap(at, kPagesMapped * kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE,
           file.get(), kFirstPage * kPageBytes) != at)
    return 1;
  (void)!write(STDOUT_FILENO, "m", 1);
  pause();
  return 0;
}

}  // namespace dxg::client
