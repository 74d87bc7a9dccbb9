// Adapters that come and go in any order, hosts that refuse or are silent, and what becomes of calls and
// memory then.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <memory>
#include <thread>

#include "cuse-dxg/backend/vmbus/vmbus_backend.h"
#include "tests/vmbus_backend/fake_bus.h"

namespace dxg::vmbus {
namespace {

constexpr uint32_t kSetIospaceRegion = 1010, kOpenAdapter = 14, kCloseAdapter = 15,
                   kGetInternalAdapterInfo = 36, kLock2 = 23;

// A call whose end can be waited for.
template <class Command>
class Asked {
 public:
  Asked(Backend& backend, uint64_t adapter, bool asynchronous = false)
      : call_{contract::FindHostCommand(contract::kHostCommandId<typename Command::Request>),
              7,
              adapter,
              &request_,
              &reply_,
              asynchronous} {
    backend.Submit(
        call_, {[](void* self, Status status) { static_cast<Asked*>(self)->Done(status.value()); }, this});
  }
  int Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return times_ != 0; });
    EXPECT_EQ(times_, 1);
    return value_;
  }

 private:
  void Done(int value) {
    std::lock_guard lock(mutex_);
    ++times_;
    value_ = value;
    changed_.notify_all();
  }
  typename Command::Request request_;
  typename Command::Reply reply_;
  HostCall call_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int times_ = 0, value_ = 0;
};

struct BackendTest : testing::Test {
  BackendTest() {
    auto owned = std::make_unique<FakeBus>();
    bus = owned.get();
    log = bus->log;
    backend = CreateVmbusBackend(std::move(owned));
  }
  ~BackendTest() override { backend->Stop(); }
  void Start() { ASSERT_TRUE(backend->Start(&heard).ok()); }
  // With one adapter.
  void StartUsual() {
    bus->at_start = [this](BusEvents& events) {
      events.Offered(FakeBus::Global());
      events.Offered(FakeBus::Vgpu());
      events.FunctionArrived(bus->Function());
    };
    Start();
    ASSERT_EQ(heard.told().size(), 1u);
    log->Take();
  }
  // The channel and name of all packets since the log was last looked at.
  std::vector<std::string> Packets() {
    std::vector<std::string> packets;
    for (const std::string& line : log->Take()) {
      if (line.starts_with("pkt "))
        packets.push_back(line.substr(4, line.find(' ', line.find(' ', 4) + 1) - 4));
    }
    return packets;
  }
  // Leaves some commands without an answer.
  void Silence(std::vector<uint32_t> commands) {
    bus->answers = [commands](const std::string&, uint32_t command) -> std::optional<PacketBytes> {
      if (std::ranges::count(commands, command) != 0) return std::nullopt;
      return FakeBus::DefaultAnswer(command);
    };
  }
  void Refuse(uint32_t refused, size_t at) {
    bus->answers = [=](const std::string&, uint32_t command) {
      auto answer = FakeBus::DefaultAnswer(command);
      const uint32_t status = 0xC000000D;
      if (command == refused) std::memcpy(answer->data() + at, &status, sizeof(status));
      return answer;
    };
  }

  Heard heard;
  FakeBus* bus;
  std::shared_ptr<BusLog> log;
  std::unique_ptr<Backend> backend;
};

class TestPages final : public ClientPages {
 public:
  uint64_t size() const override { return 8192; }
  bool Read(uint64_t, std::span<std::byte>) override { return true; }
  bool Write(uint64_t, std::span<const std::byte>) override { return true; }
  bool Frames(uint64_t, std::span<uint64_t>) override { return false; }
};

TEST_F(BackendTest, StartsAnAdapterWhateverComesFirst) {
  std::vector<int> order = {0, 1, 2};
  do {
    SCOPED_TRACE(testing::PrintToString(order));
    Heard told;
    auto owned = std::make_unique<FakeBus>();
    FakeBus* own = owned.get();
    const auto own_log = own->log;
    own->at_start = [&](BusEvents& events) {
      for (int each : order) {
        if (each == 0) events.Offered(FakeBus::Global());
        if (each == 1) events.Offered(FakeBus::Vgpu());
        if (each == 2) events.FunctionArrived(own->Function());
      }
    };
    const auto backend_of_it = CreateVmbusBackend(std::move(owned));
    ASSERT_TRUE(backend_of_it->Start(&told).ok());
    EXPECT_EQ(told.told(), (std::vector<std::string>{"arrived 0xbadbeef00c0ffee"})) << "before Start returns";
    std::vector<std::string> done = own_log->Take();
    std::erase_if(
        done, [](const std::string& line) { return line.starts_with("pci_") || line.starts_with("pkt "); });
    EXPECT_EQ(done, (std::vector<std::string>{"vmbus_open global", "mmio_alloc 64", "vmbus_open vgpu"}));
    const HostAdapter adapter = told.adapter();
    EXPECT_EQ(adapter.host_handle, 0x40000740u);
    EXPECT_EQ(adapter.host_luid, 0xbbbb0002aaaa0001u);
    EXPECT_EQ(adapter.interface_version, 40u);
    EXPECT_FALSE(adapter.async_messages || adapter.map_guest_pages || adapter.compute_only);
    backend_of_it->Stop();
  } while (std::ranges::next_permutation(order).found);
}

TEST_F(BackendTest, NothingIsOpenedForAFunctionWithoutAChannel) {
  bus->at_start = [this](BusEvents& events) {
    events.Offered(FakeBus::Global());
    events.Offered(FakeBus::Vgpu(3));
    events.FunctionArrived(bus->Function(1));
  };
  Start();
  EXPECT_TRUE(heard.told().empty());
  for (const std::string& line : log->Take()) EXPECT_TRUE(line.starts_with("pci_")) << line;
}

// The flag is one for all, and the last adapter's word counts.
TEST_F(BackendTest, ALaterAdapterChangesWhereCommandsTravel) {
  const auto bits = std::make_shared<std::atomic<uint32_t>>(0x40);  // asked for to the very end
  bus->answers = [bits](const std::string&, uint32_t command) {
    return FakeBus::DefaultAnswer(command, *bits);
  };
  StartUsual();
  EXPECT_TRUE(heard.adapter().async_messages);
  Asked<host::Lock2> first(*backend, heard.adapter().address);
  EXPECT_EQ(first.Wait(), 0);
  Asked<host::SubmitCommand> asynchronous(*backend, heard.adapter().address, true);
  EXPECT_EQ(asynchronous.Wait(), 0);
  *bits = 0;
  bus->events->Offered(FakeBus::Vgpu(1));
  bus->events->FunctionArrived(bus->Function(1));
  heard.Wait(2);
  Asked<host::Lock2> third(*backend, heard.adapter().address), fourth(*backend, heard.adapter(1).address);
  EXPECT_EQ(third.Wait(), 0);
  EXPECT_EQ(fourth.Wait(), 0);
  EXPECT_EQ(Packets(),
            (std::vector<std::string>{"global LOCK2", "global SUBMITCOMMAND", "global OPENADAPTER",
                                      "global GETINTERNALADAPTERINFO", "vgpu LOCK2", "vgpu3 LOCK2"}));
}

TEST_F(BackendTest, ASecondAdapterReadsOnlyItsNames) {
  StartUsual();
  bus->events->Offered(FakeBus::Vgpu(1));
  bus->events->FunctionArrived(bus->Function(1));
  heard.Wait(2);
  std::vector<std::string> lines = log->Take();
  std::erase_if(lines, [](const std::string& line) { return line.starts_with("pkt "); });
  EXPECT_EQ(lines, (std::vector<std::string>{"pci_read 192 0xc0ffef", "pci_read 196 0xbadbeef",
                                             "pci_read 200 0x4030201", "pci_read 204 0x8070605",
                                             "pci_read 212 0x11223344", "pci_read 216 0x55667788",
                                             "vmbus_open vgpu3"}));
}

TEST_F(BackendTest, ARefusedWindowEndsTheStartAndIsNotTriedAgain) {
  Refuse(kSetIospaceRegion, 0);
  bus->at_start = [this](BusEvents& events) {
    events.Offered(FakeBus::Global());
    for (uint32_t i = 0; i < 2; ++i) {
      events.Offered(FakeBus::Vgpu(i));
      events.FunctionArrived(bus->Function(i));
    }
  };
  Start();
  EXPECT_TRUE(heard.told().empty());
  EXPECT_EQ(Packets(), (std::vector<std::string>{"global SETIOSPACEREGION"}));
  Asked<host::CreateProcess> process(*backend, 0);
  EXPECT_EQ(process.Wait(), -ENODEV);
  EXPECT_FALSE(backend->FindRegion(WindowAddress(bus->window.start)));
  EXPECT_EQ(backend->AddClientPages(std::make_shared<TestPages>()).status().value(), -ENODEV);
}

TEST_F(BackendTest, AnAdapterThatIsRefusedIsClosedAndOthersStart) {
  Refuse(kOpenAdapter, 4);
  bus->at_start = [this](BusEvents& events) {
    events.Offered(FakeBus::Global());
    events.Offered(FakeBus::Vgpu());
    events.FunctionArrived(bus->Function());
  };
  Start();
  EXPECT_TRUE(heard.told().empty());
  EXPECT_EQ(log->Take().back(), "vmbus_close vgpu");
  bus->answers = [](const std::string&, uint32_t command) { return FakeBus::DefaultAnswer(command); };
  bus->events->Offered(FakeBus::Vgpu(1));
  bus->events->FunctionArrived(bus->Function(1));
  EXPECT_EQ(heard.Wait(1), (std::vector<std::string>{"arrived 0xbadbeef00c0ffef"}));
  bus->events->FunctionRemoved("function 0");  // nobody has heard of it
  bus->events->FunctionRemoved("function 1");
  EXPECT_EQ(heard.Wait(2)[1], "removed 0xbadbeef00c0ffef");
}

TEST_F(BackendTest, ShortAnswersAtTheStartAreRefusals) {
  bus->answers = [](const std::string&, uint32_t command) {
    auto answer = FakeBus::DefaultAnswer(command);
    if (command == kGetInternalAdapterInfo) answer->resize(704);  // of version 27
    return answer;
  };
  bus->at_start = [this](BusEvents& events) {
    events.Offered(FakeBus::Global());
    events.Offered(FakeBus::Vgpu());
    events.FunctionArrived(bus->Function());
  };
  Start();
  EXPECT_TRUE(heard.told().empty());
}

TEST_F(BackendTest, WithoutAWindowItGoesOn) {
  bus->window_error = ENOTSUP;
  StartUsual();
  EXPECT_FALSE(backend->FindRegion(WindowAddress(bus->window.start)));
  Asked<host::Lock2> call(*backend, heard.adapter().address);
  EXPECT_EQ(call.Wait(), 0);
}

TEST_F(BackendTest, AWindowThatCannotBeHadIsARefusal) {
  bus->window_error = ENOMEM;
  bus->at_start = [this](BusEvents& events) {
    events.Offered(FakeBus::Global());
    events.Offered(FakeBus::Vgpu());
    events.FunctionArrived(bus->Function());
  };
  Start();
  EXPECT_TRUE(heard.told().empty());
  EXPECT_TRUE(Packets().empty());
}

TEST_F(BackendTest, TheLastPageOfTheWindowIsNobodys) {
  StartUsual();
  const uint64_t start = bus->window.start, end = start + bus->window.length;
  for (uint64_t address : {start, start + 1, end - 4096 - 1}) {
    const auto region = backend->FindRegion(WindowAddress(address));
    ASSERT_TRUE(region) << std::hex << address;
    EXPECT_EQ(region->window_address, WindowAddress(start));
    EXPECT_EQ(region->size, bus->window.length - 4096);
    EXPECT_EQ(region->file, 5);
    EXPECT_EQ(region->file_offset, 0x2000u);
    EXPECT_TRUE(region->common);
  }
  for (uint64_t address : {uint64_t{0}, start - 1, end - 4096, end - 1, end, ~uint64_t{0}})
    EXPECT_FALSE(backend->FindRegion(WindowAddress(address))) << std::hex << address;
}

TEST_F(BackendTest, ARescindEndsCallsOnTheWay) {
  Silence({kLock2});
  StartUsual();
  const uint64_t address = heard.adapter().address;
  Asked<host::Lock2> on_its_way(*backend, address);
  bus->events->Rescinded(FakeBus::kVgpu);
  EXPECT_EQ(on_its_way.Wait(), -ENODEV);
  heard.Wait(2);
  Asked<host::Lock2> late(*backend, address);
  EXPECT_EQ(late.Wait(), -ENODEV);
  Asked<host::CreateProcess> process(*backend, 0);
  EXPECT_EQ(process.Wait(), 0) << "the global channel is there";
}

TEST_F(BackendTest, ARemovedFunctionEndsCallsOnTheWay) {
  Silence({kLock2});
  StartUsual();
  Asked<host::Lock2> on_its_way(*backend, heard.adapter().address);
  bus->events->FunctionRemoved("function 0");
  EXPECT_EQ(on_its_way.Wait(), -ENODEV);
  EXPECT_EQ(heard.Wait(2)[1], "removed 0xbadbeef00c0ffee");
}

TEST_F(BackendTest, ALostBusEndsEverything) {
  Silence({kLock2, 1000});
  StartUsual();
  Asked<host::Lock2> adapters(*backend, heard.adapter().address);
  Asked<host::CreateProcess> global(*backend, 0);
  bus->events->BusLost("the test took it");
  EXPECT_EQ(heard.Wait(2)[1], "lost");
  EXPECT_EQ(adapters.Wait(), -ENODEV);
  EXPECT_EQ(global.Wait(), -ENODEV);
  EXPECT_FALSE(backend->FindRegion(WindowAddress(bus->window.start)));
}

// The channel's end does not wait for a completion that is in memory which does not answer, and nor does who
// hears of the loss.
TEST_F(BackendTest, ALostBusIsToldWhileACompletionIsGone) {
  struct Gone {
    std::promise<void> begun, goes_on;
  } gone;
  Silence({1000});
  StartUsual();
  const uint64_t address = heard.adapter().address;
  host::Lock2::Request request;
  host::Lock2::Reply reply;
  const auto* command = contract::FindHostCommand(contract::kHostCommandId<host::Lock2::Request>);
  backend->Submit({command, 7, address, &request, &reply}, {[](void* context, Status) {
                                                              auto& it = *static_cast<Gone*>(context);
                                                              const Relay::Pause pause;
                                                              it.begun.set_value();
                                                              it.goes_on.get_future().wait();
                                                            },
                                                            &gone});
  gone.begun.get_future().wait();
  Asked<host::Lock2> next(*backend, address);
  EXPECT_EQ(next.Wait(), 0) << "another thread hears the channel";
  Asked<host::CreateProcess> global(*backend, 0);
  bus->events->BusLost("the test took it");
  EXPECT_EQ(heard.Wait(2)[1], "lost");
  EXPECT_EQ(global.Wait(), -ENODEV);
  gone.goes_on.set_value();
}

TEST_F(BackendTest, StopEndsCallsOnTheWay) {
  Silence({kLock2, 1000});
  StartUsual();
  const uint64_t address = heard.adapter().address;
  Asked<host::Lock2> adapters(*backend, address);
  Asked<host::CreateProcess> global(*backend, 0);
  backend->Stop();
  EXPECT_EQ(adapters.Wait(), -ENODEV);
  EXPECT_EQ(global.Wait(), -ENODEV);
  Asked<host::Lock2> late(*backend, address);
  EXPECT_EQ(late.Wait(), -ENODEV);
  const auto lines = log->Take();
  ASSERT_GE(lines.size(), 3u);
  EXPECT_EQ(std::vector(lines.end() - 3, lines.end()),
            (std::vector<std::string>{"vmbus_close vgpu", "vmbus_close global", "stop"}))
      << "the bus is there until its channels are closed";
}

// Neither waits for as long as a start may take.
TEST_F(BackendTest, StopsWhileASilentHostIsAskedToOpenAnAdapter) {
  Silence({kOpenAdapter});
  Start();
  bus->events->Offered(FakeBus::Global());
  bus->events->Offered(FakeBus::Vgpu());
  bus->events->FunctionArrived(bus->Function());
  while (std::ranges::count(Packets(), "vgpu OPENADAPTER") == 0) std::this_thread::yield();
  backend->Stop();
  EXPECT_TRUE(heard.told().empty());
}

TEST_F(BackendTest, StopsThoughTheHostDoesNotCloseItsAdapters) {
  Silence({kCloseAdapter});
  bus->at_start = [this](BusEvents& events) {
    events.Offered(FakeBus::Global());
    for (uint32_t i = 0; i < 8; ++i) {
      events.Offered(FakeBus::Vgpu(i));
      events.FunctionArrived(bus->Function(i));
    }
  };
  Start();
  EXPECT_EQ(heard.told().size(), 8u);
  Packets();
  backend->Stop();
  EXPECT_EQ(Packets(), (std::vector<std::string>{"vgpu CLOSEADAPTER"}))
      << "a silent host is not asked eight times";
}

TEST_F(BackendTest, WhatIsThereTwiceIsUsedOnce) {
  StartUsual();
  bus->events->FunctionArrived(bus->Function());  // the same function
  bus->events->Offered(FakeBus::Global(9));       // another global channel
  bus->events->Offered(FakeBus::Vgpu());          // the same offer
  auto twin =
      std::make_shared<FakeFunction>(log, "function 5", Config(0));  // another function with the same channel
  bus->events->FunctionArrived(twin);
  bus->events->Offered(FakeBus::Vgpu(1));
  bus->events->FunctionArrived(bus->Function(1));
  EXPECT_EQ(heard.Wait(2),
            (std::vector<std::string>{"arrived 0xbadbeef00c0ffee", "arrived 0xbadbeef00c0ffef"}));
}

TEST_F(BackendTest, ClientPagesAsAGpadlAreTornDownThoughTheChannelIsGone) {
  StartUsual();
  const auto list = backend->AddClientPages(std::make_shared<TestPages>());
  ASSERT_TRUE(list.ok());
  uint64_t frame = 0;
  EXPECT_FALSE(backend->ClientFrames(0xe1e11, 0, {&frame, 1}));
  backend->RemoveClientPages(77);  // never heard of
  bus->events->Rescinded(FakeBus::kGlobal);
  while (backend->FindRegion(WindowAddress(bus->window.start))) std::this_thread::yield();
  backend->RemoveClientPages(0xe1e11);
  backend->RemoveClientPages(0xe1e11);
  auto lines = log->Take();
  std::erase_if(lines, [](const std::string& line) { return !line.starts_with("gpadl"); });
  EXPECT_EQ(lines, (std::vector<std::string>{"gpadl 1 8192", "gpadl_teardown 1 0xe1e11"}));
}

TEST_F(BackendTest, ClientPagesByFramesStayInPlace) {
  bus->at_start = [this](BusEvents& events) {
    events.Offered(FakeBus::Global());
    events.Offered(FakeBus::Vgpu());
    events.FunctionArrived(bus->Function(0, 40, 1));
  };
  Start();
  EXPECT_TRUE(heard.adapter().map_guest_pages);
  log->Take();
  auto list = backend->AddClientPages(std::make_shared<TestPages>());
  ASSERT_TRUE(list.ok());
  uint64_t frames[2] = {};
  EXPECT_TRUE(backend->ClientFrames(*list, 0, frames));
  EXPECT_EQ(frames[1], 0x1001u);
  EXPECT_FALSE(backend->ClientFrames(*list, 1, frames));
  EXPECT_FALSE(backend->ClientFrames(*list + 1, 0, frames));
  backend->RemoveClientPages(*list);
  EXPECT_FALSE(backend->ClientFrames(*list, 0, frames));
  EXPECT_EQ(log->Take(), (std::vector<std::string>{"pin", "unpin"}));
}

TEST_F(BackendTest, HearsWhatTheHostSendsAndNothingElse) {
  StartUsual();
  const auto channel = bus->channel(FakeBus::kGlobal);
  const auto deliver = [&](const contract::Message& message, uint32_t id) {
    channel->Deliver(kInBand, 0, EncodeGuestMessage(*contract::FindGuestMessage(id), 0, message));
  };
  channel->Deliver(kInBand, 0, PacketBytes(23));  // no header
  channel->Deliver(kInBand, 0, PacketBytes(64));  // not for a guest
  host::SignalGuestEvent event;
  deliver(event, 0);  // number 0 is no event
  event.set_event(2);
  auto bytes = EncodeGuestMessage(*contract::FindGuestMessage(0), 0, event);
  bytes.resize(24);
  channel->Deliver(kInBand, 0, bytes);
  bytes[16] = std::byte{4};  // SENDWNFNOTIFICATION
  channel->Deliver(kInBand, 0, bytes);
  host::SetGuestData data;
  data.set_guest_pointer(0xabc);
  deliver(data, 2);  // a 0
  data.set_data(1);
  data.set_bits(2);  // no 32-bit number
  deliver(data, 2);
  data.set_bits(0);
  deliver(data, 2);
  deliver(event, 0);
  host::SignalGuestEventPassive passive;
  passive.set_event(3);
  deliver(passive, 3);
  heard.Wait(4);
  EXPECT_EQ(heard.told(),
            (std::vector<std::string>{"arrived 0xbadbeef00c0ffee", "state 0xabc", "event 2", "event 3"}));
}

// A host that never stops to tell of something new does not keep Start from its end.
TEST_F(BackendTest, StartEndsThoughTheHostGoesOn) {
  std::atomic<bool> over = false;
  std::thread host;
  bus->at_start = [&](BusEvents& events) {
    host = std::thread([&over, &events] {
      for (uint32_t relid = 10; !over; ++relid) events.Offered(FakeBus::Vgpu(5, relid));
    });
  };
  Start();
  over = true;
  host.join();
}

}  // namespace
}  // namespace dxg::vmbus
