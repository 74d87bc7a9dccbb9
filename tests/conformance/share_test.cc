// ShareObjects, QueryResourceInfoFromNtHandle, OpenResourceFromNtHandle.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tests/conformance/codes.h"
#include "tests/conformance/memory.h"
#include "tests/conformance/memory_client.h"
#include "tests/conformance/peer.h"

namespace dxg::conformance {
namespace {

SharedResource CreateShared(const MemoryClient& client, uint32_t count = 1) {
  return client.CreateResource(count, kPageBytes, true);
}

// Descriptors that lead to no shared resource; each ends with its scope.
struct WrongDescriptors {
  WrongDescriptors() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
    for (int fd : {open("/proc/self/exe", O_RDONLY | O_CLOEXEC), ends[0], ends[1], TryOpenNode(),
                   open("/dev/null", O_RDWR | O_CLOEXEC)})
      open_ones.push_back(std::make_unique<Descriptor>(fd));
    const int closed = dup(0);
    close(closed);
    numbers = {static_cast<uint64_t>(closed), 0x3fffffff, 0x7fffffff, 0xffffffff, ~0ull};
    for (const auto& descriptor : open_ones) numbers.push_back(static_cast<uint64_t>(descriptor->get()));
  }
  std::vector<std::unique_ptr<Descriptor>> open_ones;
  std::vector<uint64_t> numbers;
};

// ---- ShareObjects ----

TEST(ShareObjects, RefusesAllCountsButOneFirst) {
  const MemoryClient client;
  for (uint32_t count : {0u, 2u, 3u, 4u, 0xffffffffu}) {
    d3dkmt_shareobjects args = {};
    args.object_count = count;
    args.objects = kUnmappedAddress;
    args.shared_handle = kUnmappedAddress;
    EXPECT_EQ(client.node.TryIoctl(LX_DXSHAREOBJECTS, args), -EINVAL) << count;
  }
}

TEST(ShareObjects, FaultsOnABadList) {
  const MemoryClient client;
  for (uint64_t address : {uint64_t{0}, kUnmappedAddress, kKernelAddress}) {
    d3dkmt_shareobjects args = {};
    args.object_count = 1;
    args.objects = address;
    EXPECT_EQ(client.node.TryIoctl(LX_DXSHAREOBJECTS, args), -EFAULT);
  }
}

TEST(ShareObjects, RefusesWhatCannotBeShared) {
  const MemoryClient client;
  const PagingQueue queue = client.CreatePagingQueue();
  int descriptor;
  for (d3dkmthandle bad : {Handle(0), Handle(0x40fff000), client.device, queue.handle, queue.fence})
    EXPECT_EQ(client.TryShare(bad, &descriptor), -EINVAL) << bad.v;
}

TEST(ShareObjects, RefusesAllocationsAndResourcesThatAreNotShared) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const SharedResource own = client.CreateResource(), shared = CreateShared(client),
                       stale = CreateShared(client);
  client.DestroyResource(stale.resource);
  int descriptor;
  for (d3dkmthandle bad : {own.resource, own.allocations[0], shared.allocations[0], stale.resource})
    EXPECT_EQ(client.TryShare(bad, &descriptor), -EINVAL) << bad.v;
}

TEST(ShareObjects, RefusesTheResourceOfAnotherClient) {
  SKIP_WITHOUT_ALLOCATIONS();
  Peer other([](Peer& parent) {
    const MemoryClient client;
    SharedResource last = CreateShared(client);
    for (int i = 0; i < 50; ++i) last = CreateShared(client);
    parent.Send(last.resource.v);
    parent.Receive();
  });
  const MemoryClient client;
  int descriptor;
  EXPECT_EQ(client.TryShare(Handle(static_cast<uint32_t>(other.Receive())), &descriptor), -EINVAL);
  other.Send(0);
  other.Join();
}

TEST(ShareObjects, WithoutRoomForADescriptorTakesNothingAway) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const SharedResource shared = CreateShared(client);
  auto first = std::make_unique<Descriptor>(client.Share(shared.resource));
  const Descriptor second(client.Share(shared.resource));
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  const int next = dup(0);
  close(next);
  const rlimit full = {static_cast<rlim_t>(next), limit.rlim_max};
  setrlimit(RLIMIT_NOFILE, &full);
  int descriptor, results[3];
  for (int& result : results) result = client.TryShare(shared.resource, &descriptor);
  setrlimit(RLIMIT_NOFILE, &limit);
  for (const int result : results) EXPECT_LT(result, 0);
  first.reset();
  d3dkmt_queryresourceinfofromnthandle info = {};
  EXPECT_EQ(client.TryQueryShared(second.get(), &info), 0);
  EXPECT_NO_THROW((void)client.OpenShared(second.get())) << "the name that the host knows is still there";
}

// That no descriptor stays open is watched around every test.
TEST(ShareObjects, IsUndoneWhereItsAnswerCannotBeWritten) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const SharedResource shared = CreateShared(client);
  GuardedMemory short_memory(sizeof(uint64_t)), read_only(sizeof(uint64_t));
  read_only.MakeReadOnly();
  for (uint64_t address :
       {uint64_t{0}, kUnmappedAddress, kKernelAddress, short_memory.one_byte_short(), read_only.address()}) {
    d3dkmt_shareobjects args = {};
    args.object_count = 1;
    args.objects = Address(&shared.resource);
    args.shared_handle = address;
    EXPECT_EQ(client.node.TryIoctl(LX_DXSHAREOBJECTS, args), -EFAULT) << address;
  }
  const Descriptor descriptor(client.Share(shared.resource));
  client.OpenShared(descriptor.get());
}

TEST(ShareObjects, WritesTheNumberAndNothingElse) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const SharedResource shared = CreateShared(client);
  uint64_t number[2] = {~0ull, ~0ull};
  auto args = Filled<d3dkmt_shareobjects>(0xa5);  // attributes and access are never looked at
  args.object_count = 1;
  args.objects = Address(&shared.resource);
  args.shared_handle = Address(number);
  const auto before = args;
  ASSERT_EQ(client.node.TryIoctl(LX_DXSHAREOBJECTS, args), 0);
  const Descriptor descriptor(static_cast<int>(number[0]));
  EXPECT_LT(number[0], 1u << 30) << "all 8 bytes are written";
  EXPECT_EQ(number[1], ~0ull);
  EXPECT_EQ(std::memcmp(&args, &before, sizeof(args)), 0);
}

TEST(ShareObjects, DescriptorClosesOnExec) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const Descriptor descriptor(client.Share(CreateShared(client).resource));
  EXPECT_EQ(fcntl(descriptor.get(), F_GETFD), FD_CLOEXEC);
}

TEST(ShareObjects, DescriptorDoesNothingButClose) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const Descriptor descriptor(client.Share(CreateShared(client).resource));
  char byte = 0;
  errno = 0;
  EXPECT_EQ(read(descriptor.get(), &byte, 1), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(write(descriptor.get(), &byte, 1), -1);
  EXPECT_TRUE(errno == EINVAL || errno == EBADF) << strerror(errno);
  pollfd entry = {descriptor.get(), POLLIN | POLLOUT, 0};
  EXPECT_EQ(poll(&entry, 1, 0), 1);
  EXPECT_EQ(entry.revents, POLLIN | POLLOUT);
}

TEST(ShareObjects, DescriptorIsNoNode) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const Descriptor descriptor(client.Share(CreateShared(client).resource));
  std::vector<std::byte> args(4096);
  for (const Code& call : kCodes) {
    const int result = ioctl(descriptor.get(), call.code, args.data());
    EXPECT_EQ(result, -1) << call.name;
    EXPECT_EQ(errno, ENOTTY) << call.name;
  }
}

TEST(ShareObjects, GivesANewDescriptorEachTime) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const SharedResource shared = CreateShared(client);
  std::vector<std::unique_ptr<Descriptor>> descriptors;
  std::set<int> numbers;
  for (int i = 0; i < 20; ++i) {
    descriptors.push_back(std::make_unique<Descriptor>(client.Share(shared.resource)));
    numbers.insert(descriptors.back()->get());
  }
  EXPECT_EQ(numbers.size(), 20u);
  for (int i = 0; i < 19; ++i) descriptors[static_cast<size_t>(i)]->Close();
  EXPECT_EQ(client.OpenShared(descriptors.back()->get()).allocations.size(), 1u);
}

TEST(ShareObjects, WorksAgainAfterTheLastDescriptorIsClosed) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const SharedResource shared = CreateShared(client);
  FillPattern(client.LockBytes(shared.allocations[0]), 1);
  for (int i = 0; i < 5; ++i) {
    const Descriptor descriptor(client.Share(shared.resource));
    const SharedResource opened = client.OpenShared(descriptor.get());
    EXPECT_EQ(FindWrongByte(client.LockBytes(opened.allocations[0]), 1), -1);
  }
}

TEST(ShareObjects, WorksFromManyThreads) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const SharedResource shared = CreateShared(client);
  FillPattern(client.LockBytes(shared.allocations[0]), 1);
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.push_back(StartThread([&] {
      for (int round = 0; round < 20; ++round) {
        const Descriptor descriptor(client.Share(shared.resource));
        const SharedResource opened = client.OpenShared(descriptor.get());
        EXPECT_EQ(FindWrongByte(client.LockBytes(opened.allocations[0]), 1), -1);
        client.DestroyResource(opened.resource);
      }
    }));
  for (std::thread& thread : threads) thread.join();
}

// ---- Sealing ----

// [ALC] 78
TEST(Sealing, NothingIsAddedAfterTheFirstShare) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const SharedResource shared = CreateShared(client);
  Descriptor descriptor(client.Share(shared.resource));
  descriptor.Close();
  Creation after(client.device);
  after.args.resource = shared.resource;
  EXPECT_EQ(after.Try(client.node), -EINVAL) << "it stays sealed without any descriptor";
}

// [ALC] 78. Of what is added later no data is kept for openers.
TEST(Sealing, AllocationsAddedBeforeTheFirstShareCount) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const SharedResource shared = CreateShared(client);
  Creation before(client.device);
  before.args.resource = shared.resource;
  ASSERT_EQ(before.Try(client.node), 0);
  FillPattern(client.LockBytes(before.infos[0].allocation), 1);
  const Descriptor descriptor(client.Share(shared.resource));
  d3dkmt_queryresourceinfofromnthandle info = {};
  ASSERT_EQ(client.TryQueryShared(descriptor.get(), &info), 0);
  EXPECT_EQ(info.allocation_count, 2u);
  EXPECT_EQ(info.total_priv_drv_data_size, sizeof(AllocationData));
  const SharedResource opened = client.OpenShared(descriptor.get());
  ASSERT_EQ(opened.allocations.size(), 2u);
  EXPECT_EQ(FindWrongByte(client.LockBytes(opened.allocations[1]), 1), -1);
}

// ---- QueryResourceInfoFromNtHandle ----

TEST(QueryResourceInfo, RefusesDescriptorsOfOtherThings) {
  const MemoryClient client;
  const WrongDescriptors wrong;
  for (uint64_t number : wrong.numbers) {
    d3dkmt_queryresourceinfofromnthandle args = {};
    args.device = client.device;
    args.nt_handle = number;
    EXPECT_EQ(client.node.TryIoctl(LX_DXQUERYRESOURCEINFOFROMNTHANDLE, args), -EINVAL) << number;
  }
}

TEST(QueryResourceInfo, RefusesABadDevice) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const Descriptor descriptor(client.Share(CreateShared(client).resource));
  for (d3dkmthandle bad : {Handle(0), Handle(0x40fff000), client.CreatePagingQueue().handle}) {
    d3dkmt_queryresourceinfofromnthandle args = {};
    args.device = bad;
    args.nt_handle = static_cast<uint64_t>(descriptor.get());
    EXPECT_EQ(client.node.TryIoctl(LX_DXQUERYRESOURCEINFOFROMNTHANDLE, args), -EINVAL);
  }
}

// [SHR] 172: the buffer of runtime data is not touched
TEST(QueryResourceInfo, AnswersTheSizesOfItsCreation) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  Creation creation(client.device, 3);
  creation.MakeShared();
  creation.SetData(1, AllocationData{.bytes = kPageBytes}, 5);
  creation.SetResourceData(std::vector<uint8_t>(13, 1));
  creation.SetRuntimeData(std::vector<uint8_t>(29, 2));
  ASSERT_EQ(creation.Try(client.node), 0);
  const Descriptor descriptor(client.Share(creation.args.resource));
  d3dkmt_queryresourceinfofromnthandle args = {};
  args.private_runtime_data = kUnmappedAddress;
  args.private_runtime_data_size = 999;
  args.reserved = 0x5a5a;
  ASSERT_EQ(client.TryQueryShared(descriptor.get(), &args), 0);
  EXPECT_EQ(args.private_runtime_data_size, 29u);
  EXPECT_EQ(args.resource_priv_drv_data_size, 13u);
  EXPECT_EQ(args.total_priv_drv_data_size, 3 * sizeof(AllocationData) + 5);
  EXPECT_EQ(args.allocation_count, 3u);
  EXPECT_EQ(args.private_runtime_data, kUnmappedAddress);
  EXPECT_EQ(args.reserved, 0x5a5au);
}

TEST(QueryResourceInfo, UpperHalfOfTheNumberIsCutOff) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const Descriptor descriptor(client.Share(CreateShared(client).resource));
  d3dkmt_queryresourceinfofromnthandle args = {};
  args.device = client.device;
  args.nt_handle = static_cast<uint64_t>(descriptor.get()) | 0x1234567800000000;
  EXPECT_EQ(client.node.TryIoctl(LX_DXQUERYRESOURCEINFOFROMNTHANDLE, args), 0);
}

TEST(QueryResourceInfo, FaultsWhereItsAnswerCannotBeWritten) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const Descriptor descriptor(client.Share(CreateShared(client).resource));
  GuardedMemory args(sizeof(d3dkmt_queryresourceinfofromnthandle));
  args.as<d3dkmt_queryresourceinfofromnthandle>()->device = client.device;
  args.as<d3dkmt_queryresourceinfofromnthandle>()->nt_handle = static_cast<uint64_t>(descriptor.get());
  args.MakeReadOnly();
  EXPECT_EQ(client.node.TryIoctlAt(LX_DXQUERYRESOURCEINFOFROMNTHANDLE, args.address()), -EFAULT);
}

// ---- OpenResourceFromNtHandle: refusals ----

TEST(OpenResource, RefusesDescriptorsOfOtherThings) {
  const MemoryClient client;
  const WrongDescriptors wrong;
  for (uint64_t number : wrong.numbers) {
    d3dkmt_openresourcefromnthandle args = {};
    args.device = client.device;
    args.nt_handle = number;
    args.allocation_count = 1;
    EXPECT_EQ(client.node.TryIoctl(LX_DXOPENRESOURCEFROMNTHANDLE, args), -EINVAL) << number;
  }
}

struct SharedByItself {
  SharedByItself() : creation(client.device, 2) {
    creation.MakeShared();
    creation.SetData(0, AllocationData{.bytes = kPageBytes}, 7);
    creation.SetResourceData({1, 2, 3, 4, 5});
    creation.SetRuntimeData({9, 8, 7});
    client.node.Ioctl(LX_DXCREATEALLOCATION, creation.args, "CreateAllocation");
    descriptor = std::make_unique<Descriptor>(client.Share(creation.args.resource));
  }
  MemoryClient client;
  Creation creation;
  std::unique_ptr<Descriptor> descriptor;
};

TEST(OpenResource, RefusesABadDevice) {
  SKIP_WITHOUT_ALLOCATIONS();
  const SharedByItself shared;
  const d3dkmthandle stale = const_cast<Node&>(shared.client.node)
                                 .CreateDevice(const_cast<Node&>(shared.client.node).FirstAdapter());
  shared.client.node.DestroyDevice(stale);
  for (d3dkmthandle bad : {Handle(0), Handle(0x40fff000), stale, shared.creation.args.resource}) {
    Opening opening(shared.client.node, shared.client.device, shared.descriptor->get());
    opening.args.device = bad;
    EXPECT_EQ(opening.Try(shared.client.node), -EINVAL) << bad.v;
  }
}

// [SHR] 173
TEST(OpenResource, RefusesAnyOtherCountOrLessRoom) {
  SKIP_WITHOUT_ALLOCATIONS();
  const SharedByItself shared;
  const auto result_with = [&](const std::function<void(d3dkmt_openresourcefromnthandle&)>& spoil) {
    Opening opening(shared.client.node, shared.client.device, shared.descriptor->get());
    spoil(opening.args);
    return opening.Try(shared.client.node);
  };
  EXPECT_EQ(result_with([](auto& args) { --args.allocation_count; }), -EINVAL);
  EXPECT_EQ(result_with([](auto& args) { ++args.allocation_count; }), -EINVAL);
  EXPECT_EQ(result_with([](auto& args) { args.allocation_count = 0; }), -EINVAL);
  EXPECT_EQ(result_with([](auto& args) { --args.private_runtime_data_size; }), -EINVAL);
  EXPECT_EQ(result_with([](auto& args) { --args.resource_priv_drv_data_size; }), -EINVAL);
  EXPECT_EQ(result_with([](auto& args) { --args.total_priv_drv_data_size; }), -EINVAL);
  EXPECT_EQ(result_with([](auto&) {}), 0);
}

// Every failure after the host has opened the resource is replaced by the result of closing it there.
TEST(OpenResource, SaysSuccessButOpensNothingWhereItsAnswerCannotBeWritten) {
  SKIP_WITHOUT_ALLOCATIONS();
  const SharedByItself shared;
  const auto open_with = [&](const std::function<void(d3dkmt_openresourcefromnthandle&)>& spoil) {
    Opening opening(shared.client.node, shared.client.device, shared.descriptor->get());
    spoil(opening.args);
    EXPECT_EQ(opening.Try(shared.client.node), 0);
    EXPECT_EQ(opening.args.resource.v, 0u);
  };
  open_with([](auto& args) { args.private_runtime_data = kUnmappedAddress; });
  open_with([](auto& args) { args.resource_priv_drv_data = kUnmappedAddress; });
  open_with([](auto& args) { args.total_priv_drv_data = kUnmappedAddress; });
  open_with([](auto& args) { args.open_alloc_info = kUnmappedAddress; });
  EXPECT_TRUE(shared.client.IsResource(shared.creation.args.resource));
}

// ---- OpenResourceFromNtHandle: success ----

// [ALC] 76
TEST(OpenResource, DeliversTheDataOfItsCreation) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  Creation creation(client.device, 3);
  creation.MakeShared();
  for (size_t i = 0; i < 3; ++i) creation.SetData(i, AllocationData{.bytes = (i + 1) * kPageBytes}, 3 * i);
  creation.SetResourceData({1, 2, 3, 4, 5});
  creation.SetRuntimeData({9, 8, 7});
  const std::vector<std::vector<uint8_t>> given = creation.data;
  ASSERT_EQ(creation.Try(client.node), 0);
  const Descriptor descriptor(client.Share(creation.args.resource));
  Opening opening(client.node, client.device, descriptor.get());
  opening.data.resize(opening.data.size() + 100, 0xa5);
  opening.args.total_priv_drv_data = Address(opening.data.data());
  opening.args.total_priv_drv_data_size += 100;
  for (d3dddi_openallocationinfo2& info : opening.infos) std::memset(&info, 0xa5, sizeof(info));
  const SharedResource opened = opening.Open(client.node);
  EXPECT_TRUE(client.IsResource(opened.resource));
  EXPECT_NE(opened.resource.v, creation.args.resource.v);
  EXPECT_EQ(opening.resource_data, creation.resource_data);
  EXPECT_EQ(opening.runtime_data, creation.runtime_data);
  EXPECT_EQ(opening.args.total_priv_drv_data_size, 3 * sizeof(AllocationData) + 9) << "the bytes used";
  uint64_t at = Address(opening.data.data());
  for (size_t i = 0; i < 3; ++i) {
    const d3dddi_openallocationinfo2& info = opening.infos[i];
    EXPECT_TRUE(client.IsAllocation(info.allocation));
    EXPECT_NE(info.allocation.v, creation.infos[i].allocation.v);
    EXPECT_EQ(info.priv_drv_data, at) << i;
    ASSERT_EQ(info.priv_drv_data_size, given[i].size());
    EXPECT_EQ(std::memcmp(&opening.data[at - Address(opening.data.data())], given[i].data(), given[i].size()),
              0)
        << "as the creator gave it, whatever the host's driver made of it";
    EXPECT_EQ(info.gpu_va, 0u);
    EXPECT_EQ(info.reserved[0], 0u);
    at += info.priv_drv_data_size;
  }
  EXPECT_EQ(opening.data.back(), 0xa5);
}

// [SHR] 175
TEST(OpenResource, TwiceGivesTwoSetsOfHandlesAndOneMemory) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const SharedResource shared = CreateShared(client, 2);
  const Descriptor descriptor(client.Share(shared.resource));
  const SharedResource first = client.OpenShared(descriptor.get()),
                       second = client.OpenShared(descriptor.get());
  std::set<uint32_t> handles = {shared.resource.v, first.resource.v, second.resource.v};
  for (const SharedResource* each : {&shared, &first, &second})
    for (d3dkmthandle allocation : each->allocations) handles.insert(allocation.v);
  EXPECT_EQ(handles.size(), 9u);
  const std::span of_first = client.LockBytes(first.allocations[1]),
                  of_second = client.LockBytes(second.allocations[1]);
  if (KindOfNode() == NodeKind::kDriver) {
    EXPECT_NE(of_first.data(), of_second.data());
  }
  FillPattern(of_first, 1);
  EXPECT_EQ(FindWrongByte(of_second, 1), -1);
  client.Unlock(first.allocations[1]);
  EXPECT_EQ(client.TryUnlock(first.allocations[1]), -EINVAL);
  FillPattern(of_second, 2);
  client.DestroyResource(first.resource);
  EXPECT_EQ(FindWrongByte(of_second, 2), -1);
  EXPECT_EQ(FindWrongByte(client.LockBytes(shared.allocations[1]), 2), -1);
  EXPECT_TRUE(IsZero(client.LockBytes(shared.allocations[0])));
}

TEST(OpenResource, MayBeSharedAgainAndIsDestroyedAsAWhole) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const SharedResource shared = CreateShared(client);
  FillPattern(client.LockBytes(shared.allocations[0]), 1);
  SharedResource opened;
  {
    const Descriptor descriptor(client.Share(shared.resource));
    opened = client.OpenShared(descriptor.get());
  }
  client.DestroyResource(shared.resource);
  EXPECT_EQ(client.TryDestroy(opened.allocations), -EINVAL);
  const Descriptor again(client.Share(opened.resource));
  EXPECT_EQ(FindWrongByte(client.LockBytes(client.OpenShared(again.get()).allocations[0]), 1), -1);
}

TEST(OpenResource, EndsWithItsDevice) {
  SKIP_WITHOUT_ALLOCATIONS();
  MemoryClient client;
  const SharedResource shared = CreateShared(client);
  const Descriptor descriptor(client.Share(shared.resource));
  const d3dkmthandle other = client.node.CreateDevice(client.node.FirstAdapter());
  const SharedResource opened = Opening(client.node, other, descriptor.get()).Open(client.node);
  client.node.DestroyDevice(other);
  EXPECT_EQ(client.TryLock(opened.allocations[0]), -EINVAL);
  EXPECT_TRUE(client.IsResource(shared.resource));
}

// ---- Lifetime ----

// [DEV] 54 and [SHR] 169
TEST(SharedLifetime, DescriptorOutlivesTheCreatorsResourceAndDevice) {
  SKIP_WITHOUT_ALLOCATIONS();
  MemoryClient client;
  const SharedResource shared = CreateShared(client);
  FillPattern(client.LockBytes(shared.allocations[0]), 1);
  const Descriptor descriptor(client.Share(shared.resource));
  client.DestroyResource(shared.resource);
  EXPECT_EQ(FindWrongByte(client.LockBytes(client.OpenShared(descriptor.get()).allocations[0]), 1), -1);
  const d3dkmthandle old = client.device;
  client.device = client.node.CreateDevice(client.node.FirstAdapter());
  client.node.DestroyDevice(old);
  EXPECT_EQ(FindWrongByte(client.LockBytes(client.OpenShared(descriptor.get()).allocations[0]), 1), -1);
}

TEST(SharedLifetime, OpenedResourceOutlivesCreatorAndDescriptor) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const SharedResource shared = CreateShared(client);
  Descriptor descriptor(client.Share(shared.resource));
  const SharedResource opened = client.OpenShared(descriptor.get());
  descriptor.Close();
  FillPattern(client.LockBytes(shared.allocations[0]), 1);
  client.DestroyResource(shared.resource);
  EXPECT_EQ(FindWrongByte(client.LockBytes(opened.allocations[0]), 1), -1);
}

TEST(SharedLifetime, DuplicatesAreTheSameDescriptor) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const SharedResource shared = CreateShared(client);
  Descriptor descriptor(client.Share(shared.resource));
  const Descriptor duplicate(fcntl(descriptor.get(), F_DUPFD_CLOEXEC, 100));
  const uint64_t number = static_cast<uint64_t>(descriptor.get());
  descriptor.Close();
  client.DestroyResource(shared.resource);
  EXPECT_EQ(client.OpenShared(duplicate.get()).allocations.size(), 1u);
  d3dkmt_queryresourceinfofromnthandle args = {};
  args.device = client.device;
  args.nt_handle = number;
  EXPECT_EQ(client.node.TryIoctl(LX_DXQUERYRESOURCEINFOFROMNTHANDLE, args), -EINVAL) << "closed";
}

}  // namespace
}  // namespace dxg::conformance
