// Whether a client under a filter may be visited with the filter in force: the trial of a visit's calls under
// filters that kill and that answer for the kernel, and whose filters are known to be ours.

#include "cuse-dxg/client/seccomp_filters.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <functional>
#include <string>
#include <thread>

#include "base/page.h"
#include "base/unique_fd.h"
#include "cuse-dxg/client/tracee.h"
#include "tests/client/call_filter.h"

namespace dxg::client {
namespace {

// What a child says of what it tries; empty: it was allowed.
std::string InChild(const std::function<Status()>& tried) {
  int ends[2];
  EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
  UniqueFd reads(ends[0]), writes(ends[1]);
  const pid_t child = fork();
  if (child == 0) {
    const Status status = tried();
    const std::string said = status.ok() ? "" : status.why();
    _exit(write(writes.get(), said.data(), said.size()) == static_cast<ssize_t>(said.size()) ? 0 : 1);
  }
  writes.reset();
  std::string said;
  char text[512];
  for (ssize_t got; (got = read(reads.get(), text, sizeof(text))) > 0;)
    said.append(text, static_cast<size_t>(got));
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0) << "whoever makes the trial outlives it";
  return said;
}

std::string TrialUnder(const FilteredCall& call, uint32_t action) {
  return InChild([&] {
    if (!AddFilter(call, action)) return Status::Refuse(EPERM, "no filter");
    return TryVisitCalls();
  });
}

struct TrialRow {
  const char* name;
  FilteredCall call;
  bool may_be_refused = false;    // the visit does without it
  bool used_by_trier = false;     // whom the filter would end too
  const char* seen_at = nullptr;  // where a false answer is seen, if later
};
const TrialRow kTrialRows[] = {
    // By its length too: a sanitizer maps memory in whoever makes the trial.
    {"mmap of a page", {SYS_mmap, {3, ~0u, MAP_PRIVATE | MAP_ANONYMOUS}, {1, ~0u, kPageBytes}}},
    {"socketpair", {SYS_socketpair}},
    {"sendmsg", {SYS_sendmsg}, false, false, "recvmsg with a descriptor"},
    {"recvmsg with a descriptor", {SYS_recvmsg}},
    {"mmap of shared memory", {SYS_mmap, {3, MAP_NORESERVE, MAP_NORESERVE}, {1, ~0u, kPageBytes}}},
    {"madvise", {SYS_madvise, {2, ~0u, MADV_DONTDUMP}}, true},
    {"madvise", {SYS_madvise, {2, ~0u, MADV_HUGEPAGE}}, true},
    {"prlimit64", {SYS_prlimit64}},
    {"fcntl(F_DUPFD)", {SYS_fcntl, {1, ~0u, F_DUPFD_CLOEXEC}}},
    {"close_range", {SYS_close_range}},
    {"munmap", {SYS_munmap}, false, true},
};

// A program in a filter of its own, which an injector that is not may visit only if it can put the filter
// aside.
class Filtered {
 public:
  Filtered() : child_(fork()) {
    if (child_ != 0) return;
    (void)AddFilter({SYS_socketpair}, SECCOMP_RET_KILL_PROCESS);
    prctl(PR_SET_DUMPABLE, 1);
    for (;;) pause();
  }
  ~Filtered() {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  Status Seize() const {
    while (FiltersOf(child_).value_or(SeccompFilters{}).mode == 0) std::this_thread::yield();
    return Tracee::Seize(child_, child_, {}).status();
  }

 private:
  pid_t child_;
};

// What the injector learns when it starts, as the user with whose rights it has to do.
Status SeizeAs(uid_t user) {
  if (user != 0 && (setresuid(user, user, user) != 0 || prctl(PR_SET_DUMPABLE, 1) != 0))
    return Status::Refuse(EPERM, "cannot become user {}", user);
  Tracee::LearnRights();
  if (waitpid(-1, nullptr, WNOHANG) != -1 || errno != ECHILD)
    return Status::Refuse(EBUSY, "the child that was tried is still there");
  return Filtered().Seize();
}

TEST(LearnRights, WithAllRightsFiltersArePutAside) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  EXPECT_EQ(InChild([] { return SeizeAs(0); }), "");
}

TEST(LearnRights, WithoutThemAFilterOfItsOwnIsRefused) {
  const uid_t user = geteuid() == 0 ? 65534 : geteuid();
  const std::string said = InChild([&] { return SeizeAs(user); });
  EXPECT_NE(said.find("filter"), std::string::npos) << said;
}

TEST(SeccompFilters, ATrialWithoutFiltersIsPassed) {
  EXPECT_EQ(InChild(TryVisitCalls), "");
  EXPECT_EQ(TrialUnder({SYS_socketpair}, SECCOMP_RET_ALLOW), "");
}

TEST(SeccompFilters, ACallThatEndsItsCallerIsFoundOut) {
  for (const TrialRow& row : kTrialRows) {
    if (row.used_by_trier) continue;
    EXPECT_EQ(TrialUnder(row.call, SECCOMP_RET_KILL_PROCESS),
              std::string("it ends or holds a process that calls ") + row.name);
    EXPECT_NE(TrialUnder(row.call, SECCOMP_RET_KILL_THREAD), "") << row.name;
    EXPECT_NE(TrialUnder(row.call, SECCOMP_RET_TRAP), "") << row.name;
  }
}

TEST(SeccompFilters, ACallThatIsAnsweredByTheFilterIsFoundOut) {
  for (const TrialRow& row : kTrialRows) {
    for (const uint32_t error : {0, EPERM}) {
      const std::string said = TrialUnder(row.call, SECCOMP_RET_ERRNO | error);
      if (row.may_be_refused) {
        EXPECT_EQ(said, "") << row.name;
      } else {
        const char* seen = error == 0 && row.seen_at != nullptr ? row.seen_at : row.name;
        EXPECT_EQ(said, std::string("it does not let through ") + seen) << row.name;
      }
    }
  }
}

// A visit does without it where a kernel has none.
TEST(SeccompFilters, ATrialOfAnOldKernelIsPassed) {
  EXPECT_EQ(TrialUnder({SYS_close_range}, SECCOMP_RET_ERRNO | ENOSYS), "");
}

constexpr FilteredCall kNobodysCall = {SYS_acct};
constexpr uint32_t kHarmless = SECCOMP_RET_ERRNO | EPERM;

// Of a child that has added a filter, where `more`, and waits.
Status MayVisitAChild(bool more, Family family = {}) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Status::Refuse(errno, "no pipe");
  const pid_t child = fork();
  if (child == 0) {
    if (more && !AddFilter(kNobodysCall, kHarmless)) _exit(1);
    (void)!write(ends[1], "", 1);
    pause();
    _exit(0);
  }
  char ready;
  (void)!read(ends[0], &ready, 1);
  const Status may = MayBeVisitedFiltered(child, child, FiltersOf(child).value(), family);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  return may;
}

TEST(SeccompFilters, AClientWithOurFiltersMayBeVisited) {
  EXPECT_EQ(InChild([] {
              if (!AddFilter(kNobodysCall, kHarmless)) return Status::Refuse(EPERM, "no filter");
              return MayVisitAChild(false);
            }),
            "");
}

TEST(SeccompFilters, AClientWithAFilterOfItsOwnIsRefused) {
  const std::string one = InChild([] { return MayVisitAChild(true); });
  EXPECT_NE(one.find("a sandbox of its own"), std::string::npos) << one;
  const std::string two = InChild([] {
    if (!AddFilter(kNobodysCall, kHarmless)) return Status::Refuse(EPERM, "no filter");
    return MayVisitAChild(true);
  });
  EXPECT_NE(two.find("a sandbox of its own (2 filters; cuse-dxg has 1)"), std::string::npos) << two;
}

// As many filters as ours, which are others: its ancestor and ours had none.
TEST(SeccompFilters, AClientWithAsManyOtherFiltersIsRefused) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  UniqueFd reads(ends[0]), writes(ends[1]);
  const pid_t client = fork();
  if (client == 0) {
    if (!AddFilter(kNobodysCall, kHarmless)) _exit(1);
    (void)!write(writes.get(), "", 1);
    pause();
    _exit(0);
  }
  char ready;
  ASSERT_EQ(read(reads.get(), &ready, 1), 1);
  const auto asked = [client](Family family) {
    return InChild([client, family] {
      if (!AddFilter(kNobodysCall, kHarmless)) return Status::Refuse(EPERM, "no filter");
      return MayBeVisitedFiltered(client, client, FiltersOf(client).value(), family);
    });
  };
  const std::string said = asked({});
  EXPECT_NE(said.find("It is not known to be the filter of cuse-dxg"), std::string::npos) << said;
  EXPECT_EQ(asked(Family{client, 0}), "") << "of the program that was forked with our filters";
  EXPECT_EQ(asked(FamilyOf(client)), "");
  Family elsewhere = FamilyOf(client);
  elsewhere.program = 0;
  ++elsewhere.mounts;
  EXPECT_NE(asked(elsewhere), "");
  kill(client, SIGKILL);
  waitpid(client, nullptr, 0);
}

TEST(SeccompFilters, AnOldKernelDoesNotCountThem) {
  const std::string said = InChild([] {
    if (!AddFilter(kNobodysCall, kHarmless)) return Status::Refuse(EPERM, "no filter");
    return MayBeVisitedFiltered(getpid(), getpid(), {2, -1}, {});
  });
  EXPECT_NE(said.find("Linux 5.9"), std::string::npos) << said;
}

}  // namespace
}  // namespace dxg::client
