// What is brought arrives, and nothing else does.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <thread>
#include <vector>

#include "tests/client/delivery_client.h"

namespace dxg::client::delivery {
namespace {

void CheckMap() {
  UniqueFd node = Open();
  const size_t files = FilesOpen();
  Visit visit = Wanted({Map(5 * kPageBytes, 2 * kPageBytes)});
  EXPECT(Ask(node, &visit) == 0);
  unsigned char* bytes = Bytes(visit.steps[0].result);
  bytes[0] = 0x5a;
  bytes[2 * kPageBytes - 1] = 0xa5;
  EXPECT(ioctl(node.get(), kPeek, 5 * kPageBytes) == 0x5a);
  EXPECT(ioctl(node.get(), kPeek, 7 * kPageBytes - 1) == 0xa5);
  EXPECT(FilesOpen() == files);
  visit = Wanted({Unmap(visit.steps[0].result, 2 * kPageBytes)});
  EXPECT(Ask(node, &visit) == 0);
  EXPECT(msync(bytes, kPageBytes, MS_ASYNC) == -1 && errno == ENOMEM);
}

void CheckMapAtAnAddress() {
  UniqueFd node = Open();
  void* place = mmap(nullptr, 4 * kPageBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const auto address = reinterpret_cast<uint64_t>(place);  // Safety: only compared and passed on
  Visit visit = Wanted({Map(0, kPageBytes, address + kPageBytes)});
  EXPECT(Ask(node, &visit) == 0);
  EXPECT(visit.steps[0].result == address + kPageBytes);
  Bytes(address + kPageBytes)[1] = 0x33;
  EXPECT(ioctl(node.get(), kPeek, 1) == 0x33);
  munmap(place, 4 * kPageBytes);
}

void CheckGiveFile() {
  UniqueFd node = Open();
  const size_t files = FilesOpen();
  Visit visit = Wanted({GiveFile(), GiveFile()});
  EXPECT(Ask(node, &visit) == 0);
  EXPECT(FilesOpen() == files + 2);
  UniqueFd first(static_cast<int>(visit.steps[0].result)), second(static_cast<int>(visit.steps[1].result));
  struct stat status;
  EXPECT(fstat(first.get(), &status) == 0 && status.st_size == static_cast<off_t>(kMemoryBytes));
  EXPECT(fcntl(first.get(), F_GETFD) == FD_CLOEXEC);
  EXPECT(fcntl(second.get(), F_GETFD) == FD_CLOEXEC);
  visit = Wanted({CloseFile(static_cast<uint64_t>(first.get()))});
  EXPECT(Ask(node, &visit) == 0);
  EXPECT(fcntl(first.get(), F_GETFD) == -1 && errno == EBADF);
  first.release();
}

void CheckResults() {
  UniqueFd node = Open();
  Visit visit = Wanted({}, -EBUSY);
  EXPECT(Ask(node, &visit) == -1 && errno == EBUSY);
  visit = Wanted({}, 0x103);
  EXPECT(Ask(node, &visit) == 0x103);
  visit = Wanted({}, static_cast<int32_t>(0xc000000d));
  errno = 0;
  EXPECT(Ask(node, &visit) == static_cast<int32_t>(0xc000000d) && errno == 0);
}

void CheckFailingSteps() {
  UniqueFd node = Open();
  Visit visit = Wanted({Map(0, kPageBytes)});
  EXPECT(Ask(node, &visit) == 0);  // what is lazily made is made
  const size_t files = FilesOpen(), mappings = MappingsCount();
  const uint64_t kernel_address = 0xffff888000000000;
  visit = Wanted({Map(0, kPageBytes, kernel_address)});
  EXPECT(Ask(node, &visit) == -1 && errno == ENOMEM && visit.done_error == ENOMEM);
  visit = Wanted({CloseFile(777)});
  EXPECT(Ask(node, &visit) == -1 && errno == EBADF);
  EXPECT(FilesOpen() == files);
  EXPECT(MappingsCount() == mappings);
}

void CheckThreads() {
  UniqueFd node = Open();
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < 8; ++i) {
    threads.emplace_back([&node, i] {
      for (int round = 0; round < 20; ++round) {
        Visit visit = Wanted({Map(i * kPageBytes, kPageBytes)});
        EXPECT(Ask(node, &visit) == 0);
        unsigned char* bytes = Bytes(visit.steps[0].result);
        bytes[7] = static_cast<unsigned char>(round + 1);
        EXPECT(ioctl(node.get(), kPeek, i * kPageBytes + 7) == round + 1);
        visit = Wanted({Unmap(visit.steps[0].result, kPageBytes)});
        EXPECT(Ask(node, &visit) == 0);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

void CheckGiveNode() {
  UniqueFd node = Open();
  Visit visit = Wanted({GiveNode(7), GiveNode(8)});
  EXPECT(Ask(node, &visit) == 0);
  UniqueFd seven(static_cast<int>(visit.steps[0].result)), eight(static_cast<int>(visit.steps[1].result));
  EXPECT(fcntl(seven.get(), F_GETFD) == FD_CLOEXEC);
  EXPECT(ioctl(node.get(), kNodesOpen) == 2);
  EXPECT(ioctl(node.get(), kIdentify, seven.get()) == 7);
  EXPECT(ioctl(node.get(), kIdentify, eight.get()) == 8);
  EXPECT(ioctl(node.get(), kIdentify, node.get()) == 1000);
  EXPECT(ioctl(node.get(), kIdentify, 0) == 0);
  EXPECT(ioctl(node.get(), kIdentify, 777) == 0);
  UniqueFd copy(dup(seven.get()));
  seven.reset();
  EXPECT(ioctl(node.get(), kIdentify, copy.get()) == 7);
  copy.reset();
  eight.reset();
  UniqueFd ordered = Open();  // a release is seen before a later open
  EXPECT(ioctl(node.get(), kNodesOpen) == 0);
}

}  // namespace

const std::vector<Check> kBasics = {
    {"map", CheckMap},
    {"map-at-an-address", CheckMapAtAnAddress},
    {"give-file", CheckGiveFile},
    {"results", CheckResults},
    {"failing-steps", CheckFailingSteps},
    {"threads", CheckThreads},
    {"give-node", CheckGiveNode},
};

}  // namespace dxg::client::delivery
