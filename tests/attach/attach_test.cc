// The real kernel, the product's command line, the echo device: what the attach modes promise that need no
// CUSE.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "tests/attach/process.h"
#include "tests/attach/programs.h"

namespace dxg::attach {
namespace {

namespace fs = std::filesystem;

// What is mounted at or below that place.
std::string MountsAt(const std::string& place) {
  std::string found, line;
  for (std::ifstream mounts("/proc/self/mounts"); std::getline(mounts, line);) {
    if (line.find(" " + place) != std::string::npos) found += line + "\n";
  }
  return found;
}

bool IsRunning(pid_t pid) { return kill(pid, 0) == 0; }

class AttachTest : public ProgramsTest {
 protected:
  AttachTest() : echo_(Copy(ATTACH_ECHO)), client_(Copy(ATTACH_CLIENT)) {}

  std::vector<std::string> Serve(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> command = {echo_,        "serve", "--attach=fuse", "--device", node_,
                                        "--ready-fd", "9"};
    command.insert(command.end(), more.begin(), more.end());
    return command;
  }

  const std::string echo_, client_;
};

class FuseFileTest : public AttachTest {};

TEST_F(FuseFileTest, RefusesACharacterDevice) {
  Process daemon({echo_, "serve", "--attach=fuse", "--device", "/dev/null"});
  EXPECT_EQ(daemon.Wait(), 1);
  EXPECT_NE(daemon.output().find("/dev/null is a character device already"), std::string::npos)
      << daemon.output();
}

TEST_F(FuseFileTest, RefusesAFileWithContent) {
  std::ofstream(node_) << "precious";
  Process daemon(Serve());
  EXPECT_EQ(daemon.Wait(), 1);
  EXPECT_NE(daemon.output().find("has content (8 bytes)"), std::string::npos) << daemon.output();
}

TEST_F(FuseFileTest, RefusesWhatIsServedAlready) {
  Process daemon(Serve(), true);
  ASSERT_TRUE(daemon.WaitReady());
  Process second(Serve());
  EXPECT_EQ(second.Wait(), 1);
  EXPECT_NE(second.output().find("is served already"), std::string::npos) << second.output();
}

TEST_F(FuseFileTest, RefusesAPlaceThatCannotBeMade) {
  Process daemon({echo_, "serve", "--attach=fuse", "--device", "/nowhere/dxg"});
  EXPECT_EQ(daemon.Wait(), 1);
  EXPECT_NE(daemon.output().find("cannot make /nowhere/dxg"), std::string::npos) << daemon.output();
}

TEST_F(FuseFileTest, CuseCannotBeElsewhere) {
  Process daemon({echo_, "serve", "--attach=cuse", "--device", node_});
  EXPECT_EQ(daemon.Wait(), 1);
  EXPECT_NE(daemon.output().find("needs --attach=fuse"), std::string::npos) << daemon.output();
}

TEST_F(FuseFileTest, ServesEveryUserAndLeavesNothing) {
  Process daemon(Serve(), true);
  ASSERT_TRUE(daemon.WaitReady());
  Process root({client_, node_});
  EXPECT_EQ(root.Wait(), 0) << root.output();
  Process nobody(AsNobody({client_, node_}));
  EXPECT_EQ(nobody.Wait(), 0) << nobody.output();

  daemon.Signal(SIGTERM);
  EXPECT_EQ(daemon.Wait(), 0) << daemon.output();
  EXPECT_FALSE(fs::exists(node_));
  EXPECT_EQ(MountsAt(node_), "");
}

TEST_F(FuseFileTest, ManyWorkersServeManyClients) {
  Process daemon(Serve({"--workers", "4"}), true);
  ASSERT_TRUE(daemon.WaitReady());
  std::vector<std::unique_ptr<Process>> clients;
  const std::vector<std::string> command = {
      client_, node_, "echo", "files", "large", "results", "signal-ends-a-wait", "killed-waiter-leaves"};
  for (int i = 0; i < 8; ++i) clients.push_back(std::make_unique<Process>(command));
  for (auto& client : clients) EXPECT_EQ(client->Wait(), 0) << client->output();
  daemon.Signal(SIGINT);
  EXPECT_EQ(daemon.Wait(), 0) << daemon.output();
}

TEST_F(FuseFileTest, KeepsAFileThatItDidNotMake) {
  std::ofstream(node_).close();
  Process daemon(Serve(), true);
  ASSERT_TRUE(daemon.WaitReady());
  daemon.Signal(SIGTERM);
  EXPECT_EQ(daemon.Wait(), 0);
  EXPECT_TRUE(fs::exists(node_));
}

TEST_F(FuseFileTest, StopsWhileAClientWaits) {
  Process daemon(Serve(), true);
  ASSERT_TRUE(daemon.WaitReady());
  UniqueFd client(open(node_.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(client.valid());
  daemon.Signal(SIGTERM);
  EXPECT_EQ(daemon.Wait(), 0) << daemon.output();
  EXPECT_FALSE(fs::exists(node_));
}

TEST_F(FuseFileTest, KilledDaemonIsSeenAtOnceAndReplaced) {
  Process daemon(Serve(), true);
  ASSERT_TRUE(daemon.WaitReady());
  Process client({client_, node_, "daemon-is-killed"});
  EXPECT_EQ(client.Wait(), 0) << client.output();
  EXPECT_EQ(daemon.Wait(), 128 + SIGKILL);

  Process next(Serve(), true);
  ASSERT_TRUE(next.WaitReady()) << (next.Wait(), next.output());
  Process again({client_, node_, "echo"});
  EXPECT_EQ(again.Wait(), 0) << again.output();
}

TEST_F(FuseFileTest, EndsWhenSomebodyElseUnmounts) {
  Process daemon(Serve(), true);
  ASSERT_TRUE(daemon.WaitReady());
  ASSERT_EQ(umount2(node_.c_str(), 0), 0);
  EXPECT_EQ(daemon.Wait(), 1);
  EXPECT_NE(daemon.output().find("unmounted or aborted by another process"), std::string::npos)
      << daemon.output();
}

// P: as root, which makes a mount namespace only; and as nobody, with a user namespace around it.
class RunTest : public AttachTest, public testing::WithParamInterface<bool> {
 protected:
  std::vector<std::string> Run(std::vector<std::string> program) const {
    const std::vector<std::string> run = {echo_, "run", "--"};
    program.insert(program.begin(), run.begin(), run.end());
    return GetParam() ? program : AsNobody(program);
  }
  std::vector<std::string> RunShell(const std::string& script) const { return Run({"sh", "-c", script}); }
};

INSTANTIATE_TEST_SUITE_P(Users, RunTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "Root" : "Nobody"; });

TEST_P(RunTest, ProgramThatIsNotThere) {
  Process run(Run({"/nowhere/program"}));
  EXPECT_EQ(run.Wait(), 127);
  EXPECT_NE(run.output().find("cannot run /nowhere/program: No such file"), std::string::npos)
      << run.output();
}

TEST_P(RunTest, ProgramThatIsNone) {
  Process run(Run({"/etc/passwd"}));
  EXPECT_EQ(run.Wait(), 126);
}

TEST_P(RunTest, DeviceThatIsRefused) {
  std::vector<std::string> command = Run({"true"});
  command.insert(std::find(command.begin(), command.end(), "run") + 1, "--backend=none");
  Process run(command);
  EXPECT_EQ(run.Wait(), 125);
  EXPECT_NE(run.output().find("no back-end none"), std::string::npos) << run.output();
}

TEST_P(RunTest, DoctorSaysWhatWorksHere) {
  const std::vector<std::string> command = {echo_, "doctor"};
  Process doctor(GetParam() ? command : AsNobody(command));
  EXPECT_EQ(doctor.Wait(), 3) << "an echo is no GPU, and a client's trial shows it: " << doctor.output();
  EXPECT_NE(doctor.output().find("no    run: "), std::string::npos) << doctor.output();
  for (const char* line : {"ok    FUSE", "ok    private /dev", "ok    caller's memory", "CUSE", "open files"})
    EXPECT_NE(doctor.output().find(line), std::string::npos) << "no line '" << line << "' in:\n"
                                                             << doctor.output();
}

TEST_P(RunTest, EveryCheckOfAClient) {
  Process run(Run({client_, "/dev/dxg"}));
  EXPECT_EQ(run.Wait(), 0) << run.output();
}

// Not after a stat, which mends what this is about.
TEST_P(RunTest, FirstThingIsToOpenForWriting) {
  Process run(RunShell("exec 3<>/dev/dxg"));
  EXPECT_EQ(run.Wait(), 0) << run.output();
}

TEST_P(RunTest, ExitStatusPassesThrough) {
  Process run(RunShell("exit 42"));
  EXPECT_EQ(run.Wait(), 42);
}

TEST_P(RunTest, DeadlySignalPassesThrough) {
  Process killed(RunShell("kill -KILL $$"));
  EXPECT_EQ(killed.Wait(), 128 + SIGKILL);
  Process terminated(RunShell("kill -TERM $$"));
  EXPECT_EQ(terminated.Wait(), 128 + SIGTERM);
}

TEST_P(RunTest, SignalIsPassedOnAndTheProgramDecides) {
  Process run(
      RunShell("trap 'echo got it; exit 7' TERM; echo ready; while :; do read forever || exit 1; done"));
  ASSERT_TRUE(run.WaitOutput("ready")) << run.output();
  run.Signal(SIGTERM);
  EXPECT_TRUE(run.WaitOutput("got it")) << run.output();
  EXPECT_EQ(run.Wait(), 7);
}

TEST_P(RunTest, ProgramIsTheUserThatItWas) {
  Process run(RunShell("id -u"));
  EXPECT_EQ(run.Wait(), 0);
  EXPECT_EQ(run.output(), GetParam() ? "0\n" : "65534\n");
}

TEST_P(RunTest, RestOfDevIsThere) {
  Process run(RunShell(
      "for name in null zero urandom shm fd stdin pts/ptmx ptmx; do [ -e /dev/$name ] || echo $name; done;"
      "echo x >/dev/null && head -c 1 /dev/zero | wc -c"));
  EXPECT_EQ(run.Wait(), 0);
  EXPECT_EQ(run.output(), "1\n");
}

TEST_P(RunTest, ItsTerminalHasAName) {
  std::string command;
  for (const std::string& word : Run({"tty"})) command += word + ' ';
  Process run({"script", "--quiet", "--return", "--command", command, "/dev/null"});
  EXPECT_EQ(run.Wait(), 0);
  EXPECT_EQ(run.output(), "/dev/console\r\n");
}

TEST_P(RunTest, NothingIsVisibleOutside) {
  const bool existed = fs::exists("/dev/dxg");
  const std::string before = MountsAt("/dev");
  Process run(RunShell("ls /dev/dxg; read end"));
  ASSERT_TRUE(run.WaitOutput("/dev/dxg"));
  EXPECT_EQ(fs::exists("/dev/dxg"), existed);
  EXPECT_EQ(MountsAt("/dev"), before);
  EXPECT_EQ(run.Wait(), 1);  // read met the end of its input
  EXPECT_EQ(MountsAt("/dev"), before);
}

TEST_P(RunTest, TwoAtOnceAreTwoNodes) {
  Process first(Run({client_, "/dev/dxg", "echo", "release-before-open"}));
  Process second(Run({client_, "/dev/dxg", "echo", "release-before-open"}));
  EXPECT_EQ(first.Wait(), 0) << first.output();
  EXPECT_EQ(second.Wait(), 0) << second.output();
}

TEST_P(RunTest, KilledDaemonIsSeenAtOnce) {
  Process run(Run({client_, "/dev/dxg", "daemon-is-killed"}));
  EXPECT_EQ(run.Wait(), 128 + SIGKILL);
  EXPECT_EQ(run.output(),
            "");  // the client's complaints would be here: it ends by itself, and finds nothing wrong
}

TEST_P(RunTest, DaemonEndsWithAKilledProgram) {
  Process run(RunShell("echo $$ pid; read forever </dev/ptmx"));
  ASSERT_TRUE(run.WaitOutput("pid"));
  const pid_t program = std::atoi(run.output().c_str());
  ASSERT_TRUE(IsRunning(program));
  kill(program, SIGKILL);
  EXPECT_EQ(run.Wait(), 128 + SIGKILL);
}

// A process that the program left behind does not keep the node, and does not hang on it.
TEST_P(RunTest, EndsWithTheProgramNotWithItsChildren) {
  Process run(RunShell("(trap '' HUP; read forever; exec " + client_ +
                       " /dev/dxg echo) </dev/ptmx >/dev/null 2>&1 &"
                       "echo $! pid; exit 3"));
  ASSERT_TRUE(run.WaitOutput("pid"));
  const pid_t left_behind = std::atoi(run.output().c_str());
  EXPECT_EQ(run.Wait(), 3);
  kill(left_behind, SIGKILL);
}

}  // namespace
}  // namespace dxg::attach
