#include "cuse-dxg/client/process_vm.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <vector>

#include "base/page.h"

namespace dxg::client {
namespace {

// A child with a readable page, a read-only page behind it, and nothing behind that.
class ProcessVmTest : public testing::Test {
 protected:
  void SetUp() override {
    memory_ = static_cast<std::byte*>(
        mmap(nullptr, 3 * kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(memory_, MAP_FAILED);
    std::memset(memory_, 0x5a, 2 * kPageBytes);
    ASSERT_EQ(mprotect(memory_ + kPageBytes, kPageBytes, PROT_READ), 0);
    ASSERT_EQ(munmap(memory_ + 2 * kPageBytes, kPageBytes), 0);
    child_ = fork();
    if (child_ == 0) {
      pause();
      _exit(0);
    }
    ASSERT_GT(child_, 0);
  }
  void TearDown() override {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
    munmap(memory_, 2 * kPageBytes);
  }
  uint64_t Address(size_t offset) const { return reinterpret_cast<uint64_t>(memory_) + offset; }

  ProcessVm access_;
  std::byte* memory_ = nullptr;
  pid_t child_ = 0;
  std::byte buffer_[16] = {};
};

TEST_F(ProcessVmTest, ReadsWhatIsThere) {
  EXPECT_TRUE(access_.Read(child_, Address(kPageBytes - 8), buffer_));
  EXPECT_EQ(buffer_[15], std::byte{0x5a});
}

TEST_F(ProcessVmTest, ReadThatRunsOffTheEndFails) {
  EXPECT_FALSE(access_.Read(child_, Address(2 * kPageBytes - 15), buffer_));
}
TEST_F(ProcessVmTest, NullAndKernelAddressesFail) {
  EXPECT_FALSE(access_.Read(child_, 0, buffer_));
  EXPECT_FALSE(access_.Read(child_, 0xffff888000000000, buffer_));
  EXPECT_FALSE(access_.Write(child_, 0, buffer_));
}

TEST_F(ProcessVmTest, ReadOnlyMemoryCannotBeWritten) {
  EXPECT_TRUE(access_.Read(child_, Address(kPageBytes), buffer_));
  EXPECT_FALSE(access_.Write(child_, Address(kPageBytes), buffer_));
  EXPECT_FALSE(access_.Write(child_, Address(kPageBytes - 8), buffer_)) << "half of it is read-only";
}

TEST_F(ProcessVmTest, WritesReachTheChildAlone) {
  const std::byte value[1] = {std::byte{0x77}};
  EXPECT_TRUE(access_.Write(child_, Address(0), value));
  EXPECT_TRUE(access_.Read(child_, Address(0), std::span(buffer_, 1)));
  EXPECT_EQ(buffer_[0], std::byte{0x77});
  EXPECT_EQ(memory_[0], std::byte{0x5a});
}

// More than one system call takes, of which one may be bad.
TEST_F(ProcessVmTest, SeveralPlacesAreReadAndWrittenInOneGo) {
  constexpr size_t kMany = 200;
  std::byte values[kMany], back[kMany] = {};
  std::vector<WritePiece> pieces;
  std::vector<ReadPiece> reads;
  for (size_t i = 0; i < kMany; ++i) {
    values[i] = static_cast<std::byte>(i);
    pieces.push_back({Address(7 * i), std::span(values + i, 1)});
    reads.push_back({Address(7 * i), std::span(back + i, 1)});
  }
  EXPECT_TRUE(access_.WritePieces(child_, pieces));
  EXPECT_TRUE(access_.ReadPieces(child_, reads));
  EXPECT_EQ(std::memcmp(values, back, kMany), 0);
  for (const size_t bad : {size_t{0}, kMany / 2, kMany - 1}) {
    std::vector<ReadPiece> wrong = reads;
    std::vector<WritePiece> read_only = pieces;
    wrong[bad].address = Address(2 * kPageBytes);
    read_only[bad].address = Address(kPageBytes);
    EXPECT_FALSE(access_.ReadPieces(child_, wrong)) << bad;
    EXPECT_FALSE(access_.WritePieces(child_, read_only)) << bad;
  }
}

TEST_F(ProcessVmTest, IdentityIsOfTheThreadGroup) {
  const auto identity = access_.Identify(child_);
  ASSERT_TRUE(identity);
  EXPECT_EQ(identity->tgid, child_);
  EXPECT_EQ(identity->pid_namespace, access_.PidNamespace(getpid()));
  EXPECT_NE(identity->start_time, 0u);
  EXPECT_TRUE(access_.InGroup(child_, child_));
  EXPECT_FALSE(access_.InGroup(child_, getpid()));
}

// An answer holds for a tick of the coarse clock, and no longer.
TEST_F(ProcessVmTest, AGroupIsAskedForAgain) {
  const pid_t gone = fork();
  if (gone == 0) {
    pause();
    _exit(0);
  }
  EXPECT_TRUE(access_.InGroup(gone, gone));
  EXPECT_FALSE(access_.InGroup(gone, getpid()));
  kill(gone, SIGKILL);
  waitpid(gone, nullptr, 0);
  timespec first{}, now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &first);
  do clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  while (now.tv_nsec == first.tv_nsec);
  EXPECT_FALSE(access_.InGroup(gone, gone));
}

TEST_F(ProcessVmTest, ThreadThatIsGoneHasNoIdentity) {
  const pid_t gone = fork();
  if (gone == 0) _exit(0);
  waitpid(gone, nullptr, 0);
  EXPECT_FALSE(access_.Identify(gone));
  EXPECT_FALSE(access_.InGroup(gone, gone));
  EXPECT_FALSE(access_.Read(gone, Address(0), buffer_));
}

}  // namespace
}  // namespace dxg::client
