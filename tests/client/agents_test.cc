// The daemon's side of preload agents.
#include "cuse-dxg/client/agents.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/unix_socket.h"
#include "cuse-dxg/client/process_vm.h"
#include "cuse-dxg/preload/protocol.h"
#include "tests/client/own_process.h"

namespace dxg::client {
namespace {

class AgentsTest : public testing::Test {
 protected:
  AgentsTest() : directory_(testing::TempDir() + "/dxg.XXXXXX") {
    EXPECT_NE(mkdtemp(directory_.data()), nullptr);
    auto listener = ListenUnix(Path(), "path", {"agents", SOCK_SEQPACKET, 8});
    auto injector = StartInjector({});
    EXPECT_TRUE(listener.ok() && injector.ok());
    delivery_ = *StartAgents(*std::move(injector), *std::move(listener));
    client_ = StartClient(1, [](int) { pause(); });
  }
  ~AgentsTest() override {
    for (const pid_t client : clients_) {
      kill(client, SIGKILL);
      waitpid(client, nullptr, 0);
    }
    std::filesystem::remove_all(directory_);
  }

  std::string Path() const { return directory_ + "/agents"; }
  // A process with so many agents, which have said hello. It then does `then` with the last one's socket.
  pid_t StartClient(int agents, const std::function<void(int)>& then) {
    int said[2];
    EXPECT_EQ(pipe(said), 0);
    const pid_t client = fork();
    if (client == 0) {
      constexpr int kSaid = 3;  // beside it nothing of the device's, whose ends would not be seen
      dup2(said[1], kSaid);
      syscall(SYS_close_range, kSaid + 1, ~0u, 0);
      std::vector<UniqueFd> all;
      for (int i = 0; i < agents; ++i) {
        all.push_back(*ConnectUnix(Path(), "path", SOCK_SEQPACKET));
        const preload::AgentHello hello = {preload::kVersion, getpid()};
        (void)!send(all.back().get(), &hello, sizeof(hello), MSG_NOSIGNAL);
      }
      (void)!write(kSaid, "", 1);
      then(all.back().get());
      _exit(0);
    }
    close(said[1]);
    char byte;
    EXPECT_EQ(read(said[0], &byte, 1), 1);
    close(said[0]);
    clients_.push_back(client);
    return client;
  }

  Result<std::unique_ptr<Visit>> Visited(const Identity& process) {
    std::promise<Result<std::unique_ptr<Visit>>> entered;
    delivery_->Enter(
        {process.tgid, 0xc0184748, 0x1000}, process, [] {},
        [&](Result<std::unique_ptr<Visit>> visit) { entered.set_value(std::move(visit)); });
    return entered.get_future().get();
  }
  // The reason why there is no visit; 0: the agent makes it.
  int Enter(const Identity& process) {
    auto visit = Visited(process);
    EXPECT_FALSE(visit.ok() && (*visit)->holds_thread());
    return -visit.status().value();
  }

  std::string directory_;
  std::unique_ptr<Delivery> delivery_;
  pid_t client_ = -1;
  std::vector<pid_t> clients_;
};

TEST_F(AgentsTest, AStoppedOneHasNoAgents) {
  delivery_->Stop();
  EXPECT_EQ(Enter(ProcessVm().Identify(client_).value()), EIO);
}

TEST_F(AgentsTest, NorOneThatConnectsAfterwards) {
  delivery_->Stop();
  const pid_t late = StartClient(1, [](int) { pause(); });
  EXPECT_EQ(Enter(ProcessVm().Identify(late).value()), EIO);
}

TEST_F(AgentsTest, AnAgentServesItsProcess) { EXPECT_EQ(Enter(ProcessVm().Identify(client_).value()), 0); }

// A socket that somebody keeps says nothing of the process that has the number by now.
TEST_F(AgentsTest, AnAgentServesNoOtherProcessOfTheNumber) {
  Identity another = ProcessVm().Identify(client_).value();
  ++another.start_time;
  EXPECT_EQ(Enter(another), EINTR);
}

// It answers all that it is not asked, too: what it is asked fills its socket.
TEST_F(AgentsTest, AnAgentThatDoesNotReadKeepsNobodyWaiting) {
  constexpr size_t kStepsMany = 20000;
  const pid_t lazy = StartClient(1, [](int agent) {
    preload::AgentAsk ask;
    (void)!recv(agent, &ask, sizeof(ask), MSG_PEEK);
    const preload::AgentAnswer answer = {0, 0, 1};
    while (send(agent, &answer, sizeof(answer), MSG_NOSIGNAL) == sizeof(answer)) {
    }
  });
  auto visit = Visited(ProcessVm().Identify(lazy).value());
  ASSERT_TRUE(visit.ok());
  std::promise<int> done;
  std::vector<Step> steps(kStepsMany);
  for (Step& step : steps) step.kind = Step::Kind::kUnmap;
  (*visit)->Do(steps, [&](const Result<std::vector<uint64_t>>& results) {
    done.set_value(-results.status().value());
  });
  auto error = done.get_future();
  EXPECT_EQ(error.wait_for(std::chrono::seconds(20)), std::future_status::ready);
  kill(lazy, SIGKILL);
  EXPECT_EQ(error.get(), EINTR);
  EXPECT_EQ(Enter(ProcessVm().Identify(client_).value()), 0);
}

TEST_F(AgentsTest, AProcessHasAFewAgentsAndTheNextProcessHasItsOwn) {
  constexpr int kWanted = 40;
  constexpr size_t kOfProcess = 4, kOfNext = 1;
  EXPECT_EQ(Enter(ProcessVm().Identify(client_).value()), 0);
  const size_t before = OpenDescriptors();
  const pid_t greedy = StartClient(kWanted, [](int) { pause(); });
  const pid_t next = StartClient(1, [](int) { pause(); });
  EXPECT_EQ(Enter(ProcessVm().Identify(next).value()), 0);
  EXPECT_LE(OpenDescriptors(), before + kOfProcess + kOfNext);
  EXPECT_EQ(Enter(ProcessVm().Identify(greedy).value()), 0) << "the first ones serve it";
}

// A filter of system calls can end a thread alone. The process and its socket go on.
TEST_F(AgentsTest, AnAgentWhoseThreadHasEndedKeepsNobodyWaiting) {
  int said[2];
  ASSERT_EQ(pipe2(said, O_CLOEXEC), 0);
  const pid_t client = fork();
  if (client == 0) {
    dup2(said[1], STDOUT_FILENO);
    execl("/proc/self/exe", "client_test", "short-lived-agent", Path().c_str(), nullptr);
    _exit(127);
  }
  clients_.push_back(client);
  close(said[1]);
  char byte;
  ASSERT_EQ(read(said[0], &byte, 1), 1);
  close(said[0]);
  auto visit = Visited(ProcessVm().Identify(client).value());
  ASSERT_TRUE(visit.ok());
  std::promise<int> done;
  Step step;
  step.kind = Step::Kind::kUnmap;
  (*visit)->Do({step}, [&](const Result<std::vector<uint64_t>>& results) {
    done.set_value(-results.status().value());
  });
  auto error = done.get_future();
  EXPECT_EQ(error.wait_for(std::chrono::seconds(20)), std::future_status::ready);
  EXPECT_EQ(kill(client, 0), 0);
  kill(client, SIGKILL);
  EXPECT_EQ(error.get(), EINTR);
  EXPECT_EQ(Enter(ProcessVm().Identify(client_).value()), 0);
}

// What waits for an agent when the device ends is told that.
TEST_F(AgentsTest, AStopEndsWhatAnAgentDoes) {
  auto visit = Visited(ProcessVm().Identify(client_).value());
  ASSERT_TRUE(visit.ok());
  std::promise<int> done;
  Step step;
  step.kind = Step::Kind::kUnmap;
  (*visit)->Do({step}, [&](const Result<std::vector<uint64_t>>& results) {
    done.set_value(-results.status().value());
  });
  delivery_->Stop();
  EXPECT_EQ(done.get_future().get(), EIO);
}

}  // namespace

int BeShortLivedAgent(const char* path) {
  auto connection = ConnectUnix(path, "path", SOCK_SEQPACKET);
  if (!connection.ok()) return 1;
  std::thread([agent = connection->get()] {
    const preload::AgentHello hello = {preload::kVersion, static_cast<int32_t>(syscall(SYS_gettid))};
    (void)!send(agent, &hello, sizeof(hello), MSG_NOSIGNAL);
    (void)!write(STDOUT_FILENO, "h", 1);
    preload::AgentAsk ask;
    (void)!recv(agent, &ask, sizeof(ask), 0);
  }).detach();
  for (;;) pause();
}

}  // namespace dxg::client
