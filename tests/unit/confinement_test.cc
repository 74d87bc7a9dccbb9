// What a process of ours can no longer do, tried in a child each time: the kernel's word is the test's.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <string>
#include <thread>

#include "base/confinement/capabilities.h"
#include "base/confinement/files.h"
#include "base/confinement/keeper.h"
#include "base/confinement/system_calls.h"
#include "base/unix_socket.h"

namespace dxg::confinement {
namespace {

constexpr int kNotConfined = 77;

// How a child that runs `body` ends: its exit status, or 128 and the signal.
int EndOf(const std::function<int()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(null, STDERR_FILENO);
    _exit(body());
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// The line of /proc/self/status with that key, without it.
std::string StatusLine(const std::string& key) {
  std::ifstream status("/proc/thread-self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key + ":\t")) return line.substr(key.size() + 2);
  }
  return "";
}

// -- System calls ---------------------------------------------------------------------------------

struct Call {
  const char* name;
  std::function<int()> make;  // 0 where it was made
};

// They are made, too, where they are only logged: so with arguments that fail.
const Call kForbidden[] = {
    {"execve", [] { return execl("/bin/true", "true", nullptr); }},
    {"fork", [] { return static_cast<int>(syscall(SYS_fork)); }},
    {"clone", [] { return static_cast<int>(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)); }},
    {"ptrace", [] { return static_cast<int>(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr)); }},
    {"mount", [] { return mount("none", "/nowhere", "proc", 0, nullptr); }},
    {"umount2", [] { return umount2("/nowhere", MNT_DETACH); }},
    {"unshare", [] { return static_cast<int>(syscall(SYS_unshare, CLONE_NEWNS)); }},
    {"setuid", [] { return setuid(65534); }},
    {"capset", [] { return static_cast<int>(syscall(SYS_capset, nullptr, nullptr)); }},
    {"chmod", [] { return chmod("/nowhere", 0777); }},
    {"mknod", [] { return mknod("/nowhere/node", S_IFCHR | 0600, 0); }},
    {"rename", [] { return rename("/nowhere/a", "/nowhere/b"); }},
    {"openat for a new file",
     [] { return open("/nowhere/new", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600); }},
    {"openat for a file without a name",
     [] { return open("/nowhere", O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600); }},
    {"socket of the internet", [] { return socket(AF_INET, SOCK_STREAM, 0); }},
    {"socket of packets", [] { return socket(AF_PACKET, SOCK_RAW, 0); }},
    {"socket of netlink", [] { return socket(AF_NETLINK, SOCK_RAW, 0); }},
    {"bind", [] { return bind(0, nullptr, 0); }},
    {"mmap of code",
     [] {
       return mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
              MAP_FAILED;
     }},
    {"mprotect to code",
     [] {
       void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
       return mprotect(page, 4096, PROT_READ | PROT_EXEC);
     }},
    {"ioctl that types into a terminal", [] { return ioctl(-1, TIOCSTI, "x"); }},
    {"signal to another", [] { return kill(getppid(), 0); }},
    {"signal to another by a file", [] { return fcntl(0, F_SETOWN, getppid()); }},
    {"prlimit of another",
     [] { return static_cast<int>(syscall(SYS_prlimit64, getppid(), 7, nullptr, nullptr)); }},
    {"prctl that asks for more", [] { return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); }},
    {"bpf", [] { return static_cast<int>(syscall(SYS_bpf, 0, nullptr, 0)); }},
    {"io_uring_setup", [] { return static_cast<int>(syscall(SYS_io_uring_setup, 1, nullptr)); }},
    {"userfaultfd", [] { return static_cast<int>(syscall(SYS_userfaultfd, 0)); }},
    {"process_vm_readv",
     [] { return static_cast<int>(syscall(SYS_process_vm_readv, getppid(), nullptr, 0, nullptr, 0, 0)); }},
    {"pidfd_getfd", [] { return static_cast<int>(syscall(SYS_pidfd_getfd, 0, 0, 0)); }},
    // By numbers of other interfaces, which no list names.
    {"call of the x32 interface", [] { return static_cast<int>(syscall(0x40000000 | SYS_getpid)); }},
};

#ifdef DXG_SANITIZED
TEST(SystemCalls, AreNotFilteredBesideSanitizers) {
  EXPECT_EQ(EndOf([] { return AllowOnly({}, Forbidden::kKill).value() == -ENOTSUP ? 0 : 1; }), 0);
}
#else
TEST(SystemCalls, AForbiddenOneEndsTheProcess) {
  for (const Call& call : kForbidden) {
    const int end = EndOf([&call] {
      if (!AllowOnly({}, Forbidden::kKill).ok()) return kNotConfined;
      call.make();
      return 0;
    });
    EXPECT_EQ(end, 128 + SIGSYS) << call.name;
  }
}

TEST(SystemCalls, AForbiddenOneIsOnlyLoggedWhereThatIsAskedFor) {
  for (const Call& call : kForbidden) {
    const int end = EndOf([&call] {
      if (!AllowOnly({}, Forbidden::kLog).ok()) return kNotConfined;
      call.make();  // some fail, each for a reason of its own
      return 0;
    });
    EXPECT_EQ(end, 0) << call.name;
  }
}

TEST(SystemCalls, ThreadsThatWereThereBeforeAreHeldToo) {
  const int end = EndOf([] {
    std::atomic<bool> closed = false;
    std::thread before([&closed] {
      while (!closed) std::this_thread::yield();
      (void)socket(AF_INET, SOCK_STREAM, 0);
    });
    if (!AllowOnly({}, Forbidden::kKill).ok()) _exit(kNotConfined);
    closed = true;
    before.join();
    return 0;
  });
  EXPECT_EQ(end, 128 + SIGSYS);
}

TEST(SystemCalls, WhatAProgramOfOursDoesIsAllowed) {
  const int end = EndOf([] {
    SystemCalls calls;
    calls.other_processes = true;
    calls.signalled = getppid();
    calls.ioctls = {FIOASYNC};
    if (!AllowOnly(calls, Forbidden::kKill).ok()) return kNotConfined;
    std::thread thread([] { prctl(PR_SET_NAME, "thread", 0, 0, 0); });
    thread.join();
    int off = 0;
    const bool ioctls = ioctl(socket(AF_UNIX, SOCK_STREAM, 0), FIOASYNC, &off) == 0 && isatty(0) >= 0;
    const bool signals = kill(getppid(), 0) == 0 && syscall(SYS_tgkill, getppid(), getppid(), 0) == 0;
    char there = 0, here = 0;
    const iovec to = {&here, 1}, from = {&there, 1};
    const bool memory = process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1;
    const bool files = std::ifstream("/proc/self/status").good();
    return ioctls && signals && memory && files ? 0 : 1;
  });
  EXPECT_EQ(end, 0);
}

TEST(SystemCalls, OneProgramIsSignalledAndNoOther) {
  EXPECT_EQ(EndOf([] {
              SystemCalls calls;
              calls.signalled = getppid();
              if (!AllowOnly(calls, Forbidden::kKill).ok()) return kNotConfined;
              return kill(1, 0);
            }),
            128 + SIGSYS);
  EXPECT_EQ(EndOf([] {
              SystemCalls calls;
              calls.other_processes = true;
              if (!AllowOnly(calls, Forbidden::kKill).ok()) return kNotConfined;
              return static_cast<int>(syscall(SYS_tgkill, getppid(), getppid(), SIGWINCH));
            }),
            128 + SIGSYS);
}
#endif

TEST(SystemCalls, AreAllAllowedWithoutASandbox) {
  EXPECT_EQ(EndOf([] {
              if (!AllowOnly({}, Forbidden::kAllow).ok()) return kNotConfined;
              return StatusLine("Seccomp") == "2" || StatusLine("NoNewPrivs") == "1" ? 1 : 0;
            }),
            0);
}

TEST(SystemCalls, WhatIsForbiddenHasNames) {
  EXPECT_EQ(ForbiddenOf("kill"), Forbidden::kKill);
  EXPECT_EQ(ForbiddenOf("log"), Forbidden::kLog);
  EXPECT_EQ(ForbiddenOf("off"), Forbidden::kAllow);
}

// -- Capabilities ---------------------------------------------------------------------------------

TEST(CapabilitiesTest, WhatIsNotKeptIsGoneForGood) {
  const Capabilities before = OwnCapabilities();
  const int end = EndOf([before] {
    const Capabilities kept = Only(CAP_SYS_PTRACE) | Only(CAP_DAC_OVERRIDE);
    if (!KeepCapabilities(kept).ok()) return 1;
    if (OwnCapabilities() != (before & kept)) return 2;
    if (StatusLine("CapPrm") != StatusLine("CapEff")) return 3;
    if (StatusLine("CapInh") != "0000000000000000" || StatusLine("CapAmb") != "0000000000000000") return 4;
    // A user has nothing in it that a program of his could get.
    if ((before & Only(CAP_SETPCAP)) != 0 && StatusLine("CapBnd") != "0000000000000000") return 5;
    return 0;
  });
  EXPECT_EQ(end, 0);
}

// As root: a program of root's gets all rights, unless the bounding set is empty.
TEST(CapabilitiesTest, AProgramThatIsExecutedHasThoseThatAreInherited) {
  const auto executed = [](Capabilities inherited) {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    EndOf([&] {
      if (!KeepCapabilities(Only(CAP_SYS_PTRACE) | Only(CAP_KILL), inherited).ok()) return 1;
      dup2(ends[1], STDOUT_FILENO);
      return execl("/bin/grep", "grep", "CapEff", "/proc/self/status", nullptr);
    });
    close(ends[1]);
    char text[64] = {};
    EXPECT_GT(read(ends[0], text, sizeof(text) - 1), 8);
    close(ends[0]);
    return std::strtoull(text + 8, nullptr, 16);
  };
  const Capabilities own = OwnCapabilities();
  EXPECT_EQ(executed(0), 0u);
  EXPECT_EQ(executed(Only(CAP_SYS_PTRACE)), own & Only(CAP_SYS_PTRACE));
}

TEST(CapabilitiesTest, HaveNames) {
  EXPECT_EQ(NamesOf(0), "none");
  EXPECT_EQ(NamesOf(Only(CAP_SYS_PTRACE) | Only(CAP_DAC_OVERRIDE)), "CAP_DAC_OVERRIDE CAP_SYS_PTRACE");
  EXPECT_EQ(NamesOf(Only(CAP_KILL) | Only(CAP_SYS_TIME)), "CAP_KILL 0x2000000");
}

// -- Files ----------------------------------------------------------------------------------------

class FilesTest : public testing::Test {
 protected:
  FilesTest() {
    char name[] = "/tmp/dxg-files-XXXXXX";
    directory_ = mkdtemp(name);
    for (const char* file : {"/window", "/other", "/socket"}) std::ofstream(directory_ + file) << "x";
  }
  ~FilesTest() override { (void)!system(("rm -rf " + directory_).c_str()); }

  // What the child can do after TouchOnly. -1: this kernel has no Landlock, which is no failure.
  int After(const std::function<int()>& body) {
    return EndOf([&] {
      const Status confined = TouchOnly({.opened = {directory_ + "/window"}, .emptied = {directory_}});
      if (!confined.ok()) return confined.value() == -ENOSYS || confined.value() == -EOPNOTSUPP ? 0 : 1;
      return body();
    });
  }
  int Open(const char* name, int flags) {
    const int file = open((directory_ + name).c_str(), flags | O_CLOEXEC, 0600);
    return file >= 0 ? 0 : errno;
  }

  std::string directory_;
};

TEST_F(FilesTest, OnlyWhatIsNamedIsOpened) {
  EXPECT_EQ(After([&] { return Open("/window", O_RDWR); }), 0);
  EXPECT_EQ(After([&] { return Open("/other", O_RDONLY) == EACCES ? 0 : 2; }), 0);
  EXPECT_EQ(After([&] { return Open("/new", O_WRONLY | O_CREAT) == EACCES ? 0 : 2; }), 0);
  EXPECT_EQ(After([&] { return open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES ? 0 : 2; }), 0);
  EXPECT_EQ(After([&] { return open("/etc", O_RDONLY | O_DIRECTORY) < 0 && errno == EACCES ? 0 : 2; }), 0);
  EXPECT_EQ(After([&] {
              execl("/bin/true", "true", nullptr);
              return errno == EACCES ? 0 : 2;
            }),
            0);
}

TEST_F(FilesTest, OnlyThereIsSomethingRemoved) {
  EXPECT_EQ(After([&] { return unlink((directory_ + "/socket").c_str()); }), 0);
  std::ofstream("/tmp/dxg-files-beside") << "x";
  EXPECT_EQ(After([&] { return unlink("/tmp/dxg-files-beside") < 0 && errno == EACCES ? 0 : 2; }), 0);
  unlink("/tmp/dxg-files-beside");
}

TEST_F(FilesTest, WhatIsOpenStaysOpen) {
  const UniqueFd file(open((directory_ + "/other").c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(After([&] {
              char byte;
              return read(file.get(), &byte, 1) == 1 ? 0 : 2;
            }),
            0);
}

// -- The keeper -----------------------------------------------------------------------------------

TEST(KeeperTest, DoesWhatItIsAskedForAndNothingElse) {
  int calls = 0;
  auto keeper =
      Keeper::Start([] { return Status::Ok(); },
                    {[&calls](const std::vector<UniqueFd>&) { return ++calls; },
                     [](const std::vector<UniqueFd>& files) { return static_cast<int>(files.size()); }});
  ASSERT_TRUE(keeper.ok()) << keeper.status().why();
  EXPECT_EQ((*keeper)->Ask(0), 1);
  EXPECT_EQ((*keeper)->Ask(0), 2);
  EXPECT_EQ(calls, 0) << "it has a memory of its own";
  const int files[] = {0, 1};
  EXPECT_EQ((*keeper)->Ask(1, files), 2);
  EXPECT_EQ((*keeper)->Ask(2), -EINVAL);
  EXPECT_EQ((*keeper)->Ask(~0u), -EINVAL);
}

TEST(KeeperTest, HasNothingOpenButItsSocketAndStderr) {
  const UniqueFd open_here(open("/dev/null", O_RDONLY));
  auto keeper = Keeper::Start([] { return Status::Ok(); }, {[](const std::vector<UniqueFd>&) {
                                int count = 0;
                                for (int file = 0; file < 1000; ++file) count += fcntl(file, F_GETFD) >= 0;
                                return count;
                              }});
  ASSERT_TRUE(keeper.ok());
  EXPECT_EQ((*keeper)->Ask(0), 4);
}

TEST(KeeperTest, ThatCannotSettleIsRefused) {
  const auto keeper = Keeper::Start([] { return Status::Refuse(EPERM, "not today"); }, {});
  EXPECT_EQ(keeper.status().value(), -EPERM);
}

TEST(KeeperTest, ThatWasKilledIsAnError) {
  auto keeper = Keeper::Start([] { return Status::Ok(); }, {[](const std::vector<UniqueFd>&) { return 0; }});
  ASSERT_TRUE(keeper.ok());
  kill((*keeper)->pid(), SIGKILL);
  siginfo_t ended = {};
  waitid(P_PID, static_cast<id_t>((*keeper)->pid()), &ended, WEXITED | WNOWAIT);
  EXPECT_EQ((*keeper)->Ask(0), -ECONNRESET);
}

TEST(KeeperTest, StartsAProgramAsAChildOfTheAsker) {
  auto keeper = Keeper::Start([] { return Status::Ok(); }, {[](const std::vector<UniqueFd>& files) {
                                return ExecuteForAsker({"/bin/sh", "-c", "echo hello >&3"}, files.at(0), 3);
                              }});
  ASSERT_TRUE(keeper.ok());
  auto ends = MakeSocketPair(SOCK_STREAM);
  const int theirs = ends->second.get();
  const int32_t pid = (*keeper)->Ask(0, std::span(&theirs, 1));
  ASSERT_GT(pid, 0);
  ends->second.reset();
  char text[16] = {};
  EXPECT_EQ(read(ends->first.get(), text, sizeof(text)), 6);
  int status = 0;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace dxg::confinement
