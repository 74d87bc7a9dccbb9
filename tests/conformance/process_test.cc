// Who owns what: a process has one object on the node, whichever descriptor or thread it uses; another
// process has none of it.

#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/conformance/after_exec.h"
#include "tests/conformance/codes.h"
#include "tests/conformance/memory.h"
#include "tests/conformance/node.h"
#include "tests/conformance/peer.h"

namespace dxg::conformance {

namespace {

int CountQuery(const Node& node) {
  d3dkmt_enumadapters2 args = {};
  return node.TryIoctl(LX_DXENUMADAPTERS2, args);
}

// A process that shares our descriptors but is not us.
pid_t CloneWithSharedFiles() {
  return static_cast<pid_t>(syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0));
}

int ExitCodeOf(pid_t pid) {
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(OpenNode, TakesAnyAccessMode) {
  for (int flags : {O_RDONLY, O_WRONLY, O_RDWR, O_RDWR | O_NONBLOCK}) {
    const Node node = OpenNode(flags | O_CLOEXEC);
    EXPECT_EQ(CountQuery(node), 0) << "flags " << flags;
  }
}

TEST(OpenNode, PathDescriptorsAreNoClients) {
  const Node node = OpenNode(O_PATH | O_CLOEXEC);
  EXPECT_EQ(CountQuery(node), -EBADF);
}

TEST(OpenNode, IsACharacterDevice) {
  SKIP_ON_FILE("fstat says what it is");
  const Node node = OpenNode();
  struct stat status = {};
  ASSERT_EQ(fstat(node.fd(), &status), 0);
  EXPECT_TRUE(S_ISCHR(status.st_mode));
}

TEST(OpenNode, MayBeOpenedByEveryone) {
  const Node node = OpenNode();
  struct stat status = {};
  ASSERT_EQ(fstat(node.fd(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0666u);
}

TEST(OpenNode, CannotBeReadOrWritten) {
  const Node node = OpenNode(O_RDWR | O_CLOEXEC);
  char byte = 0;
  EXPECT_EQ(read(node.fd(), &byte, 1), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(write(node.fd(), &byte, 1), -1);
  EXPECT_EQ(errno, EINVAL);
  const Node readable = OpenNode(O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(write(readable.fd(), &byte, 1), -1);
  EXPECT_EQ(errno, EBADF);
}

TEST(OpenNode, CannotBeMapped) {
  SKIP_ON_FILE("files can be mapped");
  const Node node = OpenNode(O_RDWR | O_CLOEXEC);
  EXPECT_EQ(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, node.fd(), 0), MAP_FAILED);
  EXPECT_EQ(errno, ENODEV);
}

TEST(OpenNode, CannotBeSought) {
  SKIP_ON_USERSPACE_NODE("its kernel half answers lseek itself, with 0");
  const Node node = OpenNode();
  EXPECT_EQ(lseek(node.fd(), 0, SEEK_SET), -1);
  EXPECT_EQ(errno, ESPIPE);
}

TEST(OpenNode, IsAlwaysReady) {
  const Node node = OpenNode();
  pollfd entry = {node.fd(), POLLIN | POLLOUT, 0};
  EXPECT_EQ(poll(&entry, 1, 0), 1);
  EXPECT_EQ(entry.revents, POLLIN | POLLOUT);
}

TEST(OpenNode, CannotBeAddedToEpoll) {
  SKIP_ON_USERSPACE_NODE("its kernel half has a poll operation");
  const Node node = OpenNode();
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event = {};
  event.events = EPOLLIN;
  EXPECT_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, node.fd(), &event), -1);
  EXPECT_EQ(errno, EPERM);
  close(epoll);
}

TEST(OpenNode, CanBeDoneVeryOften) {
  std::vector<Node> nodes;
  for (int i = 0; i < 200; ++i) nodes.push_back(OpenNode());
  EXPECT_EQ(CountQuery(nodes.front()), 0);
  EXPECT_EQ(CountQuery(nodes.back()), 0);
}

// ---- One process, several descriptors ----

// [GEN] 13
TEST(Process, SecondOpenSharesTheHandles) {
  Node first = OpenNode();
  const Node second = OpenNode();
  const d3dkmthandle adapter = first.FirstAdapter();
  const d3dkmthandle device = second.CreateDevice(adapter);
  EXPECT_TRUE(first.IsDevice(device));
  first.DestroyDevice(device);
  EXPECT_FALSE(second.IsDevice(device));
}

// [GEN] 13
TEST(Process, ClosingOneDescriptorLeavesTheOthersWhatWasMadeThroughIt) {
  const Node second = OpenNode();
  d3dkmthandle adapter, device;
  {
    Node first = OpenNode();
    adapter = first.FirstAdapter();
    device = first.CreateDevice(adapter);
  }
  EXPECT_TRUE(second.IsAdapter(adapter));
  EXPECT_TRUE(second.IsDevice(device));
}

TEST(Process, DuplicatedDescriptorsAreOneClient) {
  Node node = OpenNode();
  const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
  const Node duplicate(fcntl(node.fd(), F_DUPFD_CLOEXEC, 0));
  node.Close();
  EXPECT_TRUE(duplicate.IsDevice(device));
}

TEST(Process, LastCloseEndsEverything) {
  InFreshProcess([] {
    winluid luid;
    d3dkmthandle adapter;
    std::vector<d3dkmthandle> devices;
    {
      Node node = OpenNode();
      luid = node.FirstLuid();
      adapter = node.FirstAdapter();
      for (int i = 0; i < 10; ++i) devices.push_back(node.CreateDevice(adapter));
    }
    const Node node = OpenNode();
    EXPECT_FALSE(node.IsAdapter(adapter));
    for (d3dkmthandle device : devices) EXPECT_FALSE(node.IsDevice(device));
    EXPECT_EQ(node.OpenAdapter(luid).v, 0x40000000u);  // a new table counts from the beginning
  });
}

TEST(Process, DescriptorClosedDuringCallsGivesEbadfAndNothingElse) {
  Node stays_open = OpenNode();
  const winluid luid = stays_open.FirstLuid();
  for (int round = 0; round < 20; ++round) {
    Node node = OpenNode();
    std::atomic<bool> closed = false;
    std::atomic<int> calls = 0;
    std::thread caller = StartThread([&, fd = node.fd()] {
      while (!closed) {
        d3dkmt_openadapterfromluid args = {luid, Handle(0)};
        const int result = ioctl(fd, LX_DXOPENADAPTERFROMLUID, &args);
        ++calls;
        EXPECT_TRUE(result == 0 || (result == -1 && errno == EBADF)) << result << " " << strerror(errno);
        if (result == 0) stays_open.CloseAdapter(args.adapter_handle);
      }
    });
    while (calls < 3) std::this_thread::yield();  // it is in full swing
    node.Close();
    closed = true;
    caller.join();
  }
  EXPECT_TRUE(stays_open.IsAdapter(stays_open.FirstAdapter()));
}

// ---- Threads ----

TEST(Process, ThreadsShareTheHandles) {
  Node node = OpenNode();
  const d3dkmthandle adapter = node.FirstAdapter();
  d3dkmthandle device = Handle(0);
  StartThread([&] { device = OpenNode().CreateDevice(adapter); }).join();
  EXPECT_TRUE(node.IsDevice(device));
}

TEST(Process, OutlivesTheThreadThatOpenedIt) {
  std::optional<Node> node;
  d3dkmthandle device = Handle(0);
  StartThread([&] {
    node.emplace(OpenNode());
    device = node->CreateDevice(node->FirstAdapter());
  }).join();
  ASSERT_TRUE(node.has_value());
  EXPECT_TRUE(node->IsDevice(device));
}

// ---- Other processes ----

TEST(Process, InheritedDescriptorGivesEnottyForEveryCall) {
  Node node = OpenNode();
  node.CreateDevice(node.FirstAdapter());
  InFreshProcess([&] {
    std::vector<std::byte> buffer(4096, std::byte{0});
    for (const Code& call : kCodes) EXPECT_EQ(node.TryIoctl(call.code, *buffer.data()), -ENOTTY) << call.name;
  });
  EXPECT_EQ(CountQuery(node), 0);
}

TEST(Process, InheritedDescriptorIsCheckedBeforeTheArgument) {
  SKIP_ON_FILE("its kernel copies the argument in before the node sees the caller");
  const Node node = OpenNode();
  InFreshProcess([&] {
    for (const Code& call : kCodes) EXPECT_EQ(node.TryIoctlAt(call.code, 0), -ENOTTY) << call.name;
  });
}

TEST(Process, SharedDescriptorTableOfAnotherProcessGivesEnotty) {
  const Node node = OpenNode();
  const pid_t child = CloneWithSharedFiles();
  if (child == 0) _exit(CountQuery(node) == -ENOTTY ? 0 : 1);
  EXPECT_EQ(ExitCodeOf(child), 0);
  EXPECT_EQ(CountQuery(node), 0);
}

TEST(Process, ChildOpensItsOwnAndHasItsOwnHandles) {
  Node node = OpenNode();
  const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
  InFreshProcess([&] {
    Node own = OpenNode();
    EXPECT_FALSE(own.IsDevice(device));
    const d3dkmthandle own_device = own.CreateDevice(own.FirstAdapter());
    EXPECT_TRUE(own.IsDevice(own_device));
    EXPECT_EQ(CountQuery(node), -ENOTTY);
  });
  EXPECT_TRUE(node.IsDevice(device));
}

TEST(Process, ChildThatEndsLeavesTheParentItsObjects) {
  Node node = OpenNode();
  const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
  InFreshProcess([&] { node.Close(); });
  EXPECT_EQ(node.ExecutionState(device), _D3DKMT_DEVICEEXECUTION_ACTIVE);
}

// [GEN] 5
TEST(Process, TwoClientsDoNotSeeEachOthersHandles) {
  Node node = OpenNode();
  const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
  Peer other([](Peer& parent) {
    Node node = OpenNode();
    const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
    parent.Send(device.v);
    parent.Receive();  // the first client has destroyed its device, which may have the same number
    EXPECT_TRUE(node.IsDevice(device));
  });
  const d3dkmthandle foreign = Handle(static_cast<uint32_t>(other.Receive()));
  node.DestroyDevice(device);
  EXPECT_FALSE(node.IsDevice(foreign));
  other.Send(0);
  other.Join();
}

TEST(Process, KilledClientLeavesTheOthersAlone) {
  Node node = OpenNode();
  const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
  Peer other([](Peer& parent) {
    Node node = OpenNode();
    for (int i = 0; i < 20; ++i) node.CreateDevice(node.FirstAdapter());
    parent.Send(0);
    parent.Receive();
  });
  other.Receive();
  other.Kill();
  EXPECT_EQ(node.ExecutionState(device), _D3DKMT_DEVICEEXECUTION_ACTIVE);
  EXPECT_TRUE(node.IsDevice(node.CreateDevice(node.FirstAdapter())));
}

// exec keeps the process, and with it a descriptor that is not closed by it.
TEST(Process, DescriptorWorksAcrossExec) {
  InFreshProcess([] {
    Node node = OpenNode(O_RDONLY);
    const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
    ExecAfter("device", {static_cast<uint64_t>(node.fd()), device.v});
  });
}

TEST(Process, DescriptorAfterExecOfAChildGivesEnotty) {
  Node node = OpenNode(O_RDONLY);
  const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
  const pid_t child = fork();
  if (child == 0) ExecAfter("device", {static_cast<uint64_t>(node.fd()), device.v});
  EXPECT_EQ(ExitCodeOf(child), 1);  // it started, and the device was not its own
}

}  // namespace
}  // namespace dxg::conformance
