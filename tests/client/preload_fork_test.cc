// The preload agent and fork: the parent's connection ends with the parent, though the child lives. The
// daemon is the test.
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

#include "base/unique_fd.h"
#include "cuse-dxg/preload/protocol.h"

namespace dxg::client {
namespace {

constexpr int kPatienceMs = 20'000;  // only a test that fails waits so long

bool Readable(const UniqueFd& fd, int timeout_ms) {
  pollfd events = {fd.get(), POLLIN, 0};
  return poll(&events, 1, timeout_ms) == 1;
}

class PreloadForkTest : public testing::Test {
 protected:
  PreloadForkTest() : directory_(testing::TempDir() + "/dxg.XXXXXX") {
    EXPECT_NE(mkdtemp(directory_.data()), nullptr);
    path_ = directory_ + "/agent";
    listener_ = UniqueFd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path_.c_str(), sizeof(address.sun_path) - 1);
    EXPECT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(listener_.get(), 8), 0);
  }
  ~PreloadForkTest() override { std::filesystem::remove_all(directory_); }

  // A shell whose subshell lives until `to_child` is closed; the shell itself until `to_parent` is.
  pid_t StartParent() {
    int parent[2], child[2];
    EXPECT_EQ(pipe(parent), 0);
    EXPECT_EQ(pipe(child), 0);
    const pid_t pid = fork();
    if (pid == 0) {
      dup2(parent[0], 3);
      dup2(child[0], 4);
      for (int each = 5; each < 64; ++each) close(each);
      setenv("LD_PRELOAD", DXG_PRELOAD, 1);
      setenv(preload::kSocketVariable, path_.c_str(), 1);
      execl("/bin/sh", "sh", "-c", "(read word <&4) & read word <&3", nullptr);
      _exit(127);
    }
    close(parent[0]);
    close(child[0]);
    to_parent = UniqueFd(parent[1]);
    to_child = UniqueFd(child[1]);
    return pid;
  }
  // The next agent, which has said hello.
  UniqueFd Accept() {
    if (!Readable(listener_, kPatienceMs)) {
      ADD_FAILURE() << "no agent comes";
      return UniqueFd();
    }
    UniqueFd agent(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    preload::AgentHello hello = {};
    EXPECT_EQ(recv(agent.get(), &hello, sizeof(hello), 0), static_cast<ssize_t>(sizeof(hello)));
    EXPECT_EQ(hello.version, preload::kVersion);
    return agent;
  }
  static bool Ends(const UniqueFd& agent) {
    char byte;
    return Readable(agent, kPatienceMs) && recv(agent.get(), &byte, 1, MSG_DONTWAIT) == 0;
  }

  std::string directory_, path_;
  UniqueFd listener_, to_parent, to_child;
};

TEST_F(PreloadForkTest, TheParentsConnectionEndsWithTheParentThoughTheChildLives) {
  const pid_t parent = StartParent();
  const UniqueFd of_parent = Accept(), of_child = Accept();
  to_parent.reset();
  int status = -1;
  ASSERT_EQ(waitpid(parent, &status, 0), parent);
  EXPECT_TRUE(Ends(of_parent)) << "the child holds it";
  EXPECT_FALSE(Readable(of_child, 0)) << "the child's has ended with its parent";
  to_child.reset();
  EXPECT_TRUE(Ends(of_child));
}

}  // namespace
}  // namespace dxg::client
