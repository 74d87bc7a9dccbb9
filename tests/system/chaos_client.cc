// A hostile client, for the test chaos.
//
//     dxg-chaos-client NODE KIND SEED
//         Goes on until it is killed, or until it ends in its own way. What its calls answer is nobody's
//         concern: others must not notice them.
//         KIND: flood (calls of many threads), leaves (executes, exits or crashes with threads in calls),
//         full (no free descriptor), tables (threads with descriptor tables of their own), moves (the memory
//         of calls comes and goes), forks (while calls are under way), hoards (as many objects as it gets),
//         garbage (any codes, numbers and addresses)
#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string_view>
#include <thread>

#include "tests/conformance/options.h"
#include "tests/conformance/sync_client.h"

namespace dxg::conformance {
namespace {

using Random = std::mt19937;

// Calls of every way into a client: its memory is read and written, and a visit brings memory or a
// descriptor.
void CallOnce(const SyncClient& client, d3dkmthandle shared, Random& random) {
  switch (random() % 7) {
    case 0: {
      d3dkmthandle allocation = client.Create((1 + random() % 16) * kPageBytes);
      uint64_t address = 0;
      if (client.TryLock(allocation, &address) == 0 && random() % 2 == 0) client.TryUnlock(allocation);
      client.TryDestroy({&allocation, 1});
      return;
    }
    case 1:
      return client.DestroySync(client.CreateFence().handle);
    case 2: {
      uint64_t number = 0;
      d3dkmt_shareobjects share = {};
      share.object_count = 1;
      share.objects = Address(&shared);
      share.shared_handle = Address(&number);
      if (client.node.TryIoctl(LX_DXSHAREOBJECTS, share) == 0) close(static_cast<int>(number));
      return;
    }
    case 3: {
      const int event = eventfd(0, EFD_CLOEXEC);
      client.TryWait(shared, random() % 3, event);
      close(event);
      return;
    }
    case 4:
      client.TrySignal(shared, random() % 3);
      return;
    case 5:
      return client.node.DestroyDevice(client.node.CreateDevice(SyncClient().node.FirstAdapter()));
    default: {
      // A client of its own: regions and visits from the start, and an end with objects.
      const SyncClient other;
      (void)other.Lock(other.Create());
      if (random() % 4 == 0) close(other.Share(other.CreateResource(1, kPageBytes, true).resource));
    }
  }
}

[[noreturn]] void CallOn(const SyncClient& client, d3dkmthandle shared, unsigned seed) {
  Random random(seed);
  for (;;) {
    try {
      CallOnce(client, shared, random);
    } catch (const std::runtime_error&) {  // it is refused
    }
  }
}

// Threads that go on for ever.
void StartCalls(const SyncClient& client, d3dkmthandle shared, int threads, Random& random,
                bool own_tables = false) {
  for (int i = 0; i < threads; ++i) {
    std::thread([&client, shared, own_tables, seed = static_cast<unsigned>(random())] {
      if (own_tables) (void)unshare(CLONE_FILES);
      CallOn(client, shared, seed);
    }).detach();
  }
}

void Rest(Random& random) { usleep(random() % 20'000); }

[[noreturn]] void Leave(Random& random) {
  usleep(random() % 300'000);
  switch (random() % 4) {
    case 0:
      execl("/bin/true", "true", nullptr);
      break;
    case 1:
      execl("/bin/mount", "mount", "--version", nullptr);
      break;  // a setuid program
    case 2:
      raise(SIGSEGV);
      break;
  }
  _exit(0);
}

[[noreturn]] void FillTable(const SyncClient& client, d3dkmthandle shared, Random& random) {
  const rlimit limit = {64, 64};
  setrlimit(RLIMIT_NOFILE, &limit);
  StartCalls(client, shared, 3, random);
  std::array<int, 64> taken = {};
  for (;;) {
    for (int& fd : taken) fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    Rest(random);
    for (const int fd : taken) {
      if (fd >= 0) close(fd);
    }
    Rest(random);
  }
}

// Addresses that calls are given, and those that the node hands out, are mapped anew all the time.
[[noreturn]] void MoveMemory(const SyncClient& client, d3dkmthandle shared, Random& random) {
  constexpr size_t kBytes = 4 * kPageBytes;
  StartCalls(client, shared, 2, random);
  void* const place = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  std::thread([place, &client] {
    for (;;) {
      d3dkmt_enumadapters2 list = {};
      list.num_adapters = 16;
      list.adapters = Address(place);
      client.node.TryIoctl(LX_DXENUMADAPTERS2, list);
      d3dkmthandle heap;
      if (client.TryCreateHeap(place, kBytes, &heap) == 0) client.TryDestroy({&heap, 1});
    }
  }).detach();
  for (;;) {
    const int protection = random() % 2 == 0 ? PROT_NONE : PROT_READ | PROT_WRITE;
    mmap(place, kBytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (random() % 16 != 0) continue;
    // One address is lost, and locked again.
    try {
      const d3dkmthandle allocation = client.Create();
      std::byte* const bytes = client.Lock(allocation);
      munmap(bytes, kPageBytes);
      client.TryUnlock(allocation);
      client.TryLock(allocation);
      client.TryDestroy({&allocation, 1});
    } catch (const std::runtime_error&) {
    }
  }
}

[[noreturn]] void Fork(const SyncClient& client, d3dkmthandle shared, Random& random) {
  StartCalls(client, shared, 3, random);
  for (;;) {
    const unsigned seed = static_cast<unsigned>(random());
    const pid_t child = fork();
    if (child == 0) {
      alarm(1);
      Random own(seed);
      StartCalls(client, shared, 1, own);
      usleep(own() % 30'000);
      _exit(0);
    }
    if (child > 0) {
      if (random() % 2 == 0) kill(child, SIGKILL);
      waitpid(child, nullptr, 0);
    }
  }
}

[[noreturn]] void Hoard(const SyncClient& client, Random& random) {
  for (;;) {
    try {
      client.CreateMany(256, (1 + random() % 4) * kPageBytes);
      const Fence fence = client.CreateFence();
      for (int i = 0; i < 64; ++i) client.TryWait(fence.handle, 1, eventfd(0, EFD_CLOEXEC));
      (void)client.Share(client.CreateResource(1, kPageBytes, true).resource);
    } catch (const std::runtime_error&) {
      Rest(random);  // it has as much as it gets, and keeps it
    }
  }
}

// Bytes that are sometimes a number or an address that means something.
[[noreturn]] void Garbage(const SyncClient& client, d3dkmthandle shared, Random& random) {
  std::array<uint32_t, 128> argument;
  for (;;) {
    for (size_t i = 0; i < argument.size(); ++i) {
      switch (random() % 8) {
        case 0:
          argument[i] = shared.v;
          break;
        case 1:
          argument[i] = client.device.v;
          break;
        case 2:
          argument[i] = static_cast<uint32_t>(random());
          break;
        case 3:
          argument[i] = static_cast<uint32_t>(random() % 8);
          break;
        case 4: {
          const uint64_t address = Address(argument.data());
          if (i % 2 == 0 && i + 1 < argument.size()) std::memcpy(&argument[i++], &address, sizeof(address));
          break;
        }
        default:
          argument[i] = 0;
      }
    }
    const unsigned number = 1 + static_cast<unsigned>(random() % 0x4f);
    // Calls that wait for what never comes would end it.
    if (number == _IOC_NR(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU)) continue;
    // Sizes of the calls are multiples of 4 up to some 100 bytes.
    client.node.TryIoctlAt(_IOC(_IOC_READ | _IOC_WRITE, 0x47, number, 4 * (random() % 40)),
                           Address(argument.data()));
    if (random() % 64 == 0) close(3 + static_cast<int>(random() % 60) + client.node.fd() + 1);
  }
}

int Run(std::string_view kind, unsigned seed) {
  Random random(seed);
  static const SyncClient client;
  const d3dkmthandle shared = client.CreateFence(0, sync_flags::kShared).handle;
  if (kind == "full") FillTable(client, shared, random);
  if (kind == "moves") MoveMemory(client, shared, random);
  if (kind == "forks") Fork(client, shared, random);
  if (kind == "hoards") Hoard(client, random);
  if (kind == "garbage") Garbage(client, shared, random);
  if (kind == "flood") {
    StartCalls(client, shared, 32, random);
  } else if (kind == "tables") {
    StartCalls(client, shared, 4, random, true);
  } else if (kind == "leaves") {
    StartCalls(client, shared, 4, random);
    Leave(random);
  } else {
    return 2;
  }
  for (;;) pause();
}

}  // namespace
}  // namespace dxg::conformance

int main(int argc, char** argv) {
  if (argc != 4) {
    fmt::print(stderr, "usage: see the head of chaos_client.cc\n");
    return 2;
  }
  const rlimit no_core = {};
  setrlimit(RLIMIT_CORE, &no_core);
  dxg::conformance::options().device = argv[1];
  try {
    return dxg::conformance::Run(argv[2], static_cast<unsigned>(std::strtoul(argv[3], nullptr, 10)));
  } catch (const std::runtime_error& error) {
    fmt::print(stderr, "dxg-chaos-client: {}\n", error.what());
    return 1;
  }
}
