// The daemon's side of the injector, with a process of the test's in its place.
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <functional>
#include <future>
#include <memory>
#include <thread>
#include <vector>

#include "base/unix_socket.h"
#include "cuse-dxg/client/identify_code.h"
#include "cuse-dxg/client/injector.h"
#include "cuse-dxg/client/injector_protocol.h"
#include "cuse-dxg/client/process_vm.h"
#include "cuse-dxg/client/visit_steps.h"
#include "tests/client/own_process.h"

namespace dxg::client {
namespace {

using injector::Ask;
using injector::NodeIdentity;
using injector::Reply;
using injector::Request;
using injector::Tell;

constexpr size_t kWorkersOfOne = 64;

bool Say(int socket, const Reply& reply) {
  return SendDatagram(socket, std::as_bytes(std::span(&reply, 1))).ok();
}

// What the played injector does, in a process of its own: so many workers' sockets come, and are closed
// together, as those are that get no thread. Workers that come later answer.
void PlayInjector(size_t without_thread, const std::function<Reply(const Request&)>& answer) {
  Say(injector::kControlDescriptor, {.tell = Tell::kHello});
  std::vector<UniqueFd> sockets;
  for (bool held_back = without_thread != 0;;) {
    std::vector<pollfd> ready = {{injector::kControlDescriptor, POLLIN, 0}};
    for (const UniqueFd& socket : sockets)
      ready.push_back({socket.get(), static_cast<short>(held_back ? 0 : POLLIN), 0});
    if (poll(ready.data(), ready.size(), -1) < 0) continue;
    for (size_t i = 1; i < ready.size(); ++i) {
      Request request;
      if (!ready[i].revents) continue;
      if (!ReceiveDatagram(ready[i].fd, std::as_writable_bytes(std::span(&request, 1))).ok()) return;
      if (request.ask != Ask::kLeave) Say(ready[i].fd, answer(request));
    }
    if (!ready[0].revents) continue;
    std::byte byte;
    Result<Datagram> came = ReceiveDatagram(injector::kControlDescriptor, std::span(&byte, 1));
    if (!came.ok()) return;
    std::move(came->files.begin(), came->files.end(), std::back_inserter(sockets));
    if (!held_back || sockets.size() < without_thread) continue;
    sockets.clear();
    held_back = false;
  }
}

std::unique_ptr<Injector> StartPlayed(size_t without_thread, std::function<Reply(const Request&)> answer) {
  InjectorOptions options;
  options.command = {"played", "injector"};
  options.start = [=](const UniqueFd& control) {
    const pid_t pid = fork();
    if (pid != 0) return pid;
    dup2(control.get(), injector::kControlDescriptor);
    syscall(SYS_close_range, injector::kControlDescriptor + 1, ~0u, 0);
    PlayInjector(without_thread, answer);
    _exit(0);
  };
  auto started = StartInjector(options);
  EXPECT_TRUE(started.ok()) << started.status().why();
  return *std::move(started);
}

Reply RefuseWithPermission(const Request& request) {
  return {.tell = Tell::kFailed, .error = EPERM, .job = request.job, .node = {}};
}

const Waiting kHere = {getpid(), 0xc0184748, 0x1000};

class InjectorLife : public testing::Test {
 protected:
  // The errno with which each of so many visits is refused, in order; 0: it was not answered.
  static std::vector<int> Enter(Injector& injector, size_t count,
                                const std::function<void()>& asked_all = {}) {
    struct Asked {
      std::promise<int> refused;
    };
    std::vector<std::shared_ptr<Asked>> all;
    for (size_t i = 0; i < count; ++i) {
      all.push_back(std::make_shared<Asked>());
      injector.Enter(
          kHere, ProcessVm().Identify(getpid()).value(), [] {},
          [asked = all.back()](const Result<std::unique_ptr<Visit>>& visit) {
            asked->refused.set_value(-visit.status().value());
          });
    }
    if (asked_all) asked_all();
    std::vector<int> errors;
    const auto patience_end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    for (const auto& each : all) {
      auto future = each->refused.get_future();
      errors.push_back(future.wait_until(patience_end) == std::future_status::ready ? future.get() : 0);
    }
    return errors;
  }
};

TEST_F(InjectorLife, AWorkerWithoutAThreadFailsItsJobAndNothingElse) {
  const auto injector = StartPlayed(1, RefuseWithPermission);
  EXPECT_EQ(Enter(*injector, 1), std::vector<int>{EIO});
  EXPECT_EQ(Enter(*injector, 1), std::vector<int>{EPERM}) << "the same process, asked again";
}

TEST_F(InjectorLife, WhoWaitedForOneGetsAnother) {
  constexpr size_t kMore = 6;
  const auto injector = StartPlayed(kWorkersOfOne, RefuseWithPermission);
  std::vector<int> errors = Enter(*injector, kWorkersOfOne + kMore);
  EXPECT_EQ(std::count(errors.begin(), errors.end(), EIO), static_cast<ptrdiff_t>(kWorkersOfOne));
  EXPECT_EQ(std::count(errors.begin(), errors.end(), EPERM), static_cast<ptrdiff_t>(kMore));
}

// An injector that is stopped reads neither the socket by which it gets its workers nor theirs. However many
// ask then, nobody of them is held up while asking, and all are answered once it goes on.
TEST_F(InjectorLife, WhoAsksAStoppedInjectorIsNotHeldUp) {
  constexpr size_t kMany = 1200;  // more than it has workers, and than the socket takes
  const auto injector = StartPlayed(0, RefuseWithPermission);
  const pid_t process = OnlyChild();
  ASSERT_NE(process, 0);
  ASSERT_EQ(kill(process, SIGSTOP), 0);
  ASSERT_EQ(waitpid(process, nullptr, WUNTRACED), process);
  std::promise<void> asked;
  std::vector<int> errors;
  std::thread asker([&] { errors = Enter(*injector, kMany, [&] { asked.set_value(); }); });
  const bool in_time = asked.get_future().wait_for(std::chrono::seconds(20)) == std::future_status::ready;
  kill(process, SIGCONT);
  asker.join();
  EXPECT_TRUE(in_time) << "it is waited for";
  EXPECT_EQ(errors, std::vector<int>(kMany, EPERM));
}

// What every request to identify a descriptor takes for our node's files, with an injector that says what the
// test likes.
class InjectorNodes : public testing::Test {
 protected:
  // Of the played injector and of the test.
  struct Shared {
    std::atomic<bool> answers;
    pid_t injector;
    NodeIdentity given;  // by a kGiveNode
    uint64_t job;        // of the last kIdentify, and what came with it
    std::array<NodeIdentity, injector::kNodesMax> nodes;
    std::atomic<bool> asked;
  };
  static constexpr uint64_t kToken = 7;

  InjectorNodes()
      : shared_(static_cast<Shared*>(
            mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))),
        injector_(StartPlayed(0, [shared = shared_, begun = uint64_t{0}](const Request& request) mutable {
          shared->injector = getpid();
          if (request.ask == Ask::kBegin) {
            begun = request.job;
            return Reply{.tell = Tell::kStopped, .worker = getpid(), .job = begun, .node = {}};
          }
          if (request.ask == Ask::kIdentify) {
            shared->job = request.job;
            shared->nodes = request.nodes;
          }
          shared->asked = true;
          while (!shared->answers) sched_yield();
          if (request.ask == Ask::kIdentify)
            return Reply{.tell = Tell::kIdentified, .worker = getpid(), .job = request.job, .node = {}};
          if (request.ask == Ask::kDo)
            return Reply{.tell = Tell::kOpened, .worker = getpid(), .job = begun, .node = shared->given};
          return Reply{.tell = Tell::kDid,
                       .worker = getpid(),
                       .error = -request.result,
                       .results_count = 1,
                       .job = begun,
                       .node = {}};
        })) {}
  ~InjectorNodes() override {
    injector_.reset();
    munmap(shared_, sizeof(Shared));
  }

  static UniqueFd File() { return UniqueFd(memfd_create("node", MFD_CLOEXEC)); }
  static NodeIdentity NodeOf(const UniqueFd& file) { return *IdentityOf(file.get()); }

  // Waits for the injector to be asked, does something, and lets it answer.
  void Meanwhile(const std::function<void()>& something) {
    while (!shared_->asked) sched_yield();
    something();
    shared_->answers = true;
  }
  void NotAskedYet() { shared_->asked = shared_->answers = false; }

  // The client gets its node, which is that file as far as the injector knows.
  void GiveNode(const UniqueFd& file, bool opened) {
    NotAskedYet();
    shared_->given = NodeOf(file);
    std::promise<std::unique_ptr<Visit>> entered;
    injector_->Enter(
        kHere, identity_, [] {},
        [&](Result<std::unique_ptr<Visit>> visit) { entered.set_value(*std::move(visit)); });
    const auto visit = entered.get_future().get();
    Step step;
    step.kind = Step::Kind::kGiveNode;
    step.token = kToken;
    std::promise<void> done;
    visit->Do({step}, [&](const Result<std::vector<uint64_t>>& results) {
      EXPECT_EQ(results.status().value(), opened ? 0 : -EBADF);
      done.set_value();
    });
    Meanwhile([&] {
      if (opened) {
        EXPECT_EQ(injector_->TokenOfOpener(shared_->injector), kToken);
      }
    });
    done.get_future().get();
    visit->Leave(0);
  }
  // An agent says that this is our node.
  void Claim(const UniqueFd& file, bool is_it) {
    NotAskedYet();
    std::promise<void> done;
    injector_->LearnNode(kHere, identity_, file.get(), [&] { done.set_value(); });
    Meanwhile([&] {
      EXPECT_EQ(shared_->nodes.front(), NodeOf(file));
      if (is_it) {
        EXPECT_TRUE(injector_->IsIdentifyCall(shared_->injector, kIdentifyCode, shared_->job, 9));
      }
    });
    done.get_future().get();
  }
  std::vector<NodeIdentity> Known(const UniqueFd& file) {
    shared_->nodes = {};
    shared_->answers = true;
    std::promise<void> done;
    injector_->Identify(kHere, identity_, file.get(), [&](uint64_t) { done.set_value(); });
    done.get_future().get();
    std::vector<NodeIdentity> known(shared_->nodes.begin(), shared_->nodes.end());
    std::erase(known, NodeIdentity{});
    return known;
  }

  Shared* const shared_;
  const Identity identity_ = ProcessVm().Identify(getpid()).value();
  std::unique_ptr<Injector> injector_;
};

TEST_F(InjectorNodes, AnAgentsLiesPushNothingOut) {
  const UniqueFd node = File();
  GiveNode(node, true);
  for (size_t i = 0; i <= injector::kNodesMax; ++i) {
    const UniqueFd lie = File();
    Claim(lie, false);
  }
  EXPECT_EQ(Known(node), std::vector{NodeOf(node)});
}

TEST_F(InjectorNodes, AnAgentsNodeThatACallReachesUsByIsOurs) {
  const UniqueFd node = File();
  Claim(node, true);
  EXPECT_EQ(Known(node), std::vector{NodeOf(node)});
}

TEST_F(InjectorNodes, AFileInTheNodesPlaceIsNotOurs) {
  const UniqueFd node = File(), other = File();
  GiveNode(node, true);
  GiveNode(other, false);
  EXPECT_EQ(Known(node), std::vector{NodeOf(node)});
}

}  // namespace
}  // namespace dxg::client
