// Memory of a client for longer than a call: what it costs to look, and what is kept open for it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <barrier>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/page.h"
#include "base/unique_fd.h"
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

// clone(2) of a process that goes on in the same memory. It has its maker's thread-local storage too, in
// which ThreadSanitizer keeps the state of one thread, so that sanitizer may know neither of the call nor of
// what the process does.
extern "C" int CloneUnseen(int (*runs)(void*), void* stack_end, int flags, void* argument) __asm__("__clone");
__attribute__((no_sanitize("thread"))) int StayUntilParentEnds(void* /*unused*/) {
  syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
  for (;;) syscall(SYS_pause);
}

// A process may share its memory with one that goes on when it executes another program itself: what was
// pinned is still there, and the process's number names the new program. For a page that is not there yet
// nothing of that program is touched.
TEST_F(PinTest, NothingOfAnotherProgramIsBroughtIn) {
  int ready[2], go[2];
  ASSERT_EQ(pipe2(ready, O_CLOEXEC), 0);
  ASSERT_EQ(pipe2(go, O_CLOEXEC), 0);
  void* const fresh = mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(fresh, MAP_FAILED);
  const auto address = reinterpret_cast<uint64_t>(fresh);
  const std::string text = std::to_string(address);
  const pid_t child = fork();
  if (child == 0) {
    dup2(go[0], STDIN_FILENO);
    dup2(ready[1], STDOUT_FILENO);
    alignas(16) static std::byte stack[1 << 16];
    char byte = 1;
    if (CloneUnseen(StayUntilParentEnds, std::end(stack), CLONE_VM, nullptr) > 0 &&
        write(STDOUT_FILENO, "m", 1) == 1 && read(STDIN_FILENO, &byte, 1) == 1)
      execl("/proc/self/exe", "client_test", "stay-untouched", text.c_str(), nullptr);
    _exit(2);
  }
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  const auto before = access_.Pin(child, address, kPageBytes, true);
  ASSERT_NE(before, nullptr);
  ASSERT_EQ(write(go[1], "e", 1), 1);
  ASSERT_EQ(read(ready[0], &byte, 1), 1);  // the new program has mapped a page of its own there
  std::byte seen[1];
  EXPECT_TRUE(before->Read(address, seen));
  ASSERT_EQ(write(go[1], "l", 1), 1);
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0) << "1: its page is there";
  for (const int end : {ready[0], ready[1], go[0], go[1]}) close(end);
  munmap(fresh, kPageBytes);
}

// A page that is there when its own process has filled it, and that process maps memory before it does: the
// lock of its address space is not held while one of us waits for the page.
class FilledByItsProcess : public testing::Test {
 protected:
  void SetUp() override {
    page_ = static_cast<std::byte*>(
        mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(page_, MAP_FAILED);
    ASSERT_EQ(pipe(ready_), 0);
    child_ = fork();
    if (child_ == 0) {
      Fill(ready_[1]);
      _exit(1);
    }
    char byte = 0;
    ASSERT_EQ(read(ready_[0], &byte, 1), 1);
    if (byte == 'n') GTEST_SKIP() << "this kernel or user has no userfaultfd";
    pinned_ = access_.Pin(child_, Address(), kPageBytes, true);
    ASSERT_NE(pinned_, nullptr);
  }
  void TearDown() override {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
    for (const int end : ready_) close(end);
    munmap(page_, kPageBytes);
  }
  uint64_t Address() const { return reinterpret_cast<uint64_t>(page_); }

  ProcessVm access_;
  pid_t child_ = 0;
  std::byte* page_ = nullptr;
  std::unique_ptr<AddressSpace> pinned_;

 private:
  void Fill(int ready) const {
    const UniqueFd faults(static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC)));
    uffdio_api api = {.api = UFFD_API, .features = 0, .ioctls = 0};
    uffdio_register range = {{Address(), kPageBytes}, UFFDIO_REGISTER_MODE_MISSING, 0};
    const bool has = faults.valid() && ioctl(faults.get(), UFFDIO_API, &api) == 0 &&
                     ioctl(faults.get(), UFFDIO_REGISTER, &range) == 0;
    if (write(ready, has ? "y" : "n", 1) != 1) _exit(1);
    static std::byte filling[kPageBytes];
    std::memset(filling, 0x77, sizeof(filling));
    for (uffd_msg asked; read(faults.get(), &asked, sizeof(asked)) == sizeof(asked);) {
      if (mmap(nullptr, kPageBytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) _exit(1);
      uffdio_copy copy = {Address(), reinterpret_cast<uint64_t>(filling), kPageBytes, 0, 0};
      ioctl(faults.get(), UFFDIO_COPY, &copy);
    }
  }

  int ready_[2] = {-1, -1};
};

TEST_F(FilledByItsProcess, IsRead) {
  std::byte seen[2] = {};
  EXPECT_TRUE(pinned_->Read(Address() + 10, seen));
  EXPECT_EQ(seen[1], std::byte{0x77});
}

TEST_F(FilledByItsProcess, IsWritten) {
  const std::byte value[1] = {std::byte{0x11}};
  EXPECT_TRUE(pinned_->Write(Address(), value));
  std::byte seen[2] = {};
  EXPECT_TRUE(pinned_->Read(Address(), seen));
  EXPECT_EQ(seen[0], value[0]);
  EXPECT_EQ(seen[1], std::byte{0x77});
}

}  // namespace

int StayUntouched(const char* address) {
  auto* const at = reinterpret_cast<void*>(std::stoull(address));
  char byte;
  if (mmap(at, kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
           0) != at ||
      write(STDOUT_FILENO, "m", 1) != 1 || read(STDIN_FILENO, &byte, 1) != 1)
    return 2;
  const UniqueFd pagemap(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  uint64_t entry = 0;
  const auto where = static_cast<off_t>(std::stoull(address) / kPageBytes * sizeof(entry));
  if (pread(pagemap.get(), &entry, sizeof(entry), where) != sizeof(entry)) return 2;
  return entry >> 63 ? 1 : 0;
}

}  // namespace dxg::client
