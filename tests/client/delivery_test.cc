// Memory and descriptors in unmodified clients: delivery-client's checks, on every way to attach that needs
// no CUSE, as root and as nobody. Needs root and /dev/fuse.

#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/attach/process.h"
#include "tests/attach/programs.h"

namespace dxg::client {
namespace {

namespace fs = std::filesystem;
using attach::Process;

class DeliveryTest : public attach::ProgramsTest {
 protected:
  DeliveryTest() : server_(Copy(DELIVERY_SERVER)), client_(Copy(DELIVERY_CLIENT)) {}

  std::vector<std::string> Serve() const {
    return {server_, "serve", "--attach=fuse", "--device", node_, "--log-level", "off", "--ready-fd", "9"};
  }

  const std::string server_, client_;
};

TEST_F(DeliveryTest, InjectorIsNotStartedByHand) {
  Process injector({server_, "inject"});
  EXPECT_EQ(injector.Wait(), 2);
  EXPECT_NE(injector.output().find("not by hand"), std::string::npos) << injector.output();
}

TEST_F(DeliveryTest, EveryCheckAsRootAndAsNobodyOnOneNode) {
  Process daemon(Serve(), true);
  ASSERT_TRUE(daemon.WaitReady());
  Process root({client_, node_});
  EXPECT_EQ(root.Wait(), 0) << root.output();
  Process nobody(AsNobody({client_, node_}));
  EXPECT_EQ(nobody.Wait(), 0) << nobody.output();
  daemon.Signal(SIGTERM);
  EXPECT_EQ(daemon.Wait(), 0) << daemon.output();
}

// With all that the daemon had open, and nothing left of the injector.
TEST_F(DeliveryTest, ProgramWithoutSharedLibraries) {
  Process daemon(Serve(), true);
  ASSERT_TRUE(daemon.WaitReady());
  Process client({Copy(DELIVERY_CLIENT_STATIC), node_, "map", "give-file", "threads"});
  EXPECT_EQ(client.Wait(), 0) << client.output();
}

TEST_F(DeliveryTest, DaemonStopsDuringAVisit) {
  for (const char* where : {"before-enter", "before-answer", "before-steps", "before-leave"}) {
    Process daemon(Serve(), true);
    ASSERT_TRUE(daemon.WaitReady());
    Process client({client_, node_, std::string("daemon-stopped-") + where});
    EXPECT_EQ(client.Wait(), 0) << where << client.output();
    EXPECT_EQ(daemon.Wait(), 0) << where << daemon.output();
  }
}

// P: as root, which makes a mount namespace only; and as nobody, with a user namespace around it.
class DeliveryRunTest : public DeliveryTest, public testing::WithParamInterface<bool> {
 protected:
  std::vector<std::string> Run(const std::vector<std::string>& checks) const {
    std::vector<std::string> command = {server_, "run", "--log-level", "off", "--", client_, "/dev/dxg"};
    command.insert(command.end(), checks.begin(), checks.end());
    return GetParam() ? command : AsNobody(command);
  }
  bool is_root() const { return GetParam(); }
};

INSTANTIATE_TEST_SUITE_P(Users, DeliveryRunTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "Root" : "Nobody"; });

TEST_P(DeliveryRunTest, EveryCheck) {
  Process run(Run({}));
  EXPECT_EQ(run.Wait(), 0) << run.output();
}

// A filter can be put aside as root; else the client hears EPERM, and lives.
TEST_P(DeliveryRunTest, Sandbox) {
  Process run(Run({is_root() ? "sandbox" : "sandbox-refused"}));
  EXPECT_EQ(run.Wait(), 0) << run.output();
}

// All of it under a seccomp filter from the start, as in a container: root cannot put it aside either.
class DeliveryFilteredTest : public DeliveryRunTest {
 protected:
  std::vector<std::string> RunUnder(const char* filter, const std::vector<std::string>& checks) const {
    std::vector<std::string> command = Run(checks);
    const std::string filters = Copy(DELIVERY_FILTER);
    command.insert(command.begin(), {filters, filter});
    return command;
  }
};

INSTANTIATE_TEST_SUITE_P(Users, DeliveryFilteredTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "Root" : "Nobody"; });

TEST_P(DeliveryFilteredTest, IsVisited) {
  Process run(RunUnder("allow", {"registers", "map", "give-file", "threads", "give-node", "identify",
                                 "events", "no-descriptors-left", "namespaces", "orphan"}));
  EXPECT_EQ(run.Wait(), 0) << run.output();
}

TEST_P(DeliveryFilteredTest, AFilterOfTheClientsOwn) {
  Process run(RunUnder("allow", {"sandbox-refused", "sandbox-during-a-visit"}));
  EXPECT_EQ(run.Wait(), 0) << run.output();
}

// Neither the client nor the daemon dies of it.
TEST_P(DeliveryFilteredTest, AFilterThatKillsVisits) {
  Process run(RunUnder("kill", {"visit-refused"}));
  EXPECT_EQ(run.Wait(), 0) << run.output();
}

// On kernels before 6.9 these two get EIO with a sentence.
TEST_P(DeliveryRunTest, ThreadsThatAreNotTheirGroups) {
  Process run(Run({"main-thread-ended", "own-descriptors"}));
  EXPECT_EQ(run.Wait(), 0) << run.output();
}

TEST_P(DeliveryRunTest, ShortStress) {
  Process run(Run({"stress-short", "chaos-short"}));
  EXPECT_EQ(run.Wait(), 0) << run.output();
}

TEST_P(DeliveryRunTest, InjectorKilled) {
  Process run(Run({"injector-killed"}));
  EXPECT_EQ(run.Wait(), 0) << run.output();
}

TEST_P(DeliveryRunTest, DaemonKilled) {
  for (const char* where : {"before-enter", "before-answer", "before-steps", "before-leave"}) {
    Process run(Run({std::string("daemon-killed-") + where}));
    EXPECT_EQ(run.Wait(), 128 + SIGKILL) << where;
    EXPECT_EQ(run.output(), "") << where;  // the client goes on, and finds nothing wrong
  }
}

// With the preload agent: what the injector would be refused, works.
class DeliveryPreloadTest : public DeliveryRunTest {
 protected:
  DeliveryPreloadTest() { Copy(DELIVERY_PRELOAD); }
  std::vector<std::string> RunUnder(std::vector<std::string> tool) const {
    std::vector<std::string> command = {server_, "run", "--preload", "--log-level", "off", "--"};
    command.insert(command.end(), tool.begin(), tool.end());
    for (const char* word : {client_.c_str(), "/dev/dxg", "map", "map-at-an-address", "give-file",
                             "failing-steps", "threads", "give-node", "identify", "main-thread-ended",
                             "events", "fork-during-a-visit", "no-descriptors-left"})
      command.push_back(word);
    return GetParam() ? command : AsNobody(command);
  }
};

INSTANTIATE_TEST_SUITE_P(Users, DeliveryPreloadTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "Root" : "Nobody"; });

TEST_P(DeliveryPreloadTest, LibraryThatIsMissing) {
  fs::remove(directory_ / "libdxg-preload.so");
  const std::vector<std::string> command = {server_, "run", "--preload", "--", "true"};
  Process run(GetParam() ? command : AsNobody(command));
  EXPECT_EQ(run.Wait(), 125);
  EXPECT_NE(run.output().find("neither in"), std::string::npos) << run.output();
}

TEST_P(DeliveryPreloadTest, Alone) {
  Process run(RunUnder({}));
  EXPECT_EQ(run.Wait(), 0) << run.output();
}

TEST_P(DeliveryPreloadTest, UnderStrace) {
  Process run(RunUnder({"strace", "-f", "-o", "/dev/null"}));
  EXPECT_EQ(run.Wait(), 0) << run.output();
}

TEST_P(DeliveryPreloadTest, UnderGdb) {
  Process run(RunUnder({"gdb", "-q", "-batch", "-ex", "set debuginfod enabled off", "-ex", "run", "-ex",
                        "info inferiors", "--args"}));
  EXPECT_EQ(run.Wait(), 0) << run.output();
  EXPECT_NE(run.output().find("exited normally"), std::string::npos) << run.output();
}

// A filter that does not let the agent do its work ends its thread alone, or the program.
TEST_P(DeliveryPreloadTest, AFilterThatEndsTheAgent) {
  std::vector<std::string> command = {
      server_, "run",   "--preload", "--log-level", "off",
      "--",    client_, "/dev/dxg",  "agent-ended", "client-of-an-agent-ended"};
  Process run(GetParam() ? command : AsNobody(command));
  EXPECT_EQ(run.Wait(), 0) << run.output();
}

TEST_P(DeliveryPreloadTest, InAnotherNetworkAndInAChildOfAShell) {
  Process run(RunUnder({"sh", "-c", "\"$@\"; exit $?", "sh"}));
  EXPECT_EQ(run.Wait(), 0) << run.output();
  if (!is_root()) return;
  Process elsewhere(RunUnder({"unshare", "-n"}));
  EXPECT_EQ(elsewhere.Wait(), 0) << elsewhere.output();
}

}  // namespace
}  // namespace dxg::client
