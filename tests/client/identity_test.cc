// Who a client is, where its name or its pid namespace make that hard to read.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/unique_fd.h"
#include "cuse-dxg/client/process_vm.h"

namespace dxg::client {
namespace {

TEST(Identity, DoesNotDependOnTheName) {
  ProcessVm access;
  char name[16] = {};
  prctl(PR_GET_NAME, name);
  const auto before = access.Identify(getpid());
  prctl(PR_SET_NAME, "a) R 1 (b) 2");
  const auto after = access.Identify(getpid());
  prctl(PR_SET_NAME, name);
  ASSERT_TRUE(before && after);
  EXPECT_GT(before->start_time, 0u);
  EXPECT_EQ(after->start_time, before->start_time);
  EXPECT_EQ(after->name, "a) R 1 (b) 2");
  EXPECT_TRUE(after->SameProcess(*before));
}

// The first process of a pid namespace: it knows itself as 1.
TEST(Identity, HasTheNumberThatTheClientKnows) {
  int pid_ends[2], live_ends[2];
  ASSERT_EQ(pipe(pid_ends), 0);
  ASSERT_EQ(pipe(live_ends), 0);
  const pid_t parent = fork();
  if (parent == 0) {
    close(live_ends[1]);
    if (unshare(CLONE_NEWPID) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0) _exit(1);
    const pid_t inner = fork();
    char end;
    if (inner == 0) _exit(read(live_ends[0], &end, 1) == 0 ? 0 : 1);
    _exit(write(pid_ends[1], &inner, sizeof(inner)) == sizeof(inner) && waitpid(inner, nullptr, 0) == inner
              ? 0
              : 1);
  }
  close(pid_ends[1]);
  close(live_ends[0]);
  UniqueFd from_parent(pid_ends[0]), live(live_ends[1]);
  pid_t inner = 0;
  ASSERT_EQ(read(from_parent.get(), &inner, sizeof(inner)), static_cast<ssize_t>(sizeof(inner)))
      << "no pid namespace can be made here";
  const auto identity = ProcessVm().Identify(inner);
  ASSERT_TRUE(identity);
  EXPECT_EQ(identity->tgid, inner);
  EXPECT_EQ(identity->own_pid, 1);
  live.reset();
  int status = -1;
  EXPECT_EQ(waitpid(parent, &status, 0), parent);
  EXPECT_EQ(status, 0);
}

bool Write(const char* path, const std::string& text) {
  const UniqueFd file(open(path, O_WRONLY | O_CLOEXEC));
  return write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

// Of two user namespaces, one in the other, the outer one's maker: ids in there are no further users.
TEST(Identity, HasTheOwnerOfTheOutermostUserNamespace) {
  constexpr uid_t kNobody = 65534;
  const uid_t owner = geteuid() == 0 ? kNobody : geteuid();
  int made_ends[2], live_ends[2];
  ASSERT_EQ(pipe(made_ends), 0);
  ASSERT_EQ(pipe(live_ends), 0);
  // Not fork(): ThreadSanitizer would start its thread in the child, and only one thread may change its user
  // namespace.
  const auto child = static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
  if (child == 0) {
    close(live_ends[1]);
    char end;
    const gid_t gid = getegid();
    const std::string map = fmt::format("0 {} 1", owner);
    const bool made = (geteuid() == owner || setuid(owner) == 0) && prctl(PR_SET_DUMPABLE, 1) == 0 &&
                      unshare(CLONE_NEWUSER) == 0 && Write("/proc/self/uid_map", map) &&
                      Write("/proc/self/setgroups", "deny") &&
                      Write("/proc/self/gid_map", fmt::format("0 {} 1", gid)) && unshare(CLONE_NEWUSER) == 0;
    if (write(made_ends[1], made ? "y" : "n", 1) != 1) _exit(1);
    _exit(read(live_ends[0], &end, 1) == 0 ? 0 : 1);
  }
  close(made_ends[1]);
  close(live_ends[0]);
  UniqueFd from_child(made_ends[0]), live(live_ends[1]);
  char made = 0;
  ASSERT_EQ(read(from_child.get(), &made, 1), 1);
  ASSERT_EQ(made, 'y') << "no user namespace can be made here";
  const auto identity = ProcessVm().Identify(child);
  ASSERT_TRUE(identity);
  EXPECT_EQ(identity->namespace_owner, owner);
  EXPECT_EQ(ProcessVm().Identify(getpid())->namespace_owner, std::nullopt);
  live.reset();
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace dxg::client
