// CreateSyncFile, WaitSyncFile, OpenSyncObjectFromSyncFile: fences as descriptors that poll understands.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/sync_file.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <thread>

#include "tests/conformance/descriptor_post.h"
#include "tests/conformance/peer.h"
#include "tests/conformance/sync_client.h"

namespace dxg::conformance {
namespace {

using sync_flags::kShared;

class FenceClient : public SyncClient {
 public:
  d3dkmthandle NewFence(uint32_t flags = 0) const { return CreateFence(0, flags).handle; }
  int TryCreateSyncFile(d3dkmthandle fence, uint64_t value, int* file) const {
    d3dkmt_createsyncfile args = {device, fence, value, ~uint64_t{0}};
    const int result = node.TryIoctl(LX_DXCREATESYNCFILE, args);
    *file = static_cast<int>(args.sync_file_handle);
    return result;
  }
  int CreateSyncFile(d3dkmthandle fence, uint64_t value) const {
    int file = -1;
    if (TryCreateSyncFile(fence, value, &file) != 0) throw std::runtime_error("CreateSyncFile");
    return file;
  }
  int TryWaitFile(int file, d3dkmthandle context) const {
    d3dkmt_waitsyncfile args = {};
    args.sync_file_handle = static_cast<uint64_t>(file);
    args.context = context;
    return node.TryIoctl(LX_DXWAITSYNCFILE, args);
  }
  int TryOpen(int file, d3dkmt_opensyncobjectfromsyncfile* args) const {
    *args = {};
    args->sync_file_handle = static_cast<uint64_t>(file);
    args->device = device;
    return node.TryIoctl(LX_DXOPENSYNCOBJECTFROMSYNCFILE, *args);
  }
};

short Ready(int file, int timeout_ms = 0) {
  pollfd polled = {file, POLLIN, 0};
  poll(&polled, 1, timeout_ms);
  return polled.revents;
}

int TryMerge(int first, int second, int* merged) {
  sync_merge_data args = {};
  std::strcpy(args.name, "both");
  args.fd2 = second;
  if (ioctl(first, SYNC_IOC_MERGE, &args) != 0) return -errno;
  *merged = args.fence;
  return 0;
}

int Status(int file) {
  sync_file_info info = {};
  return ioctl(file, SYNC_IOC_FILE_INFO, &info) == 0 ? info.status : -errno;
}

TEST(SyncFile, RefusesWhatIsNoSyncObject) {
  FenceClient client;
  const PagingQueue queue = client.CreatePagingQueue();
  int file;
  EXPECT_EQ(client.TryCreateSyncFile(Handle(0), 1, &file), -EINVAL);
  EXPECT_EQ(client.TryCreateSyncFile(client.device, 1, &file), -EINVAL);
  EXPECT_EQ(client.TryCreateSyncFile(queue.fence, 1, &file), -EINVAL);
}

TEST(SyncFile, RefusesOtherDescriptors) {
  FenceClient client;
  const d3dkmthandle context = client.node.CreateContext(client.device);
  const Descriptor null(open("/dev/null", O_RDWR | O_CLOEXEC));
  d3dkmt_opensyncobjectfromsyncfile opened;
  for (const int wrong : {-1, 777, null.get(), client.node.fd()}) {
    EXPECT_EQ(client.TryWaitFile(wrong, context), -EINVAL) << wrong;
    EXPECT_EQ(client.TryOpen(wrong, &opened), -EINVAL) << wrong;
  }
  const Descriptor file(client.CreateSyncFile(client.NewFence(kShared), 1));
  EXPECT_EQ(client.TryWaitFile(file.get(), client.device), -EINVAL);
}

// [SHR] 177
TEST(SyncFile, IsReadyWhenTheFenceIsThereAndNotBefore) {
  FenceClient client;
  const d3dkmthandle fence = client.NewFence();
  const Descriptor file(client.CreateSyncFile(fence, 5));
  EXPECT_EQ(fcntl(file.get(), F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(Ready(file.get()), 0);
  EXPECT_EQ(Status(file.get()), 0);
  client.Signal(fence, 4);
  EXPECT_EQ(Ready(file.get()), 0);
  client.Signal(fence, 5);
  EXPECT_EQ(Ready(file.get(), -1), POLLIN);
  EXPECT_EQ(Status(file.get()), 1);
  const Descriptor late(client.CreateSyncFile(fence, 3));
  EXPECT_EQ(Ready(late.get(), -1), POLLIN);
}

TEST(SyncFile, WakesPollSelectAndEpoll) {
  FenceClient client;
  const d3dkmthandle fence = client.NewFence();
  const Descriptor file(client.CreateSyncFile(fence, 1)), set(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event = {.events = EPOLLIN, .data = {.u64 = 9}};
  ASSERT_EQ(epoll_ctl(set.get(), EPOLL_CTL_ADD, file.get(), &event), 0);
  std::thread poller = StartThread([&] { EXPECT_EQ(Ready(file.get(), -1), POLLIN); });
  std::thread selecter = StartThread([&] {
    fd_set readable;
    FD_ZERO(&readable);
    FD_SET(file.get(), &readable);
    EXPECT_EQ(select(file.get() + 1, &readable, nullptr, nullptr, nullptr), 1);
  });
  std::thread epoller = StartThread([&] {
    epoll_event woke = {};
    EXPECT_EQ(epoll_wait(set.get(), &woke, 1, -1), 1);
    EXPECT_EQ(+woke.data.u64, 9u);  // a copy: epoll_event is packed
  });
  client.Signal(fence, 1);
  poller.join();
  selecter.join();
  epoller.join();
}

TEST(SyncFile, CannotBeReadOrWritten) {
  FenceClient client;
  const Descriptor file(client.CreateSyncFile(client.NewFence(), 1));
  char byte = 0;
  EXPECT_EQ(read(file.get(), &byte, 1), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(write(file.get(), &byte, 1), -1);
  EXPECT_EQ(errno, EBADF) << "it is open for reading only";
}

TEST(SyncFile, TellsOfItself) {
  FenceClient client;
  const d3dkmthandle fence = client.NewFence();
  const Descriptor file(client.CreateSyncFile(fence, 7));
  sync_fence_info each = {};
  sync_file_info info = {};
  info.num_fences = 1;
  info.sync_fence_info = Address(&each);
  ASSERT_EQ(ioctl(file.get(), SYNC_IOC_FILE_INFO, &info), 0);
  EXPECT_EQ(info.num_fences, 1u);
  EXPECT_STREQ(each.driver_name, "dxgkrnl");
  EXPECT_STREQ(each.obj_name, "no_timeline");
  EXPECT_EQ(each.status, 0);
  client.Signal(fence, 7);
  EXPECT_EQ(Ready(file.get(), -1), POLLIN);
  ASSERT_EQ(ioctl(file.get(), SYNC_IOC_FILE_INFO, &info), 0);
  EXPECT_EQ(each.status, 1);
  EXPECT_NE(each.timestamp_ns, 0u);
  info.flags = 1;
  EXPECT_EQ(ioctl(file.get(), SYNC_IOC_FILE_INFO, &info), -1);
  EXPECT_EQ(errno, EINVAL);
}

TEST(SyncFile, MergedIsReadyWhenAllAre) {
  FenceClient client;
  const d3dkmthandle one = client.NewFence(kShared), two = client.NewFence(kShared);
  const Descriptor first(client.CreateSyncFile(one, 1)), second(client.CreateSyncFile(two, 1));
  int merged = -1;
  EXPECT_EQ(TryMerge(first.get(), client.node.fd(), &merged), -ENOENT);
  ASSERT_EQ(TryMerge(first.get(), second.get(), &merged), 0);
  const Descriptor both(merged);
  EXPECT_EQ(fcntl(merged, F_GETFD), FD_CLOEXEC);
  sync_file_info info = {};
  ASSERT_EQ(ioctl(merged, SYNC_IOC_FILE_INFO, &info), 0);
  EXPECT_STREQ(info.name, "both");
  EXPECT_EQ(info.num_fences, 2u);
  const d3dkmthandle context = client.node.CreateContext(client.device);
  EXPECT_EQ(client.TryWaitFile(merged, context), -EINVAL);
  client.Signal(two, 1);
  EXPECT_EQ(Ready(second.get(), -1), POLLIN);
  EXPECT_EQ(Ready(merged), 0);
  client.Signal(one, 1);
  EXPECT_EQ(Ready(merged, -1), POLLIN);
}

TEST(SyncFile, PrivateFencesAreNotOpened) {
  FenceClient client;
  const Descriptor file(client.CreateSyncFile(client.NewFence(), 1));
  d3dkmt_opensyncobjectfromsyncfile opened;
  EXPECT_EQ(client.TryOpen(file.get(), &opened), 0);
  EXPECT_EQ(opened.syncobj.v, 0u);
  EXPECT_EQ(client.TryWaitFile(file.get(), client.node.CreateContext(client.device)), 0);
}

TEST(SyncFile, LeadsAnotherProcessToTheFence) {
  FenceClient client;
  // The host takes the end of any handle of such a fence, also of the one that WaitSyncFile has for a moment,
  // for the end of all waits of CPUs. The file must not.
  const d3dkmthandle fence = client.NewFence(kShared);
  const Descriptor file(client.CreateSyncFile(fence, 5));
  Peer peer([&](Peer& parent) {
    FenceClient own;
    d3dkmt_opensyncobjectfromsyncfile opened;
    ASSERT_EQ(own.TryOpen(file.get(), &opened), 0);
    EXPECT_NE(opened.syncobj.v, 0u);
    EXPECT_EQ(opened.fence_value, 5u);
    EXPECT_EQ(own.TryWaitFile(file.get(), own.node.CreateContext(own.device)), 0);
    EXPECT_EQ(Ready(file.get()), 0);
    parent.Send(1);
    EXPECT_EQ(Ready(file.get(), -1), POLLIN);
    const auto* value =
        reinterpret_cast<const volatile uint64_t*>(opened.fence_value_cpu_va);  // Safety: mapped
    EXPECT_EQ(*value, 5u);
  });
  peer.Receive();
  client.Signal(fence, 5);
  peer.Join();
}

// A receiver needs neither the device nor a descriptor of its own on the node.
TEST(SyncFile, TravelsInAMessage) {
  const DescriptorPost post;
  Peer peer([&](Peer& parent) {
    const Descriptor file(post.Receive());
    EXPECT_EQ(Ready(file.get()), 0);
    EXPECT_EQ(Status(file.get()), 0);
    parent.Send(1);
    EXPECT_EQ(Ready(file.get(), -1), POLLIN);
    EXPECT_EQ(Status(file.get()), 1);
  });
  FenceClient client;
  const d3dkmthandle fence = client.NewFence();
  {
    const Descriptor file(client.CreateSyncFile(fence, 3));
    post.Send(file.get());
  }
  peer.Receive();
  client.Signal(fence, 3);
  peer.Join();
}

// A process that may open nothing more gets EMFILE and loses nothing: with room again all is as before.
TEST(SyncFile, NeedsRoomForItsDescriptor) {
  InFreshProcess([] {
    FenceClient client;
    const d3dkmthandle fence = client.NewFence();
    const Descriptor next(dup(client.node.fd()));
    rlimit files = {};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
    const rlimit full = {static_cast<rlim_t>(next.get() + 1), files.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &full), 0);
    int file = -1;
    for (int i = 0; i < 3; ++i) EXPECT_EQ(client.TryCreateSyncFile(fence, 1, &file), -EMFILE);
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
    const Descriptor made(client.CreateSyncFile(fence, 1));
    client.Signal(fence, 1);
    EXPECT_EQ(Ready(made.get(), -1), POLLIN);
  });
}

// [SHR] 178
TEST(SimSyncFile, HoldsTheContextThatItIsGivenAndNoOther) {
  FenceClient client;
  const d3dkmthandle fence = client.NewFence(kShared);
  const Descriptor file(client.CreateSyncFile(fence, 5));
  const d3dkmthandle held = client.node.CreateContext(client.device),
                     other = client.node.CreateContext(client.device);
  ASSERT_EQ(client.TryWaitFile(file.get(), held), 0);
  const d3dkmthandle behind = client.NewFence(), beside = client.NewFence();
  const Descriptor is_behind(client.CreateSyncFile(behind, 1)), is_beside(client.CreateSyncFile(beside, 1));
  ASSERT_EQ(client.TryGpuSignal(held, behind, 1), 0);
  ASSERT_EQ(client.TryGpuSignal(other, beside, 1), 0);
  EXPECT_EQ(Ready(is_beside.get(), -1), POLLIN);
  EXPECT_EQ(Ready(is_behind.get()), 0);
  client.Signal(fence, 4);
  EXPECT_EQ(Ready(is_behind.get()), 0);
  client.Signal(fence, 5);
  EXPECT_EQ(Ready(is_behind.get(), -1), POLLIN);
}

// Whoever sleeps on it must not sleep for ever: the only one who could be told of the fence is gone.
TEST(SimSyncFile, EndsWithItsProcess) {
  FenceClient client;
  const d3dkmthandle fence = client.NewFence();
  const Descriptor file(client.CreateSyncFile(fence, 1));
  client.node.Close();
  EXPECT_EQ(Ready(file.get(), -1), POLLIN);
  EXPECT_NE(Status(file.get()), 0);
}

}  // namespace
}  // namespace dxg::conformance
