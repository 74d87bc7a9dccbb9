// DXG_IOCTL_EXPORT: a shared resource as an ordinary memory file and as a dma-buf. Only nodes of cuse-dxg
// have it; the driver answers ENOTTY to every ioctl on such a descriptor.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "proto/abi/dxg_export.h"
#include "tests/conformance/memory_client.h"

namespace dxg::conformance {
namespace {

constexpr uint64_t kBytes = 4 * kPageBytes;

// A shared resource of two allocations, and a descriptor of it.
struct Exported {
  MemoryClient client;
  SharedResource shared = client.CreateResource(2, kBytes, true);
  Descriptor descriptor{client.Share(shared.resource)};

  int Try(dxg_export* args) const {
    return ioctl(descriptor.get(), DXG_IOCTL_EXPORT, args) == 0 ? 0 : -errno;
  }
};

dxg_export Ask(uint32_t kind, uint32_t index = 0) {
  dxg_export args = {};
  args.kind = kind;
  args.allocation_index = index;
  args.fd = -1;
  return args;
}

void* MapAll(int fd, uint64_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  EXPECT_NE(memory, MAP_FAILED) << strerror(errno);
  return memory;
}

// A host behind a VMBus shows all of its memory through one window, and no resource as a file of its own.
class SimExport : public testing::Test {
 protected:
  void SetUp() override {
    const Exported exported;
    dxg_export args = Ask(DXG_EXPORT_MEMFD);
    const int result = exported.Try(&args);
    if (result == -EPERM) GTEST_SKIP() << "this device's host shows no memory as a file";
    if (result == -ENOTTY) GTEST_SKIP() << "this device has no such ioctl";
    if (args.fd >= 0) close(args.fd);
  }
};

TEST_F(SimExport, RefusesAnUnknownKindAndIndexAndReservedBits) {
  const Exported exported;
  for (dxg_export args : {Ask(0), Ask(3), Ask(DXG_EXPORT_MEMFD, 2), Ask(DXG_EXPORT_MEMFD, ~0u)})
    EXPECT_EQ(exported.Try(&args), -EINVAL);
  dxg_export args = Ask(DXG_EXPORT_MEMFD);
  args.reserved = 1;
  EXPECT_EQ(exported.Try(&args), -EINVAL);
}

TEST_F(SimExport, IsOfSharedResourcesOnly) {
  const MemoryClient client;
  dxg_export args = Ask(DXG_EXPORT_MEMFD);
  EXPECT_EQ(ioctl(client.node.fd(), DXG_IOCTL_EXPORT, &args), -1);
  EXPECT_EQ(errno, ENOTTY);
}

TEST_F(SimExport, FileHasTheBytesThatTheLockShows) {
  const Exported exported;
  for (uint32_t i = 0; i < 2; ++i) {
    dxg_export args = Ask(DXG_EXPORT_MEMFD, i);
    ASSERT_EQ(exported.Try(&args), 0);
    const Descriptor file(args.fd);
    EXPECT_EQ(args.size, kBytes);
    struct stat info = {};
    ASSERT_EQ(fstat(file.get(), &info), 0);
    EXPECT_EQ(static_cast<uint64_t>(info.st_size), kBytes);
    EXPECT_EQ(fcntl(file.get(), F_GETFD), FD_CLOEXEC);
    auto* bytes = static_cast<char*>(MapAll(file.get(), kBytes));
    auto* locked = reinterpret_cast<char*>(exported.client.Lock(exported.shared.allocations[i]));
    std::strcpy(locked + kPageBytes, "written through the lock");
    EXPECT_STREQ(bytes + kPageBytes, "written through the lock");
    std::strcpy(bytes, "written through the file");
    EXPECT_STREQ(locked, "written through the file");
    munmap(bytes, kBytes);
  }
}

// Whoever has it could take the memory away from everybody else.
TEST_F(SimExport, FileCannotBeShrunk) {
  const Exported exported;
  dxg_export args = Ask(DXG_EXPORT_MEMFD);
  ASSERT_EQ(exported.Try(&args), 0);
  const Descriptor file(args.fd);
  EXPECT_EQ(ftruncate(file.get(), 0), -1);
  EXPECT_EQ(errno, EPERM);
}

TEST_F(SimExport, FileOutlivesResourceDeviceAndDescriptor) {
  int fd = -1;
  {
    const Exported exported;
    std::strcpy(reinterpret_cast<char*>(exported.client.Lock(exported.shared.allocations[0])), "still here");
    dxg_export args = Ask(DXG_EXPORT_MEMFD);
    ASSERT_EQ(exported.Try(&args), 0);
    fd = args.fd;
  }
  const Descriptor file(fd);
  auto* bytes = static_cast<char*>(MapAll(file.get(), kBytes));
  EXPECT_STREQ(bytes, "still here");
  munmap(bytes, kBytes);
}

// It need never have opened the node.
TEST_F(SimExport, AnyHolderOfTheDescriptorMayAsk) {
  const Exported exported;
  std::strcpy(reinterpret_cast<char*>(exported.client.Lock(exported.shared.allocations[0])), "for the child");
  const pid_t child = fork();
  if (child == 0) {
    dxg_export args = Ask(DXG_EXPORT_MEMFD);
    if (exported.Try(&args) != 0) _exit(1);
    auto* bytes = static_cast<char*>(mmap(nullptr, kBytes, PROT_READ, MAP_SHARED, args.fd, 0));
    _exit(bytes != MAP_FAILED && std::strcmp(bytes, "for the child") == 0 ? 0 : 2);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(SimExport, DmaBufHasTheSameBytes) {
  const Exported exported;
  dxg_export args = Ask(DXG_EXPORT_DMABUF);
  const int result = exported.Try(&args);
  if (access("/dev/udmabuf", F_OK) != 0) {
    EXPECT_EQ(result, -ENODEV) << "this kernel has no udmabuf";
    return;
  }
  if (access("/dev/udmabuf", R_OK | W_OK) != 0) {
    EXPECT_EQ(result, -EACCES) << "who may not use it gets nothing of it through the node";
    return;
  }
  ASSERT_EQ(result, 0);
  const Descriptor buffer(args.fd);
  EXPECT_EQ(static_cast<uint64_t>(lseek(buffer.get(), 0, SEEK_END)), kBytes);
  auto* bytes = static_cast<char*>(MapAll(buffer.get(), kBytes));
  auto* locked = reinterpret_cast<char*>(exported.client.Lock(exported.shared.allocations[0]));
  std::strcpy(locked, "one memory");
  EXPECT_STREQ(bytes, "one memory");
  munmap(bytes, kBytes);
}

}  // namespace
}  // namespace dxg::conformance
