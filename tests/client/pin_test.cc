// Memory of a client for longer than a call: what it costs to look, and what is kept open for it.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <barrier>
#include <csignal>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/page.h"
#include "cuse-dxg/client/process_vm.h"
#include "tests/client/own_process.h"

namespace dxg::client {
namespace {

// The last page of a process's stack.
uint64_t StackOf(pid_t pid) {
  std::ifstream maps("/proc/" + std::to_string(pid) + "/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.ends_with("[stack]"))
      return std::stoull(line.substr(line.find('-') + 1), nullptr, 16) - kPageBytes;
  }
  return 0;
}

// A child with a run of pages of which every other one is read-only, so that each is a mapping by itself.
class PinTest : public testing::Test {
 protected:
  static constexpr size_t kMappings = 2000;

  void SetUp() override {
    memory_ = static_cast<std::byte*>(
        mmap(nullptr, kMappings * kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(memory_, MAP_FAILED);
    std::memset(memory_, 0x5a, kMappings * kPageBytes);
    for (size_t i = 1; i < kMappings; i += 2)
      ASSERT_EQ(mprotect(memory_ + i * kPageBytes, kPageBytes, PROT_READ), 0);
    child_ = Start();
  }
  void TearDown() override {
    End(child_);
    munmap(memory_, kMappings * kPageBytes);
  }
  static pid_t Start() {
    const pid_t child = fork();
    if (child == 0) {
      pause();
      _exit(0);
    }
    return child;
  }
  static void End(pid_t child) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
  uint64_t Address(size_t page) const { return reinterpret_cast<uint64_t>(memory_) + page * kPageBytes; }

  ProcessVm access_;
  std::byte* memory_ = nullptr;
  pid_t child_ = 0;
};

TEST_F(PinTest, EachRangeIsJudgedByItself) {
  const std::pair<uint64_t, uint64_t> ranges[] = {
      {Address(0), kPageBytes},          {Address(1), kPageBytes},
      {Address(0), 3 * kPageBytes},      {Address(2), 0},
      {Address(2) + 1, kPageBytes},      {Address(kMappings), kPageBytes},
      {~kPageBytes + 1, 2 * kPageBytes}, {Address(4), kPageBytes}};
  std::vector<bool> pinned, pinned_to_read;
  for (const auto& [address, size] : ranges) {
    pinned.push_back(access_.Pin(child_, address, size, true) != nullptr);
    pinned_to_read.push_back(access_.Pin(child_, address, size, false) != nullptr);
  }
  // What lies behind the run is not known; it is somebody's, or nobody's.
  pinned[5] = pinned_to_read[5] = false;
  EXPECT_EQ(pinned, (std::vector<bool>{true, false, false, false, false, false, false, true}));
  EXPECT_EQ(pinned_to_read, (std::vector<bool>{true, true, true, false, false, false, false, true}));
}

TEST_F(PinTest, AnAddressSpaceIsOpenOnce) {
  constexpr size_t kPerSpace = 2;
  const size_t before = OpenDescriptors();
  std::vector<std::unique_ptr<AddressSpace>> all;
  for (size_t i = 0; i < 300; ++i) all.push_back(access_.Pin(child_, Address(0), kPageBytes, true));
  EXPECT_LE(OpenDescriptors(), before + kPerSpace);
  for (const auto& each : all) {
    ASSERT_NE(each, nullptr);
    EXPECT_EQ(each->number(), all.front()->number());
    EXPECT_NE(each->number(), 0u);
  }
  const pid_t other = Start();
  const auto of_other = access_.Pin(other, Address(0), kPageBytes, true);
  ASSERT_NE(of_other, nullptr);
  EXPECT_NE(of_other->number(), all.front()->number());
  const std::byte value[1] = {std::byte{0x11}};
  EXPECT_TRUE(of_other->Write(Address(0), value));
  std::byte seen[1];
  EXPECT_TRUE(all.front()->Read(Address(0), seen));
  EXPECT_EQ(seen[0], std::byte{0x5a});
  End(other);
  all.clear();
  EXPECT_LE(OpenDescriptors(), before + kPerSpace);
}

// Whatever comes first, the number says whether two ranges are of one address space.
TEST_F(PinTest, AnAddressSpaceHasOneNumberAlsoForThoseThatComeAtOnce) {
  constexpr int kThreads = 4, kRounds = 400;
  for (int round = 0; round < kRounds; ++round) {
    ProcessVm access;
    std::barrier begin(kThreads);
    std::array<std::unique_ptr<AddressSpace>, kThreads> all;
    std::vector<std::thread> threads;
    for (auto& each : all) {
      threads.emplace_back([&] {
        begin.arrive_and_wait();
        each = access.Pin(child_, Address(0), kPageBytes, true);
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const auto& each : all) {
      ASSERT_NE(each, nullptr);
      ASSERT_EQ(each->number(), all.front()->number()) << "round " << round;
    }
  }
}

// The number and start time of a process stay when it executes another program; the address space does not.
TEST_F(PinTest, AnotherProgramIsAnotherAddressSpace) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigprocmask(SIG_BLOCK, &usr1, nullptr);
    char byte = 1;
    (void)!write(ready[1], &byte, 1);
    int signal_number;
    sigwait(&usr1, &signal_number);
    dup2(ready[1], 1);
    execl("/bin/sh", "sh", "-c", "echo; kill -STOP $$", nullptr);
    _exit(1);
  }
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  const auto before = access_.Pin(child, Address(0), kPageBytes, true);
  ASSERT_NE(before, nullptr);
  kill(child, SIGUSR1);
  ASSERT_EQ(read(ready[0], &byte, 1), 1);  // the new program says so
  EXPECT_EQ(access_.Pin(child, Address(0), kPageBytes, true), nullptr);
  std::byte seen[1];
  EXPECT_FALSE(before->Read(Address(0), seen));
  const uint64_t stack = StackOf(child);
  const auto after = access_.Pin(child, stack, kPageBytes, true);
  ASSERT_NE(after, nullptr);
  EXPECT_NE(after->number(), before->number());
  EXPECT_TRUE(after->Read(stack, seen));
  End(child);
  close(ready[0]);
  close(ready[1]);
}

}  // namespace
}  // namespace dxg::client
