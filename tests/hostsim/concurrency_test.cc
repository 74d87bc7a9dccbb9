#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/hostsim/rig.h"

namespace dxg::hostsim {
namespace {

constexpr int kThreads = 8;
constexpr int kRounds = 200;

void OnThreads(const std::function<void(int)>& work) {
  std::vector<std::jthread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back([&work, i] { work(i); });
}

void QueryAll(Rig& rig, const Caller& caller) {
  std::string data(8192, '\0');
  rig.Query(caller, 65, &data);
  host::QueryVideoMemoryInfo::Request memory;
  memory.set_adapter(0x40000000);
  rig.Ask<host::QueryVideoMemoryInfo>(caller, memory);
  host::QueryStatistics::Request statistics;
  statistics.set_type(9);
  statistics.set_adapter_luid(caller.adapter_luid - 1);
  rig.Ask<host::QueryStatistics>(caller, statistics);
}

TEST(Concurrency, ProcessesDoNotDisturbEachOther) {
  Rig rig;
  OnThreads([&](int thread) {
    const Caller caller = rig.NewCaller();
    for (int i = 0; i < kRounds; ++i) {
      const uint32_t device = rig.NewDevice(caller, static_cast<uint64_t>(thread));
      const uint32_t context = rig.NewContext(caller, device);
      QueryAll(rig, caller);
      EXPECT_EQ(rig.State(caller, device), std::make_tuple(kStatusSuccess, 1u));
      EXPECT_EQ(rig.MarkAsError(caller, device), kStatusSuccess);
      EXPECT_EQ(rig.State(caller, device), std::make_tuple(kStatusSuccess, 6u));
      EXPECT_EQ(rig.DestroyContext(caller, context), kStatusSuccess);
      EXPECT_EQ(rig.DestroyDevice(caller, device), kStatusSuccess);
    }
    EXPECT_EQ(rig.Ask<host::DestroyProcess>({caller.process, 0}, {}).reply.status(), kStatusSuccess);
  });
  EXPECT_EQ(rig.recorded.changes.size(), static_cast<size_t>(kThreads * kRounds)) << "each change told once";
  const Accounting accounting = rig.host().Account();
  EXPECT_EQ(accounting.processes + accounting.devices + accounting.contexts, 0u);
}

TEST(Concurrency, ThreadsOfOneProcessShareIt) {
  Rig rig;
  const Caller caller = rig.NewCaller();
  const uint32_t shared = rig.NewDevice(caller, 1);
  OnThreads([&](int thread) {
    for (int i = 0; i < kRounds; ++i) {
      const uint32_t context = rig.TryContext(caller, shared);
      QueryAll(rig, caller);
      host::ChangeVideoMemoryReservation::Request reserve;
      reserve.set_reservation(static_cast<uint64_t>(thread) << 16);
      EXPECT_EQ(rig.Ask<host::ChangeVideoMemoryReservation>(caller, reserve).reply.status(), kStatusSuccess);
      if (thread == 0 && i == kRounds / 2) {
        EXPECT_EQ(rig.MarkAsError(caller, shared), kStatusSuccess);
      }
      if (context != 0) {
        EXPECT_EQ(rig.DestroyContext(caller, context), kStatusSuccess);
      }
    }
  });
  EXPECT_EQ(rig.recorded.changes.size(), 1u);
  EXPECT_EQ(rig.host().Account().contexts, 0u);
}

TEST(Concurrency, DestroyIsWonByOne) {
  Rig rig;
  const Caller caller = rig.NewCaller();
  for (int i = 0; i < 20; ++i) {
    const uint32_t device = rig.NewDevice(caller);
    std::atomic<int> winners{0};
    OnThreads([&](int) { winners += rig.DestroyDevice(caller, device) == kStatusSuccess; });
    EXPECT_EQ(winners, 1);
  }
}

TEST(Concurrency, ProcessEndsUnderItsCommands) {
  Rig rig;
  for (int i = 0; i < 20; ++i) {
    const Caller caller = rig.NewCaller();
    OnThreads([&](int thread) {
      for (int round = 0; round < 20; ++round) {
        if (thread == 0 && round == 10) rig.Ask<host::DestroyProcess>({caller.process, 0}, {});
        const uint32_t device = rig.TryDevice(caller);
        rig.TryContext(caller, device);
        QueryAll(rig, caller);
      }
    });
    const Accounting accounting = rig.host().Account();
    EXPECT_EQ(accounting.processes + accounting.devices + accounting.contexts, 0u);
  }
}

TEST(Concurrency, AdapterLeavesUnderItsCommands) {
  Rig rig;
  for (int i = 0; i < 10; ++i) {
    const AdapterInfo adapter = rig.adapter();
    std::atomic<uint64_t> created{0};
    rig.recorded.changes.clear();
    OnThreads([&](int thread) {
      const Caller caller{rig.NewProcess(), adapter.address};
      for (int round = 0; round < 20; ++round) {
        created += rig.TryDevice(caller) != 0;
        QueryAll(rig, caller);
        if (thread == 0 && round == 10) {
          EXPECT_TRUE(rig.host().RemoveAdapter(adapter.address));
        }
      }
      rig.Ask<host::DestroyProcess>({caller.process, 0}, {});
    });
    EXPECT_LE(rig.recorded.changes.size(), created.load());
    EXPECT_EQ(rig.host().Account().devices, 0u);
    AdapterInfo back;
    ASSERT_TRUE(rig.host().AddAdapter(Shipped("discrete"), &back));
  }
}

}  // namespace
}  // namespace dxg::hostsim
