// The races of a client that wants us to touch somebody else, each held open by the test: at every step of a
// visit and of the taking of a descriptor, the client dies, executes another program, or is replaced by a
// process of its number. Nothing of that process is touched: its wait is not disturbed, its memory stays
// mapped as it was, its eventfd is not signalled.
//
// The injector is the real one. The client's call is an ioctl that copies from a page which userfaultfd keeps
// back, so the kernel holds the thread in it for as long as the test likes. Needs root.
//
// ATTACK_SEEDS=N repeats all with N seeds. A seed decides which of the client's threads calls.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/sched.h>
#include <linux/userfaultfd.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <sstream>
#include <string>
#include <thread>

#include "base/page.h"
#include "base/unique_fd.h"
#include "base/unix_socket.h"
#include "cuse-dxg/client/agents.h"
#include "cuse-dxg/client/injector.h"
#include "cuse-dxg/client/injector_process.h"
#include "cuse-dxg/client/process_vm.h"
#include "cuse-dxg/client/waiting.h"
#include "cuse-dxg/preload/protocol.h"
#include "tests/client/own_process.h"

namespace dxg::client {
namespace {

constexpr uid_t kNobody = 65534;
constexpr int kSocket = 10;  // to the test; stays open over an exec
constexpr int kNamed = 11;   // the eventfd that the client names; in every program another one
constexpr uint32_t kCode = FIONBIO;
constexpr int kAbove = kNamed + 1;

enum class Kind { kDies, kExecs, kExecsSetuid, kHasItsOwnTable, kIsReplaced };
constexpr const char* kKindNames[] = {"dies", "execs", "execs-setuid", "own-table", "is-replaced"};
enum class At { kReceived, kBeforeSeize, kAfterSeize, kBeforeMapping, kBeforeAnswer, kAsked, kTaken };
constexpr const char* kAtNames[] = {"received",      "before-seize",     "after-seize",     "before-mapping",
                                    "before-answer", "descriptor-asked", "descriptor-taken"};
constexpr size_t kKinds = std::size(kKindNames), kSteps = std::size(kAtNames);

// Under that number, also where the file has it already. dup2 then leaves the file as it is, and an exec
// closes it.
void MoveTo(int file, int number, int flags) {
  const UniqueFd above(fcntl(file, F_DUPFD_CLOEXEC, kAbove));
  close(file);
  dup3(above.get(), number, flags);
}

// -- The other programs ---------------------------------------------------------------------------

struct Hello {
  pid_t tid;
  uint64_t argument;
};

void NameAnEventfd() { MoveTo(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), kNamed, O_CLOEXEC); }

// Waits to be told, and says whether anything else has happened to it: an errno, or 0.
int RunVictim() {
  NameAnEventfd();
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event = {.events = EPOLLIN, .data = {}};
  epoll_ctl(epoll, EPOLL_CTL_ADD, kSocket, &event);
  (void)!send(kSocket, "r", 1, 0);
  if (epoll_wait(epoll, &event, 1, -1) != 1) return errno;
  uint64_t count = 0;
  return read(kNamed, &count, sizeof(count)) < 0 && errno == EAGAIN ? 0 : EBUSY;
}

class ClientProgram {
 public:
  int Run(Kind kind, bool leader_calls, const char* next_program) {
    NameAnEventfd();
    KeepAPageBack();
    if (kind == Kind::kExecsSetuid &&
        (setresgid(kNobody, kNobody, kNobody) != 0 || setresuid(kNobody, kNobody, kNobody) != 0))
      return 1;
    const auto call = [&] {
      if (kind == Kind::kHasItsOwnTable) {
        if (unshare(CLONE_FILES) != 0) return;
        NameAnEventfd();
      }
      const Hello hello = {gettid(), page_};
      (void)!send(kSocket, &hello, sizeof(hello), 0);
      (void)ioctl(kNamed, kCode, page_);
      for (;;) pause();
    };
    const auto obey = [&] {
      for (char order; recv(kSocket, &order, 1, 0) == 1;) {
        if (order == 'a') LetThePageGo();
        if (order == 'p') MoveTo(open("/etc/passwd", O_PATH | O_CLOEXEC), kNamed, O_CLOEXEC);
        if (order == 'r') MoveTo(open("/etc/passwd", O_RDONLY | O_CLOEXEC), kNamed, O_CLOEXEC);
        if (order == 'p' || order == 'r') (void)!send(kSocket, &order, 1, 0);
        if (order == 'x') execl(next_program, next_program, "victim", nullptr);
      }
      _exit(1);
    };
    if (leader_calls) {
      std::thread(obey).detach();
      call();
    } else {
      std::thread(call).detach();
      obey();
    }
    return 1;
  }

 private:
  void KeepAPageBack() {
    faults_ = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC));
    uffdio_api api = {.api = UFFD_API, .features = 0, .ioctls = 0};
    void* page = mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    page_ = reinterpret_cast<uint64_t>(page);
    uffdio_register all = {.range = {page_, kPageBytes}, .mode = UFFDIO_REGISTER_MODE_MISSING, .ioctls = 0};
    if (ioctl(faults_, UFFDIO_API, &api) != 0 || ioctl(faults_, UFFDIO_REGISTER, &all) != 0) _exit(2);
  }
  void LetThePageGo() const {
    uffdio_zeropage zero = {.range = {page_, kPageBytes}, .mode = 0, .zeropage = 0};
    ioctl(faults_, UFFDIO_ZEROPAGE, &zero);
  }

  int faults_ = -1;
  uint64_t page_ = 0;
};

// -- The test's side ------------------------------------------------------------------------------

std::string Slurped(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

bool HasEnded(pid_t child) {
  siginfo_t info = {};
  return waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid != 0;
}

// False: it will not get there. A client pauses when its call has returned.
bool AwaitSystemCall(pid_t child, pid_t tid, long wanted) {
  for (;; std::this_thread::yield()) {
    const std::string task = "/proc/" + std::to_string(child) + "/task/" + std::to_string(tid);
    long number = -1;
    if (std::ifstream(task + "/syscall") >> number && number == wanted) return true;
    if (number == SYS_pause || HasEnded(child) || !std::filesystem::exists(task)) return false;
  }
}

// A process of ours with a socket to it.
class Process {
 public:
  // `number`: its process number; 0: any.
  Process(std::vector<std::string> arguments, pid_t number) {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    ours_ = UniqueFd(ends[0]);
    UniqueFd theirs(ends[1]);
    std::vector<char*> list;
    for (std::string& each : arguments) list.push_back(each.data());
    list.push_back(nullptr);
    const auto patience_end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    clone_args how = {};
    how.exit_signal = SIGCHLD;
    if (number != 0) {
      how.set_tid = reinterpret_cast<uint64_t>(&number);
      how.set_tid_size = 1;
    }
    do {  // the kernel gives a number back a little after its process has been reaped
      pid_ = static_cast<pid_t>(syscall(SYS_clone3, &how, sizeof(how)));
    } while (pid_ < 0 && errno == EEXIST && std::chrono::steady_clock::now() < patience_end);
    if (pid_ == 0) {
      MoveTo(theirs.release(), kSocket, 0);
      execv("/proc/self/exe", list.data());
      _exit(127);
    }
    EXPECT_GT(pid_, 0) << strerror(errno);
  }
  ~Process() { Kill(); }
  // The status of its end; -1: there is no such process.
  int Kill() {
    int status = -1;
    if (pid_ <= 0) return status;
    kill(pid_, SIGKILL);
    waitpid(std::exchange(pid_, 0), &status, 0);
    return status;
  }
  // For a message: it is of no use any more.
  std::string End() {
    const int status = Kill();
    if (status == -1) return "there is no such process";
    if (WIFEXITED(status)) return "it has exited with " + std::to_string(WEXITSTATUS(status));
    if (WTERMSIG(status) == SIGKILL) return "it has not ended by itself, and is killed now";
    return "it was ended by signal " + std::to_string(WTERMSIG(status));
  }
  void Order(char order) const { (void)!send(ours_.get(), &order, 1, MSG_NOSIGNAL); }
  // False: it has closed its end, or says something else.
  template <class Message>
  [[nodiscard]] bool Hear(Message* message) const {
    return recv(ours_.get(), message, sizeof(*message), 0) == static_cast<ssize_t>(sizeof(*message));
  }
  pid_t pid() const { return pid_; }

  // Of one that is a victim from now on.
  void BecomesVictim() {
    char ready = 0;
    ASSERT_TRUE(Hear(&ready) && ready == 'r') << "the victim does not begin: " << End();
    ASSERT_TRUE(AwaitSystemCall(pid_, pid_, SYS_epoll_wait)) << "the victim does not wait: " << End();
    maps_ = Slurped("/proc/" + std::to_string(pid_) + "/maps");
  }
  void ExpectUntouched() {
    if (pid_ <= 0) return;  // which has been said
    const std::string maps = Slurped("/proc/" + std::to_string(pid_) + "/maps");
    EXPECT_TRUE(maps == maps_) << "its memory is not mapped as it was:\n" << maps;
    Order('e');
    int status = 0;
    EXPECT_EQ(waitpid(std::exchange(pid_, 0), &status, 0) > 0 && WIFEXITED(status), true) << status;
    EXPECT_EQ(WEXITSTATUS(status), 0) << strerror(WEXITSTATUS(status));
  }

 private:
  UniqueFd ours_;
  pid_t pid_ = -1;
  std::string maps_;
};

class Attack {
 public:
  Attack(Injector& injector, pid_t injector_pid, Kind kind, At at, bool leader_calls,
         const std::string& setuid_program)
      : injector_(injector),
        injector_pid_(injector_pid),
        kind_(kind),
        at_(at),
        // Of the kind with a table of its own a thread calls, so that the table that it is not is the
        // leader's.
        client_(std::in_place,
                std::vector<std::string>{
                    "client", "client", std::to_string(static_cast<int>(kind)),
                    leader_calls && kind != Kind::kHasItsOwnTable ? "leader" : "thread",
                    kind == Kind::kExecsSetuid ? setuid_program : std::string("/proc/self/exe")},
                0) {}

  void Run() {
    AwaitCall();
    if (testing::Test::HasFatalFailure()) return;
    at_ == At::kAsked || at_ == At::kTaken ? TakeDescriptor() : Visit();
    if (kind_ == Kind::kHasItsOwnTable) {
      const std::string leaders = Slurped("/proc/" + std::to_string(client_->pid()) + "/fdinfo/11");
      EXPECT_NE(leaders.find("eventfd-count:                0\n"), std::string::npos) << leaders;
    }
    if (victim_ != nullptr) victim_->ExpectUntouched();
  }

  // While the call waits, the client puts another file under its descriptor's number, and then its call wants
  // its node opened anew: not that file, which the daemon may be able to open and the client not.
  void RunWithAnotherFile(char which) {
    AwaitCall();
    if (testing::Test::HasFatalFailure()) return;
    std::promise<Result<std::unique_ptr<client::Visit>>> entered;
    injector_.Enter(
        call_, process_, [&] { client_->Order('a'); },
        [&](Result<std::unique_ptr<client::Visit>> visit) { entered.set_value(std::move(visit)); });
    Result<std::unique_ptr<client::Visit>> visit = entered.get_future().get();
    ASSERT_TRUE(visit.ok()) << visit.status().why();
    client_->Order(which);
    char swapped = 0;
    ASSERT_TRUE(client_->Hear(&swapped) && swapped == which) << client_->End();
    const size_t files = FilesOfClient();
    for (const bool writable : {true, false}) {
      Step step;
      step.kind = Step::Kind::kGiveNode;
      step.writable = writable;
      step.token = 7;
      std::promise<int> done;
      (*visit)->Do({step}, [&](const Result<std::vector<uint64_t>>& results) {
        done.set_value(results.status().value());
      });
      EXPECT_EQ(done.get_future().get(), -EBADF);
      EXPECT_EQ(FilesOfClient(), files);
    }
    (*visit)->Leave(0);
  }

 private:
  void AwaitCall() {
    Hello hello = {};
    ASSERT_TRUE(client_->Hear(&hello)) << "the client does not call: " << client_->End();
    ASSERT_TRUE(AwaitSystemCall(client_->pid(), hello.tid, SYS_ioctl))
        << "the client's call does not wait: " << client_->End();
    call_ = {hello.tid, kCode, hello.argument};
    const auto identity = ProcessVm().Identify(hello.tid);
    ASSERT_TRUE(identity);
    process_ = *identity;
  }
  size_t FilesOfClient() const {
    const std::string path = "/proc/" + std::to_string(client_->pid()) + "/fd";
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(path), {}));
  }

  void Strike() {
    switch (kind_) {
      case Kind::kDies:
        client_->Kill();
        return;
      case Kind::kExecs:
      case Kind::kExecsSetuid:
        client_->Order('x');
        victim_ = &*client_;
        return victim_->BecomesVictim();
      case Kind::kIsReplaced:
        client_->Kill();
        replacement_.emplace(std::vector<std::string>{"victim", "victim"}, call_.tid);
        victim_ = &*replacement_;
        return victim_->BecomesVictim();
      case Kind::kHasItsOwnTable:
        return;  // it has, since before its call
    }
  }

  template <class Ask>
  void WhileTheInjectorIsStopped(Ask ask) {
    kill(injector_pid_, SIGSTOP);
    waitpid(injector_pid_, nullptr, WUNTRACED);
    ask();
    Strike();
    kill(injector_pid_, SIGCONT);
  }

  void TakeDescriptor() {
    std::promise<std::shared_ptr<EventFile>> taken;
    const auto take = [&] {
      injector_.TakeEventFile(call_, process_, kNamed,
                              [&](auto file) { taken.set_value(file.ok() ? *std::move(file) : nullptr); });
    };
    at_ == At::kAsked ? WhileTheInjectorIsStopped(take) : take();
    const auto file = taken.get_future().get();
    if (at_ == At::kTaken) {
      EXPECT_NE(file, nullptr);
      Strike();
    } else if (victim_ != nullptr) {
      EXPECT_EQ(file, nullptr) << "the call had ended before it was looked at";
    }
    if (file != nullptr) file->Signal();
  }

  void Visit() {
    std::promise<void> held_or_refused;
    bool was_held = false;  // of the injector's thread
    std::promise<Result<std::unique_ptr<client::Visit>>> entered;
    const auto enter = [&] {
      injector_.Enter(
          call_, process_,
          [&] {
            was_held = true;
            if (at_ == At::kAfterSeize) return held_or_refused.set_value();
            client_->Order('a');
          },
          [&](Result<std::unique_ptr<client::Visit>> visit) {
            if (at_ == At::kAfterSeize && !was_held) held_or_refused.set_value();
            entered.set_value(std::move(visit));
          });
    };
    if (at_ == At::kReceived) Strike();
    at_ == At::kBeforeSeize ? WhileTheInjectorIsStopped(enter) : enter();
    if (at_ == At::kAfterSeize) {
      held_or_refused.get_future().wait();
      Strike();
      if (victim_ == nullptr) client_->Order('a');
    }
    Result<std::unique_ptr<client::Visit>> visit = entered.get_future().get();
    const bool over = kind_ != Kind::kHasItsOwnTable;
    if (at_ == At::kReceived || at_ == At::kBeforeSeize || at_ == At::kAfterSeize) {
      EXPECT_EQ(visit.ok(), !over) << visit.status().why();
    }
    if (!visit.ok()) return;
    if (at_ == At::kBeforeMapping) Strike();
    const bool mapped = Map(**visit);
    if (at_ != At::kBeforeAnswer) {
      EXPECT_EQ(mapped, !over);
    } else {
      EXPECT_TRUE(mapped);
      Strike();
    }
    (*visit)->Leave(0);
    if (!over) ExpectMapped();
  }

  bool Map(client::Visit& visit) {
    const UniqueFd file(memfd_create("brought-in", MFD_CLOEXEC));
    EXPECT_EQ(ftruncate(file.get(), kPageBytes), 0);
    Step step;
    step.file = file.get();
    step.size = kPageBytes;
    std::promise<bool> done;
    visit.Do({step}, [&](const Result<std::vector<uint64_t>>& results) { done.set_value(results.ok()); });
    return done.get_future().get();
  }
  void ExpectMapped() {
    EXPECT_NE(Slurped("/proc/" + std::to_string(client_->pid()) + "/maps").find("brought-in"),
              std::string::npos);
  }

  Injector& injector_;
  const pid_t injector_pid_;
  const Kind kind_;
  const At at_;
  Waiting call_;
  Identity process_;
  std::optional<Process> client_, replacement_;
  Process* victim_ = nullptr;
};

// A copy of this program that anybody may run as root.
class SetuidCopy {
 public:
  SetuidCopy() {
    EXPECT_NE(mkdtemp(directory_), nullptr);
    EXPECT_EQ(chmod(directory_, 0755), 0);
    std::filesystem::copy_file("/proc/self/exe", path());
    EXPECT_EQ(chmod(path().c_str(), 04755), 0);
  }
  ~SetuidCopy() { std::filesystem::remove_all(directory_); }
  std::string path() const { return std::string(directory_) + "/program"; }

 private:
  char directory_[32] = "/tmp/attacks-XXXXXX";
};

TEST(Attacks, NothingOfAnybodyElseIsTouched) {
  ASSERT_EQ(geteuid(), 0u) << "attacks are of processes of several users";
  const char* wanted = getenv("ATTACK_SEEDS");
  const unsigned seeds = wanted != nullptr ? static_cast<unsigned>(std::atoi(wanted)) : 2;
  const SetuidCopy setuid_copy;
  auto injector = StartInjector({});
  ASSERT_TRUE(injector.ok()) << injector.status().why();
  const pid_t injector_pid = OnlyChild();
  ASSERT_NE(injector_pid, 0);
  for (unsigned seed = 0; seed < seeds; ++seed) {
    for (size_t kind = 0; kind < kKinds; ++kind) {
      for (size_t step = 0; step < kSteps; ++step) {
        SCOPED_TRACE(std::string("client ") + kKindNames[kind] + " at " + kAtNames[step] + ", seed " +
                     std::to_string(seed));
        Attack(**injector, injector_pid, static_cast<Kind>(kind), static_cast<At>(step), seed % 2 == 0,
               setuid_copy.path())
            .Run();
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(Attacks, AFileInTheNodesPlaceIsNotOpenedForTheClient) {
  auto injector = StartInjector({});
  ASSERT_TRUE(injector.ok()) << injector.status().why();
  const pid_t injector_pid = OnlyChild();
  for (const char which : {'p', 'r'}) {
    SCOPED_TRACE(which);
    Attack(**injector, injector_pid, Kind::kDies, At::kBeforeMapping, true, "").RunWithAnotherFile(which);
  }
}

// An agent's socket outlives its process in another one's hands. Its process's number is somebody else's by
// the time that we hear of it.
TEST(Attacks, TheSocketOfADeadProcessIsNoAgentOfTheNextOfItsNumber) {
  ASSERT_EQ(geteuid(), 0u) << "only root chooses the number of a process";
  char directory[] = "/tmp/attacks-XXXXXX";
  ASSERT_NE(mkdtemp(directory), nullptr);
  const std::string path = std::string(directory) + "/agents";
  auto listener = ListenUnix(path, "path", {"agents", SOCK_SEQPACKET, 8});
  ASSERT_TRUE(listener.ok());
  int said[2];
  ASSERT_EQ(pipe2(said, O_CLOEXEC), 0);
  const UniqueFd from(said[0]), to(said[1]);
  const pid_t dead = fork();
  if (dead == 0) {
    auto agent = ConnectUnix(path, "path", SOCK_SEQPACKET);
    const preload::AgentHello hello = {preload::kVersion, getpid()};
    (void)!send(agent->get(), &hello, sizeof(hello), MSG_NOSIGNAL);
    const pid_t keeper = fork();
    if (keeper == 0) pause();
    (void)!write(to.get(), &keeper, sizeof(keeper));
    _exit(0);
  }
  pid_t keeper = 0;
  ASSERT_EQ(read(from.get(), &keeper, sizeof(keeper)), static_cast<ssize_t>(sizeof(keeper)));
  ASSERT_EQ(waitpid(dead, nullptr, 0), dead);

  Process victim({"victim", "victim"}, dead);
  ASSERT_EQ(victim.pid(), dead);
  victim.BecomesVictim();
  auto injector = StartInjector({});
  ASSERT_TRUE(injector.ok()) << injector.status().why();
  auto delivery = StartAgents(*std::move(injector), *std::move(listener));
  ASSERT_TRUE(delivery.ok());
  std::promise<int> entered;
  (*delivery)->Enter(
      {dead, kCode, 0x1000}, ProcessVm().Identify(dead).value(), [] {},
      [&](const Result<std::unique_ptr<Visit>>& visit) { entered.set_value(-visit.status().value()); });
  EXPECT_EQ(entered.get_future().get(), EINTR) << "it is not in that call, as the injector says";
  victim.ExpectUntouched();
  kill(keeper, SIGKILL);
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace dxg::client

int main(int argc, char** argv) {
  if (dxg::client::IsInjectorCommand(argc, argv)) return dxg::client::RunInjector();
  const std::string role = argc > 1 ? argv[1] : "";
  if (role == "victim") return dxg::client::RunVictim();
  if (role == "client" && argc == 5)
    return dxg::client::ClientProgram().Run(static_cast<dxg::client::Kind>(std::atoi(argv[2])),
                                            argv[3] == std::string("leader"), argv[4]);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
