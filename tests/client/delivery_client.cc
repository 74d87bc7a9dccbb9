// delivery-client PATH [CHECK]...
// What an unmodified client meets when memory and descriptors are brought into it: every check by name, or
// all that can run on any node. Prints what was wrong; the exit status is 0 when nothing was.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "cuse-dxg/attach/unique_fd.h"
#include "cuse-dxg/client/delivery.h"
#include "tests/client/delivery_device.h"

namespace dxg::client {
namespace {

using attach::UniqueFd;
using delivery::Visit;
using delivery::WantedStep;

constexpr uint64_t kPage = 4096;
std::string path;
int wrong = 0;

#define EXPECT(condition)                                                                      \
  do {                                                                                         \
    if (!(condition)) {                                                                        \
      ++wrong;                                                                                 \
      std::printf("line %d: expected %s (errno %s)\n", __LINE__, #condition, strerror(errno)); \
    }                                                                                          \
  } while (0)

UniqueFd Open() {
  UniqueFd node(open(path.c_str(), O_RDWR | O_CLOEXEC));
  EXPECT(node.valid());
  return node;
}

WantedStep Map(uint64_t offset, uint64_t size, uint64_t address = 0, bool writable = true) {
  return {.kind = static_cast<uint32_t>(Step::Kind::kMap),
          .writable = writable,
          .offset = offset,
          .size = size,
          .address = address};
}
WantedStep Unmap(uint64_t address, uint64_t size) {
  return {.kind = static_cast<uint32_t>(Step::Kind::kUnmap), .size = size, .address = address};
}
WantedStep GiveFile() { return {.kind = static_cast<uint32_t>(Step::Kind::kGiveFile)}; }
WantedStep GiveNode(uint64_t token) {
  return {.kind = static_cast<uint32_t>(Step::Kind::kGiveNode), .address = token};
}
WantedStep CloseFile(uint64_t number) {
  return {.kind = static_cast<uint32_t>(Step::Kind::kCloseFile), .address = number};
}

Visit Wanted(std::vector<WantedStep> steps, int32_t result = 0) {
  Visit visit = {};
  std::copy(steps.begin(), steps.end(), visit.steps);
  visit.steps_count = static_cast<uint32_t>(steps.size());
  visit.result = result;
  return visit;
}

int Ask(const UniqueFd& node, Visit* visit) { return ioctl(node.get(), delivery::kVisit, visit); }

unsigned char* Bytes(uint64_t address) {
  return reinterpret_cast<unsigned char*>(address);
}  // Safety: just mapped here

size_t FilesOpen() {
  const std::filesystem::directory_iterator files("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(files), end(files)));
}
size_t MappingsCount() {
  size_t lines = 0;
  char line[1024];
  std::FILE* maps = std::fopen("/proc/self/maps", "r");
  while (std::fgets(line, sizeof(line), maps)) ++lines;
  std::fclose(maps);
  return lines;
}

void CheckMap() {
  UniqueFd node = Open();
  const size_t files = FilesOpen();
  Visit visit = Wanted({Map(5 * kPage, 2 * kPage)});
  EXPECT(Ask(node, &visit) == 0);
  unsigned char* bytes = Bytes(visit.steps[0].result);
  bytes[0] = 0x5a;
  bytes[2 * kPage - 1] = 0xa5;
  EXPECT(ioctl(node.get(), delivery::kPeek, 5 * kPage) == 0x5a);
  EXPECT(ioctl(node.get(), delivery::kPeek, 7 * kPage - 1) == 0xa5);
  EXPECT(FilesOpen() == files);
  visit = Wanted({Unmap(visit.steps[0].result, 2 * kPage)});
  EXPECT(Ask(node, &visit) == 0);
  EXPECT(msync(bytes, kPage, MS_ASYNC) == -1 && errno == ENOMEM);
}

void CheckMapAtAnAddress() {
  UniqueFd node = Open();
  void* place = mmap(nullptr, 4 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const auto address = reinterpret_cast<uint64_t>(place);  // Safety: only compared and passed on
  Visit visit = Wanted({Map(0, kPage, address + kPage)});
  EXPECT(Ask(node, &visit) == 0);
  EXPECT(visit.steps[0].result == address + kPage);
  Bytes(address + kPage)[1] = 0x33;
  EXPECT(ioctl(node.get(), delivery::kPeek, 1) == 0x33);
  munmap(place, 4 * kPage);
}

void CheckGiveFile() {
  UniqueFd node = Open();
  const size_t files = FilesOpen();
  Visit visit = Wanted({GiveFile(), GiveFile()});
  EXPECT(Ask(node, &visit) == 0);
  EXPECT(FilesOpen() == files + 2);
  UniqueFd first(static_cast<int>(visit.steps[0].result)), second(static_cast<int>(visit.steps[1].result));
  struct stat status;
  EXPECT(fstat(first.get(), &status) == 0 && status.st_size == static_cast<off_t>(delivery::kMemoryBytes));
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
  Visit visit = Wanted({Map(0, kPage)});
  EXPECT(Ask(node, &visit) == 0);  // what is lazily made is made
  const size_t files = FilesOpen(), mappings = MappingsCount();
  const uint64_t kernel_address = 0xffff888000000000;
  visit = Wanted({Map(0, kPage, kernel_address)});
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
        Visit visit = Wanted({Map(i * kPage, kPage)});
        EXPECT(Ask(node, &visit) == 0);
        unsigned char* bytes = Bytes(visit.steps[0].result);
        bytes[7] = static_cast<unsigned char>(round + 1);
        EXPECT(ioctl(node.get(), delivery::kPeek, i * kPage + 7) == round + 1);
        visit = Wanted({Unmap(visit.steps[0].result, kPage)});
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
  EXPECT(ioctl(node.get(), delivery::kNodesOpen) == 2);
  EXPECT(ioctl(node.get(), delivery::kIdentify, seven.get()) == 7);
  EXPECT(ioctl(node.get(), delivery::kIdentify, eight.get()) == 8);
  EXPECT(ioctl(node.get(), delivery::kIdentify, node.get()) == 1000);
  EXPECT(ioctl(node.get(), delivery::kIdentify, 0) == 0);
  EXPECT(ioctl(node.get(), delivery::kIdentify, 777) == 0);
  UniqueFd copy(dup(seven.get()));
  seven.reset();
  EXPECT(ioctl(node.get(), delivery::kIdentify, copy.get()) == 7);
  copy.reset();
  eight.reset();
  UniqueFd ordered = Open();  // a release is seen before a later open
  EXPECT(ioctl(node.get(), delivery::kNodesOpen) == 0);
}

struct Check {
  const char* name;
  std::function<void()> run;
  bool by_name_only = false;
};

const std::vector<Check> kChecks = {
    {"map", CheckMap},
    {"map-at-an-address", CheckMapAtAnAddress},
    {"give-file", CheckGiveFile},
    {"results", CheckResults},
    {"failing-steps", CheckFailingSteps},
    {"threads", CheckThreads},
    {"give-node", CheckGiveNode},
};

int Main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: delivery-client PATH [CHECK]...\n");
    return 2;
  }
  path = argv[1];
  const std::vector<std::string> names(argv + 2, argv + argc);
  size_t ran = 0;
  for (const Check& check : kChecks) {
    const bool named = std::find(names.begin(), names.end(), check.name) != names.end();
    if (!named && (!names.empty() || check.by_name_only)) continue;
    const int wrong_before = wrong;
    std::fflush(stdout);  // checks fork
    check.run();
    ++ran;
    if (wrong != wrong_before) std::printf("FAILED %s on %s\n", check.name, path.c_str());
  }
  if (ran < names.size() || ran == 0) {
    std::fprintf(stderr, "delivery-client: an unknown check was named\n");
    return 2;
  }
  return wrong ? 1 : 0;
}

}  // namespace
}  // namespace dxg::client

int main(int argc, char** argv) { return dxg::client::Main(argc, argv); }
