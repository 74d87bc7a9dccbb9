// The daemon's side of preload agents.
#include "cuse-dxg/client/agents.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <utility>

#include "base/unix_socket.h"
#include "cuse-dxg/client/process_vm.h"
#include "cuse-dxg/preload/protocol.h"

namespace dxg::client {
namespace {

class AgentsTest : public testing::Test {
 protected:
  AgentsTest() : directory_(testing::TempDir() + "/dxg.XXXXXX") {
    EXPECT_NE(mkdtemp(directory_.data()), nullptr);
    const std::string path = directory_ + "/agents";
    auto listener = ListenUnix(path, "path", {"agents", SOCK_SEQPACKET, 8});
    auto injector = StartInjector({});
    EXPECT_TRUE(listener.ok() && injector.ok());
    delivery_ = *StartAgents(*std::move(injector), *std::move(listener));
    int said[2];
    EXPECT_EQ(pipe(said), 0);
    client_ = fork();
    if (client_ == 0) {
      auto agent = ConnectUnix(path, "path", SOCK_SEQPACKET);
      const preload::AgentHello hello = {preload::kVersion, getpid()};
      (void)!send(agent->get(), &hello, sizeof(hello), 0);
      (void)!write(said[1], "", 1);
      pause();
    }
    close(said[1]);
    char byte;
    EXPECT_EQ(read(said[0], &byte, 1), 1);
    close(said[0]);
  }
  ~AgentsTest() override {
    kill(client_, SIGKILL);
    waitpid(client_, nullptr, 0);
    std::filesystem::remove_all(directory_);
  }

  // The reason why there is no visit; 0: the agent makes it.
  int Enter(const Identity& process) {
    std::promise<int> entered;
    delivery_->Enter(
        {client_, 0xc0184748, 0x1000}, process, [] {},
        [&](Result<std::unique_ptr<Visit>> visit) {
          EXPECT_FALSE(visit.ok() && (*visit)->holds_thread());
          entered.set_value(-visit.status().value());
        });
    return entered.get_future().get();
  }

  std::string directory_;
  std::unique_ptr<Delivery> delivery_;
  pid_t client_ = -1;
};

TEST_F(AgentsTest, AnAgentServesItsProcess) { EXPECT_EQ(Enter(ProcessVm().Identify(client_).value()), 0); }

// A socket that somebody keeps says nothing of the process that has the number by now.
TEST_F(AgentsTest, AnAgentServesNoOtherProcessOfTheNumber) {
  Identity another = ProcessVm().Identify(client_).value();
  ++another.start_time;
  EXPECT_EQ(Enter(another), EINTR);
}

}  // namespace
}  // namespace dxg::client
