#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "base/page.h"
#include "base/unique_fd.h"
#include "cuse-dxg/client/process_vm.h"

namespace dxg::client {
namespace {

constexpr uint64_t kKindPages = 4;

// A child that has mapped something at an address that it chose.
class KindsTest : public testing::Test {
 protected:
  KindsTest() {
    char name[] = "/tmp/dxg-kinds-XXXXXX";
    directory_ = mkdtemp(name);
  }
  ~KindsTest() override {
    if (child_ > 0) {
      kill(child_, SIGKILL);
      waitpid(child_, nullptr, 0);
    }
    std::filesystem::remove_all(directory_);
  }

  // `map` runs in the child.
  void Child(const std::function<void*()>& map) {
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    const UniqueFd from(ends[0]), to(ends[1]);
    child_ = fork();
    if (child_ == 0) {
      void* const mapped = map();
      const auto address = reinterpret_cast<uint64_t>(mapped == MAP_FAILED ? nullptr : mapped);
      (void)!write(to.get(), &address, sizeof(address));
      pause();
      _exit(0);
    }
    ASSERT_EQ(read(from.get(), &address_, sizeof(address_)), static_cast<ssize_t>(sizeof(address_)));
    ASSERT_NE(address_, 0u);
  }
  static void* Map(int flags, int file, int rights = PROT_READ | PROT_WRITE) {
    return mmap(nullptr, kKindPages * kPageBytes, rights, flags, file, 0);
  }
  // Where it was built: memory in no machine.
  static UniqueFd FileBesideTheProgram() {
    const std::string name = std::filesystem::read_symlink("/proc/self/exe").string() + ".kind";
    UniqueFd file(open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    std::filesystem::remove(name);
    EXPECT_EQ(ftruncate(file.get(), kKindPages * kPageBytes), 0);
    return file;
  }
  // A file of a file system of its own, mounted where the others do not see it.
  static int FileOf(const std::string& directory, const char* type, const char* from = "memory") {
    if (geteuid() != 0) {
      const std::string self = fmt::format("0 {} 1", geteuid());
      if (unshare(CLONE_NEWUSER) != 0) return -1;
      std::ofstream("/proc/self/uid_map") << self;
    }
    if (unshare(CLONE_NEWNS) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount(from, directory.c_str(), type, 0, nullptr) != 0)
      return -1;
    const int file = open((directory + "/file").c_str(), O_RDWR | O_CREAT, 0600);
    return ftruncate(file, kKindPages * kPageBytes) == 0 ? file : -1;
  }
  bool CanBePinned(bool writable, uint64_t pages = kKindPages) {
    return access_.Pin(child_, address_, pages * kPageBytes, writable) != nullptr;
  }

  ProcessVm access_;
  std::string directory_;
  pid_t child_ = 0;
  uint64_t address_ = 0;
};

TEST_F(KindsTest, AnyTmpfsIsMemory) {
  Child([&] { return Map(MAP_SHARED, FileOf(directory_, "tmpfs")); });
  EXPECT_TRUE(CanBePinned(true));
  EXPECT_TRUE(CanBePinned(false));
}

TEST_F(KindsTest, FileOfAFileSystemIsForReadersOrACopy) {
  const UniqueFd file = FileBesideTheProgram();
  Child([&] { return Map(MAP_SHARED, file.get()); });
  EXPECT_FALSE(CanBePinned(true));
  EXPECT_TRUE(CanBePinned(false));
}

// Who mounts a file system says what it is mounted from.
TEST_F(KindsTest, AFileSystemIsNotTakenForTheMemoryThatIsMountedFromItsNumber) {
  const UniqueFd file = FileBesideTheProgram();
  Child([&]() -> void* {
    void* const mapped = Map(MAP_SHARED, file.get());
    const auto range = AddressMap::Of(getpid())->At(reinterpret_cast<uint64_t>(mapped));
    const std::string number = fmt::format("{}:{}", major(range->file.device), minor(range->file.device));
    return FileOf(directory_, "tmpfs", number.c_str()) < 0 ? MAP_FAILED : mapped;
  });
  EXPECT_FALSE(CanBePinned(true));
}

TEST_F(KindsTest, PrivateCopyOfAFileIsMemory) {
  const UniqueFd file(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  Child([&] { return Map(MAP_PRIVATE, file.get()); });
  EXPECT_TRUE(CanBePinned(true));
}

TEST_F(KindsTest, BeyondTheEndOfAFileIsNothing) {
  const UniqueFd file(memfd_create("kind", MFD_CLOEXEC));
  ASSERT_EQ(ftruncate(file.get(), 2 * kPageBytes + 1), 0);
  Child([&] { return Map(MAP_SHARED, file.get()); });
  for (const bool writable : {false, true}) {
    EXPECT_TRUE(CanBePinned(writable, 3)) << "the third page is there in part";
    EXPECT_FALSE(CanBePinned(writable, 4));
  }
}

TEST_F(KindsTest, MemoryWithoutAFileIsMemory) {
  Child([&] { return Map(MAP_PRIVATE | MAP_ANONYMOUS, -1); });
  EXPECT_TRUE(CanBePinned(true));
}

TEST_F(KindsTest, SharedMemoryWithoutAFileIsMemory) {
  Child([&] { return Map(MAP_SHARED | MAP_ANONYMOUS, -1); });
  EXPECT_TRUE(CanBePinned(true));
}

TEST_F(KindsTest, ZerosAreMemory) {
  for (const int flags : {MAP_PRIVATE, MAP_SHARED}) {
    const UniqueFd file(open("/dev/zero", O_RDWR | O_CLOEXEC));
    Child([&] { return Map(flags, file.get()); });
    EXPECT_TRUE(CanBePinned(true)) << flags;
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  child_ = 0;
}

}  // namespace
}  // namespace dxg::client
