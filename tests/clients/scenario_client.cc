// A client as it should be, in a scenario (docs/scenarios.md): `cuse-dxg run --scenario NAME --
// dxg-scenario-client NAME`. It works until it meets the trouble of that name, recovers as the page says, and
// works again.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tests/conformance/work_client.h"

namespace dxg::clients {
namespace {

using namespace conformance;

constexpr uint64_t kLostFence = ~0ull;

// Not as the scenario's page says. A call that is refused is a std::runtime_error.
void Check(bool is_so, const std::string& what) {
  if (!is_so) throw std::logic_error(what);
}

// What it met on the way: how often each kind of refusal was overcome by another try.
struct Overcome {
  int creations = 0, residencies = 0;
};

// A device with a copy that the GPU does again and again. It gives up nothing at the first lack of memory,
// and never takes a fence's value for a sign of success.
class Worker {
 public:
  // How a round has ended.
  enum class End { kCopied, kDeviceLost, kAdapterGone };

  explicit Worker(Overcome* overcome) : overcome_(*overcome) {}

  End Round(uint64_t seed) {
    try {
      const GpuMemory from = Get(), to = Get(), commands = Get();
      FillPattern({from.cpu, from.bytes}, seed);
      std::vector<uint64_t> words(kPageBytes / sizeof(uint64_t));
      dxg_commands list = dxg_commands_begin(words.data(), kPageBytes);
      dxg_push_copy(&list, to.gpu, from.gpu, kPageBytes);
      std::memcpy(commands.cpu, words.data(), list.used);
      const d3dkmthandle context = client_.CreateContext();
      const Fence fence = client_.CreateFence();
      Require(client_.TrySubmit(context, commands.gpu, static_cast<uint32_t>(list.used)), "SubmitCommand");
      client_.GpuSignal(context, fence, 1);
      client_.Wait(fence, 1);
      if (fence.Value() == kLostFence) return WhatIsLost();
      Check(FindWrongByte({to.cpu, to.bytes}, seed) < 0,
            "a copy has wrong bytes although its fence is there");
      client_.node.DestroyContext(context);
      client_.DestroySync(fence.handle);
      for (const GpuMemory* memory : {&from, &to, &commands}) client_.Destroy(memory->allocation);
      return End::kCopied;
    } catch (const std::runtime_error& refused) {
      return WhatIsLost();
    }
  }

  // Works until it cannot any more.
  End WorkUntilLost(int rounds_max) {
    for (int i = 0; i < rounds_max; ++i) {
      if (const End end = Round(static_cast<uint64_t>(i)); end != End::kCopied) return end;
    }
    throw std::logic_error(fmt::format("nothing has happened in {} rounds", rounds_max));
  }
  void MustWork(int rounds) {
    for (int i = 0; i < rounds; ++i)
      Check(Round(static_cast<uint64_t>(i)) == End::kCopied, "a round has failed");
  }

  WorkClient& client() { return client_; }

 private:
  static void Require(int result, const char* what) {
    if (result < 0) throw std::runtime_error(what);
  }

  // A lack of memory may pass, so it asks a few times.
  template <class Call>
  static int Try(Call call, std::initializer_list<int> no_memory, int* overcome) {
    constexpr int kTriesMax = 8;
    int result = call();
    for (int i = 1; i < kTriesMax && std::count(no_memory.begin(), no_memory.end(), result) != 0; ++i) {
      ++*overcome;
      result = call();
    }
    return result;
  }

  GpuMemory Get() {
    Creation creation(client_.device, 1, kPageBytes);
    Require(Try([&] { return creation.Try(client_.node); }, {-ENOMEM, -EOVERFLOW}, &overcome_.creations),
            "CreateAllocation");
    const d3dkmthandle allocation = creation.infos[0].allocation;
    uint64_t value = 0;
    const int resident = Try(
        [&] {
          return client_.TryMakeResident(client_.paging, {&allocation, 1}, 0, &value);
        },
        {-ENOMEM}, &overcome_.residencies);
    Require(resident, "MakeResident");
    if (resident == kPending) client_.Wait(client_.paging.fence, value);
    d3dddi_mapgpuvirtualaddress map = {};
    map.paging_queue = client_.paging.handle;
    map.allocation = allocation;
    map.size_in_pages = 1;
    map.protection.write = 1;
    const int mapped = client_.node.TryIoctl(LX_DXMAPGPUVIRTUALADDRESS, map);
    Require(mapped, "MapGpuVirtualAddress");
    if (mapped == kPending) client_.Wait(client_.paging.fence, map.paging_fence_value);
    uint64_t address = 0;
    Require(client_.TryLock(allocation, &address), "Lock2");
    return {allocation, map.virtual_address, reinterpret_cast<std::byte*>(address),
            kPageBytes};  // Safety: the node has mapped the page there
  }

  // Asks the device, which is what tells a lost device from a lost adapter.
  End WhatIsLost() {
    d3dkmt_getdevicestate state = {};
    state.device = client_.device;
    state.state_type = _D3DKMT_DEVICESTATE_EXECUTION;
    const int result = client_.node.TryIoctl(LX_DXGETDEVICESTATE, state);
    if (result == -ENODEV) return End::kAdapterGone;
    Check(result == 0, "GetDeviceState gave " + ResultName(result));
    Check(state.execution_state != kActive, "the device says that it is well");
    return state.execution_state == kStopped ? End::kAdapterGone : End::kDeviceLost;
  }

  WorkClient client_;
  Overcome& overcome_;
};

void ResidencyThenTimeout() {
  Overcome overcome;
  Worker worker(&overcome);
  Check(worker.WorkUntilLost(8) == Worker::End::kDeviceLost, "the adapter is gone");
  Check(overcome.residencies == 1, "MakeResident was not refused once");
  Check(worker.client().State() == kHung, "the device is lost for another reason than a hang");
  Worker(&overcome).MustWork(3);
}

void OutOfMemory() {
  Overcome overcome;
  Worker(&overcome).MustWork(12);
  Check(overcome.creations > 4 && overcome.residencies > 4,
        fmt::format("only {} creations and {} residencies were refused", overcome.creations,
                    overcome.residencies));
}

// In seconds.
double GpuTime(WorkClient& client) {
  d3dkmt_queryclockcalibration clocks = {};
  clocks.adapter = client.node.FirstAdapter();
  client.node.Ioctl(LX_DXQUERYCLOCKCALIBRATION, clocks, "QueryClockCalibration");
  return static_cast<double>(clocks.clock_data.gpu_clock_counter) /
         static_cast<double>(clocks.clock_data.gpu_frequency);
}

void SleepAndResume() {
  constexpr double kHour = 3600;
  Overcome overcome;
  Worker before(&overcome);
  const double asleep = GpuTime(before.client());
  Check(before.WorkUntilLost(64) == Worker::End::kDeviceLost, "the adapter is gone");
  Check(before.client().State() == kReset, "the device is lost for another reason than a reset");
  Worker after(&overcome);
  Check(GpuTime(after.client()) - asleep >= kHour, "the clock has not slept");
  after.MustWork(3);
}

int TryEscape(WorkClient& client, std::vector<uint8_t> data, uint32_t type) {
  d3dkmt_escape escape = {};
  escape.adapter = client.node.FirstAdapter();
  escape.type = type;
  escape.priv_drv_data = Address(data.data());
  escape.priv_drv_data_size = static_cast<uint32_t>(data.size());
  return client.node.TryIoctl(LX_DXESCAPE, escape);
}

void EscapeOverflow() {
  Overcome overcome;
  Worker worker(&overcome);
  for (const size_t bytes : {1, 8, 64, 4096}) {
    for (const uint32_t type : {0u, 1u, 2u}) {
      const int result = TryEscape(worker.client(), std::vector<uint8_t>(bytes), type);
      Check(result == -EOVERFLOW, fmt::format("an escape of {} bytes gave {}", bytes, ResultName(result)));
    }
  }
  const int empty = TryEscape(worker.client(), {}, 0);
  Check(empty == 0, "an escape without data gave " + ResultName(empty));
  worker.MustWork(3);
}

void HalfFilled() {
  Overcome overcome;
  Worker worker(&overcome);
  Node& node = worker.client().node;
  const auto ask = [&node](uint32_t type, size_t bytes, int expected) {
    std::vector<uint8_t> data(bytes);
    const int result = node.TryQuery(node.FirstAdapter(), type, data.data(), data.size());
    Check(result == expected, fmt::format("query {} gave {}", type, ResultName(result)));
    return data;
  };
  ask(KMTQAITYPE_UMDRIVERNAME, 524, -ENOENT);
  ask(KMTQAITYPE_ADAPTERREGISTRYINFO, 2080, -EINVAL);
  ask(KMTQAITYPE_NODEPERFDATA, 64, -ENOENT);
  const auto description = ask(KMTQAITYPE_DRIVER_DESCRIPTION, 8192, 0);
  Check(description[0] == 0 && description[1] == 0, "the description is not empty");
  std::vector<uint32_t> ids = {0, 7, 7, 7, 7, 7, 7};
  Check(node.TryQuery(node.FirstAdapter(), KMTQAITYPE_PHYSICALADAPTERDEVICEIDS, ids.data(), ids.size() * 4) ==
            0,
        "the ids are refused");
  Check(ids == std::vector<uint32_t>({0, 0x1414, 0x88, 7, 7, 7, 7}), "the ids are not those and no others");
  worker.MustWork(3);
}

void AdapterLostAndBack() {
  Overcome overcome;
  Worker before(&overcome);
  const winluid gone = before.client().node.FirstLuid();
  Check(before.WorkUntilLost(64) == Worker::End::kAdapterGone, "the adapter is there");
  // What is open stays dead; it looks until there is another adapter.
  for (;;) {
    const Node node = OpenNode();
    const auto adapters = node.EnumAdapters();
    if (adapters.size() == 1 &&
        (adapters[0].adapter_luid.a != gone.a || adapters[0].adapter_luid.b != gone.b))
      break;
    // A client gets no event for an adapter that arrives.
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  Worker(&overcome).MustWork(64);
  Check(before.Round(0) == Worker::End::kAdapterGone, "what was made on the old adapter lives");
}

int Main(int argc, char** argv) {
  const std::map<std::string, void (*)()> scenarios = {
      {"residency-then-timeout", ResidencyThenTimeout},
      {"out-of-memory", OutOfMemory},
      {"sleep-and-resume", SleepAndResume},
      {"escape-overflow", EscapeOverflow},
      {"half-filled", HalfFilled},
      {"adapter-lost-and-back", AdapterLostAndBack},
  };
  const auto found = scenarios.find(argc == 2 ? argv[1] : "");
  if (found == scenarios.end()) {
    fmt::print(stderr, "dxg-scenario-client: expected the name of a scenario (docs/scenarios.md)\n");
    return 2;
  }
  try {
    found->second();
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "dxg-scenario-client: {}: {}\n", argv[1], error.what());
    return 1;
  }
}

}  // namespace
}  // namespace dxg::clients

int main(int argc, char** argv) { return dxg::clients::Main(argc, argv); }
