#include "cuse-dxg/backend/socket/socket_backend.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "base/relay.h"
#include "link/socket/connection.h"
#include "proto/dxg/protocol.pb.h"
#include "tests/backend/backend_client.h"
#include "tests/backend/raw_peer.h"
#include "tests/backend/running_host.h"

namespace dxg {
namespace {

using protocol::FromHost;
using protocol::ToHost;
using socket::Framed;
using socket::MemoryFile;
using socket::ReceiveMessage;
using socket::SendMessage;
using socket::SendRaw;
using socket::TestDirectory;

// Something that happens once.
class Once {
 public:
  void Happen() {
    std::lock_guard lock(mutex_);
    ++times_;
    changed_.notify_all();
  }
  void Await() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return times_ != 0; });
  }
  int times() {
    std::lock_guard lock(mutex_);
    return times_;
  }

 private:
  std::mutex mutex_;  // guards times_
  std::condition_variable changed_;
  int times_ = 0;
};

// A command on its way, with what it points to.
template <class Command>
class Sent {
 public:
  explicit Sent(typename Command::Request request = {}) : request_(std::move(request)) {}
  void Submit(Backend& backend, uint64_t adapter, bool asynchronous = false, uint32_t process = 0) {
    const auto* row = contract::FindHostCommand(contract::kHostCommandId<typename Command::Request>);
    backend.Submit({row, process, adapter, &request_, &reply_, asynchronous}, {&Sent::Complete, this});
  }
  // The transport's status.
  int Await() {
    done_.Await();
    return transport_;
  }
  int times() { return done_.times(); }
  const typename Command::Reply& reply() const { return reply_; }
  std::function<void()> then;  // on the thread that completes it

 private:
  static void Complete(void* context, Status transport) {
    auto* sent = static_cast<Sent*>(context);
    sent->transport_ = transport.value();
    if (sent->then) sent->then();
    sent->done_.Happen();
  }

  typename Command::Request request_;
  typename Command::Reply reply_;
  int transport_ = 0;
  Once done_;
};

// -- The real host --------------------------------------------------------------------------------

// Pages of a file that was given to the host.
class FilePages final : public ClientPages {
 public:
  explicit FilePages(uint64_t bytes) : bytes_(bytes), file_(MemoryFile(2 * bytes)) {}
  uint64_t size() const override { return bytes_; }
  bool Read(uint64_t, std::span<std::byte>) override { return false; }
  bool Write(uint64_t, std::span<const std::byte>) override { return false; }
  bool Frames(uint64_t, std::span<uint64_t>) override { return false; }
  std::optional<ClientFile> file() const override { return ClientFile{file_.get(), bytes_}; }
  uint64_t FirstWord() const {
    uint64_t word = 0;
    EXPECT_EQ(pread(file_.get(), &word, sizeof(word), static_cast<off_t>(bytes_)),
              static_cast<ssize_t>(sizeof(word)));
    return word;
  }

 private:
  const uint64_t bytes_;
  const UniqueFd file_;
};

TEST_F(SocketHostTest, RefusesProfilesThatThereAreNot) {
  SocketOptions options;
  options.path = path();
  options.profiles = {"no such profile"};
  auto backend = CreateSocketBackend(options);
  if (!backend.ok()) return;
  NoEvents nobody;  // Start says so
  EXPECT_FALSE((*backend)->Start(&nobody).ok());
}

TEST_F(SocketHostTest, RefusesPagesThatAreInNoFile) {
  BackendClient client(ConnectTo(path()));
  EXPECT_EQ(client.backend().AddClientPages(std::make_shared<TestPages>(kPage)).status().value(), -ENOMEM);
  client.backend().RemoveClientPages(1);  // which nobody has: the host ends what makes no sense
  EXPECT_FALSE(client.backend().FindRegion(WindowAddress(0)));
}

TEST_F(SocketHostTest, ALife) {
  BackendClient client(ConnectTo(path(), kForEver, {"discrete", "compute"}));
  client.AwaitArrivals(2);
  client.OpenProcess();
  auto device = client.NewDevice();
  const uint32_t context = client.NewContext(device);
  ASSERT_NE(device.handle, 0u);

  auto memory = client.NewMemory(&device);
  ASSERT_NE(memory.window, 0u);
  const auto region = client.backend().FindRegion(WindowAddress(memory.window));
  ASSERT_TRUE(region);
  EXPECT_NE(fcntl(region->file, F_GETFD) & FD_CLOEXEC, 0);
  const auto again = client.backend().FindRegion(WindowAddress(memory.window));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->file, region->file) << "one descriptor for a file, however often it comes";
  EXPECT_FALSE(client.backend().FindRegion(WindowAddress(1)));
  EXPECT_FALSE(client.backend().FindShared(1, 0));

  auto pages = std::make_shared<FilePages>(kPage);
  const auto own = client.NewMemoryOf(&device, pages);
  const auto fence = client.NewFence(device);
  hostsim::CommandWriter commands;
  commands.Fill(own.gpu, 8, 0x5A5A5A5A);
  EXPECT_TRUE(client.Work(device, context, &memory, commands, fence, 1, 77));
  client.AwaitEvent(77);
  EXPECT_EQ(client.ValueOf(fence), 1u);
  EXPECT_EQ(pages->FirstWord(), 0x5A5A5A5A5A5A5A5Aull) << "the GPU wrote into the client's pages";

  ControlRequest list;
  list.mutable_list_adapters();
  EXPECT_EQ(client.Control(list).adapters_size(), 2);
  ControlRequest add;
  add.mutable_add_adapter()->set_name("integrated");
  client.Control(add);
  client.AwaitArrivals(3);
  client.EndProcess();
}

TEST_F(SocketHostTest, AsynchronousCallsKeepTheirOrderWithWhatFollows) {
  BackendClient client(ConnectTo(path()));
  client.OpenProcess();
  auto device = client.NewDevice();
  const auto fence = client.NewFence(device);
  uint64_t value = 0;
  for (int round = 0; round < 50; ++round) {
    std::deque<Sent<host::SignalSyncObject>> sent;
    for (int i = 0; i < 1 + round * 3; ++i) {
      host::SignalSyncObject::Request signal;
      signal.set_event_or_device(device.handle);
      signal.set_object_count(1);
      signal.add_objects(fence.handle);
      signal.add_fence_values(++value);
      sent.emplace_back(signal).Submit(client.backend(), client.adapter().address, true, client.process());
      ASSERT_EQ(sent.back().times(), 1) << "it is over when it is on its way";
      EXPECT_EQ(sent.back().Await(), 0);
    }
    client.NewContext(device);
    EXPECT_EQ(client.ValueOf(fence), value);
  }
}

TEST_F(SocketHostTest, ACompletionMayAsk) {
  BackendClient client(ConnectTo(path()));
  client.OpenProcess();
  auto device = client.NewDevice();
  const auto memory = client.NewMemory(&device);
  std::deque<Sent<host::CreateDevice>> sent(20);
  int found = 0;
  for (auto& each : sent) {
    each.then = [&] { found += client.backend().FindRegion(WindowAddress(memory.window)) ? 1 : 0; };
    each.Submit(client.backend(), client.adapter().address);
  }
  for (auto& each : sent) EXPECT_EQ(each.Await(), 0);
  EXPECT_EQ(found, 20);
}

TEST_F(SocketHostTest, ManyThreadsCallAndAsk) {
  BackendClient client(ConnectTo(path()));
  client.OpenProcess();
  auto device = client.NewDevice();
  const auto memory = client.NewMemory(&device);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        Sent<host::CreateDevice> sent;
        sent.Submit(client.backend(), client.adapter().address);
        EXPECT_TRUE(client.backend().FindRegion(WindowAddress(memory.window)));
        EXPECT_EQ(sent.Await(), 0);
        auto list = client.backend().AddClientPages(std::make_shared<FilePages>(kPage));
        EXPECT_TRUE(list.ok());
        if (list.ok()) client.backend().RemoveClientPages(*list);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// -- A host that makes trouble --------------------------------------------------------------------

constexpr uint64_t kLuid = 1, kAddress = 2;

class Listener final : public NoEvents {
 public:
  void AdapterArrived(const HostAdapter& adapter) override {
    EXPECT_EQ(adapter.address, kAddress);
    if (on_arrival) on_arrival();
  }
  void GuestEvent(uint64_t event) override { events.push_back(event); }
  void HostLost() override { lost.Happen(); }

  std::function<void()> on_arrival;
  std::vector<uint64_t> events;  // the reader's until it has ended
  Once lost;
};

// Greets well, does what the script says, and then reads what comes without a word until the other side is
// gone.
class FakeHost {
 public:
  using Script = std::function<void(const UniqueFd& peer)>;
  explicit FakeHost(Script script) {
    auto listener = socket::Listen(path(), "--listen");
    EXPECT_TRUE(listener.ok()) << listener.status().why();
    thread_ = std::thread([listener = *std::move(listener), script = std::move(script)] {
      pollfd somebody = {listener.get(), POLLIN, 0};
      poll(&somebody, 1, -1);
      const UniqueFd peer(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
      ToHost hello;
      EXPECT_TRUE(ReceiveMessage(peer, &hello) && hello.has_hello());
      script(peer);
      while (!socket::ReceiveRaw(peer, 1).empty()) {
      }
    });
  }
  ~FakeHost() { thread_.join(); }
  std::string path() const { return directory_.path() + "/host"; }

  static void Greet(const UniqueFd& peer) {
    FromHost message;
    message.mutable_hello()->set_version(1);
    SendMessage(peer, message);
    Arrive(peer);
    message.mutable_started();
    SendMessage(peer, message);
  }
  static void Arrive(const UniqueFd& peer) {
    FromHost message;
    message.mutable_adapter_arrived()->set_luid(kLuid);
    message.mutable_adapter_arrived()->set_address(kAddress);
    message.mutable_adapter_arrived()->set_interface_version(40);
    SendMessage(peer, message);
  }
  // The next that are no pings.
  static ToHost Next(const UniqueFd& peer) {
    ToHost message;
    while (ReceiveMessage(peer, &message) && message.has_ping()) {
    }
    return message;
  }
  static std::vector<protocol::Call> NextCalls(const UniqueFd& peer, size_t count) {
    std::vector<protocol::Call> calls;
    while (calls.size() < count) {
      const ToHost message = Next(peer);
      if (!message.has_calls()) break;
      calls.insert(calls.end(), message.calls().calls().begin(), message.calls().calls().end());
    }
    EXPECT_EQ(calls.size(), count);
    return calls;
  }
  static FromHost Answer(uint64_t number, const google::protobuf::Message& reply) {
    FromHost message;
    message.mutable_answer()->set_number(number);
    reply.SerializeToString(message.mutable_answer()->mutable_reply());
    return message;
  }

 private:
  TestDirectory directory_;
  std::thread thread_;
};

// What a host does while these calls wait: CreateDevice, QueryAdapterInfo of 16 bytes, ReclaimAllocations
// of 2.
struct Trouble {
  const char* name;
  std::function<void(const UniqueFd& peer, const std::vector<protocol::Call>& calls)> make;
  int first = -ENODEV;  // what the first call ends with
  std::chrono::milliseconds patience = kForEver;
};
void PrintTo(const Trouble& trouble, std::ostream* out) { *out << trouble.name; }

FromHost Reclaimed(uint64_t number, int results, int32_t status = 0) {
  host::ReclaimAllocations::Reply reply;
  for (int i = 0; i < results; ++i) reply.add_results(0);
  reply.set_status(status);
  return FakeHost::Answer(number, reply);
}

const Trouble kTroubles[] = {
    {"goes_away", [](auto& peer, auto&) { shutdown(peer.get(), SHUT_RDWR); }},
    {"goes_away_in_a_frame",
     [](auto& peer, auto&) {
       SendRaw(peer, socket::LengthOf(100) + "half");
       shutdown(peer.get(), SHUT_RDWR);
     }},
    {"says_nothing", [](auto&, auto&) {}, -ENODEV, std::chrono::milliseconds(20)},
    {"says_half_a_frame_and_nothing", [](auto& peer, auto&) { SendRaw(peer, socket::LengthOf(100)); },
     -ENODEV, std::chrono::milliseconds(20)},
    {"answers_twice",
     [](auto& peer, auto& calls) {
       const FromHost answer = FakeHost::Answer(calls[0].number(), host::CreateDevice::Reply());
       SendMessage(peer, answer);
       SendMessage(peer, answer);
     },
     0},
    {"answers_an_unknown_number",
     [](auto& peer, auto&) { SendMessage(peer, FakeHost::Answer(12345, host::CreateDevice::Reply())); }},
    {"answers_number_0",
     [](auto& peer, auto&) { SendMessage(peer, FakeHost::Answer(0, host::CreateDevice::Reply())); }},
    {"sends_a_frame_that_is_too_long",
     [](auto& peer, auto&) { SendRaw(peer, socket::LengthOf(socket::kFrameBytesMax + 1)); }},
    {"sends_no_message", [](auto& peer, auto&) { SendRaw(peer, Framed("\xFF\xFF\xFF")); }},
    {"sends_no_reply",
     [](auto& peer, auto& calls) {
       FromHost message;
       message.mutable_answer()->set_number(calls[0].number());
       message.mutable_answer()->set_reply("\xFF\xFF\xFF");
       SendMessage(peer, message);
     }},
    {"sends_a_short_list",
     [](auto& peer, auto& calls) { SendMessage(peer, Reclaimed(calls[2].number(), 1)); }},
    {"sends_a_long_list",
     [](auto& peer, auto& calls) { SendMessage(peer, Reclaimed(calls[2].number(), 3)); }},
    {"sends_a_long_list_with_a_refusal",
     [](auto& peer, auto& calls) {
       SendMessage(peer, Reclaimed(calls[2].number(), 3, kStatusInvalidParameter));
     }},
    {"sends_too_many_bytes",
     [](auto& peer, auto& calls) {
       host::QueryAdapterInfo::Reply reply;
       reply.set_private_data(std::string(17, 'x'));
       SendMessage(peer, FakeHost::Answer(calls[1].number(), reply));
     }},
    {"promises_descriptors",
     [](auto& peer, auto&) {
       FromHost message;
       message.mutable_region()->set_number(1);
       message.set_descriptors(~0u);
       SendMessage(peer, message);
     }},
    {"sends_too_many_descriptors",
     [](auto& peer, auto&) {
       const UniqueFd file = MemoryFile(1);
       const std::vector<int> many(socket::kDescriptorsMax + 1, file.get());
       SendMessage(peer, FromHost(), many);
     }},
    {"refuses_late",
     [](auto& peer, auto&) {
       FromHost message;
       message.mutable_hello()->set_refused("I have no time any more");
       SendMessage(peer, message);
     }},
};

class HostTrouble : public testing::TestWithParam<Trouble> {};

TEST_P(HostTrouble, EndsAllCallsAndIsToldOnce) {
  const Trouble& trouble = GetParam();
  FakeHost host([&](const UniqueFd& peer) {
    FakeHost::Greet(peer);
    trouble.make(peer, FakeHost::NextCalls(peer, 3));
  });
  Listener listener;
  const auto backend = ConnectTo(host.path(), trouble.patience);
  ASSERT_TRUE(backend->Start(&listener).ok());
  host::QueryAdapterInfo::Request query;
  query.set_private_data(std::string(16, '\0'));
  query.set_private_data_size(16);
  host::ReclaimAllocations::Request reclaim;
  reclaim.set_allocation_count(2);
  reclaim.add_allocations(1);
  reclaim.add_allocations(2);
  reclaim.set_write_results(1);
  Sent<host::CreateDevice> first;
  Sent<host::QueryAdapterInfo> second(query);
  Sent<host::ReclaimAllocations> third(reclaim);
  first.Submit(*backend, kAddress);
  second.Submit(*backend, kAddress);
  third.Submit(*backend, kAddress);
  listener.lost.Await();
  EXPECT_EQ(first.Await(), trouble.first);
  EXPECT_EQ(second.Await(), -ENODEV);
  EXPECT_EQ(third.Await(), -ENODEV);
  EXPECT_EQ(third.reply().ByteSizeLong(), 0u) << "nothing of a wrong answer stays";
  EXPECT_FALSE(backend->FindRegion(WindowAddress(kPage)));
  EXPECT_FALSE(backend->AddClientPages(std::make_shared<FilePages>(kPage)).ok());
  for (const bool asynchronous : {false, true}) {
    Sent<host::CreateDevice> later;
    later.Submit(*backend, kAddress, asynchronous);
    EXPECT_EQ(later.times(), 1);
    EXPECT_EQ(later.Await(), -ENODEV);
  }
  backend->Stop();
  EXPECT_EQ(listener.lost.times(), 1);
  EXPECT_EQ(first.times() + second.times() + third.times(), 3);
}

INSTANTIATE_TEST_SUITE_P(All, HostTrouble, testing::ValuesIn(kTroubles),
                         [](const auto& each) { return each.param.name; });

// Answers each question with the next of these regions, whatever it was.
struct Shown {
  protocol::Region region;
  int64_t file_bytes;  // of the file that comes with it; -1: none comes
};

protocol::Region RegionOf(uint64_t window_address, uint64_t size, uint64_t file_offset) {
  protocol::Region region;
  region.set_window_address(window_address);
  region.set_size(size);
  region.set_file_offset(file_offset);
  return region;
}

TEST(SocketBackend, TakesNoRegionThatItsFileDoesNotHave) {
  const Shown shown[] = {
      {RegionOf(kPage, 2 * kPage, 0), static_cast<int64_t>(kPage)},
      {RegionOf(kPage, kPage, kPage), static_cast<int64_t>(kPage)},
      {RegionOf(kPage, kPage, ~0ull - kPage + 1), static_cast<int64_t>(kPage)},
      {RegionOf(kPage, 0, 0), static_cast<int64_t>(kPage)},
      {RegionOf(kPage, kPage / 2, 0), static_cast<int64_t>(kPage)},
      {RegionOf(kPage, kPage, 512), static_cast<int64_t>(2 * kPage)},
      {RegionOf(kPage - 512, 2 * kPage, 0), static_cast<int64_t>(2 * kPage)},
      {RegionOf(8 * kPage, kPage, 0), static_cast<int64_t>(kPage)},  // not around what was asked
      {RegionOf(0 - kPage, 3 * kPage, 0), static_cast<int64_t>(3 * kPage)},
      {RegionOf(kPage, kPage, 0), -1},
  };
  FakeHost host([&](const UniqueFd& peer) {
    FakeHost::Greet(peer);
    for (const Shown& each : shown) {
      FromHost message;
      *message.mutable_region() = each.region;
      message.mutable_region()->set_number(FakeHost::Next(peer).question().number());
      message.set_descriptors(each.file_bytes >= 0 ? 1 : 0);
      const UniqueFd file = MemoryFile(static_cast<uint64_t>(std::max<int64_t>(each.file_bytes, 0)));
      const int descriptors[] = {file.get()};
      SendMessage(peer, message, std::span<const int>(descriptors).first(message.descriptors()));
    }
    FromHost other;  // no answer to such a question
    other.mutable_listed()->set_list(1);
    other.mutable_listed()->set_number(FakeHost::Next(peer).question().number());
    SendMessage(peer, other);
  });
  Listener listener;
  const auto backend = ConnectTo(host.path());
  ASSERT_TRUE(backend->Start(&listener).ok());
  for (size_t i = 0; i < std::size(shown); ++i) EXPECT_FALSE(backend->FindRegion(WindowAddress(kPage))) << i;
  EXPECT_FALSE(backend->FindRegion(WindowAddress(kPage)));
  EXPECT_EQ(listener.lost.times(), 0);
  backend->Stop();
  EXPECT_EQ(listener.lost.times(), 0) << "it was not lost, but left";
}

TEST(SocketBackend, AQuestionFromACompletionOverWhatComesBeforeItsAnswer) {
  FakeHost host([&](const UniqueFd& peer) {
    FakeHost::Greet(peer);
    const auto calls = FakeHost::NextCalls(peer, 2);
    FromHost event;
    event.set_guest_event(1);
    SendMessage(peer, event);
    SendMessage(peer, FakeHost::Answer(calls[0].number(), host::CreateDevice::Reply()));
    const ToHost question = FakeHost::Next(peer);
    event.set_guest_event(2);
    SendMessage(peer, event);
    SendMessage(peer, FakeHost::Answer(calls[1].number(), host::CreateDevice::Reply()));
    event.set_guest_event(3);
    SendMessage(peer, event);
    FromHost message;
    *message.mutable_region() = RegionOf(kPage, kPage, 0);
    message.mutable_region()->set_number(question.question().number());
    message.set_descriptors(1);
    const UniqueFd file = MemoryFile(kPage);
    const int descriptors[] = {file.get()};
    SendMessage(peer, message, descriptors);
    event.set_guest_event(4);
    SendMessage(peer, event);
    shutdown(peer.get(), SHUT_RDWR);
  });
  Listener listener;
  const auto backend = ConnectTo(host.path());
  ASSERT_TRUE(backend->Start(&listener).ok());
  Sent<host::CreateDevice> first, second;
  bool found = false;
  std::vector<uint64_t> events_then;
  first.then = [&] {
    found = backend->FindRegion(WindowAddress(kPage)).has_value();
    events_then = listener.events;
  };
  first.Submit(*backend, kAddress);
  second.Submit(*backend, kAddress);
  EXPECT_EQ(first.Await(), 0);
  EXPECT_EQ(second.Await(), 0);
  listener.lost.Await();
  backend->Stop();
  EXPECT_TRUE(found);
  EXPECT_EQ(events_then, std::vector<uint64_t>{1}) << "nothing else is told inside the completion";
  EXPECT_EQ(listener.events, (std::vector<uint64_t>{1, 2, 3, 4}));
}

// Two completions are in memory of clients at once, so two threads have been the reader. The first one comes
// back while the second is still there, and reads on: it must not wait for somebody else to read. A third
// thread may have been quicker, so this is done several times.
TEST(SocketBackend, AQuestionFromACompletionThatHasTheLoopAgain) {
  constexpr size_t kTimes = 5;
  FakeHost host([&](const UniqueFd& peer) {
    FakeHost::Greet(peer);
    for (size_t i = 0; i < kTimes; ++i) {
      for (const protocol::Call& call : FakeHost::NextCalls(peer, 2))
        SendMessage(peer, FakeHost::Answer(call.number(), host::CreateDevice::Reply()));
      FromHost message;
      message.mutable_listed()->set_number(FakeHost::Next(peer).question().number());
      message.mutable_listed()->set_list(1);
      SendMessage(peer, message);
    }
  });
  Listener listener;
  const auto backend = ConnectTo(host.path(), std::chrono::seconds(5));
  ASSERT_TRUE(backend->Start(&listener).ok());
  for (size_t i = 0; i < kTimes && listener.lost.times() == 0; ++i) {
    Sent<host::CreateDevice> first, second;
    Once second_pauses, asked;
    first.then = [&] {
      {
        const Relay::Pause pause;
        second_pauses.Await();
      }
      EXPECT_TRUE(backend->AddClientPages(std::make_shared<FilePages>(kPage)).ok()) << i;
      asked.Happen();
    };
    second.then = [&] {
      const Relay::Pause pause;
      second_pauses.Happen();
      asked.Await();
    };
    first.Submit(*backend, kAddress);
    second.Submit(*backend, kAddress);
    EXPECT_EQ(first.Await(), 0);
    EXPECT_EQ(second.Await(), 0);
  }
  EXPECT_EQ(listener.lost.times(), 0);
}

TEST(SocketBackend, AQuestionFromACompletionEndsWithTheHost) {
  FakeHost host([&](const UniqueFd& peer) {
    FakeHost::Greet(peer);
    SendMessage(peer,
                FakeHost::Answer(FakeHost::NextCalls(peer, 1)[0].number(), host::CreateDevice::Reply()));
    FakeHost::Next(peer);
    shutdown(peer.get(), SHUT_RDWR);
  });
  Listener listener;
  const auto backend = ConnectTo(host.path());
  ASSERT_TRUE(backend->Start(&listener).ok());
  Sent<host::CreateDevice> sent;
  sent.then = [&] { EXPECT_FALSE(backend->FindRegion(WindowAddress(kPage))); };
  sent.Submit(*backend, kAddress);
  EXPECT_EQ(sent.Await(), 0);
  listener.lost.Await();
}

TEST(SocketBackend, AsynchronousCallsHaveNoNumberAndKeepTheirOrder) {
  constexpr size_t kCalls = 500;
  Once compared;
  FakeHost host([&](const UniqueFd& peer) {
    FakeHost::Greet(peer);
    std::vector<protocol::Call> calls;
    while (calls.size() < kCalls) {
      const ToHost message = FakeHost::Next(peer);
      if (!message.has_calls()) break;
      calls.insert(calls.end(), message.calls().calls().begin(), message.calls().calls().end());
    }
    for (size_t i = 0; i < calls.size(); ++i) {
      host::CreateDevice::Request request;
      EXPECT_TRUE(request.ParseFromString(calls[i].request()));
      EXPECT_EQ(request.state_cookie(), i);
      EXPECT_EQ(calls[i].number() == 0, i % 7 != 0);
    }
    compared.Happen();
  });
  Listener listener;
  const auto backend = ConnectTo(host.path());
  ASSERT_TRUE(backend->Start(&listener).ok());
  std::deque<Sent<host::CreateDevice>> sent;
  for (size_t i = 0; i < kCalls; ++i) {
    host::CreateDevice::Request request;
    request.set_state_cookie(i);
    sent.emplace_back(request).Submit(*backend, kAddress, i % 7 != 0);
  }
  compared.Await();
  backend->Stop();
  for (size_t i = 0; i < kCalls; ++i) EXPECT_EQ(sent[i].Await(), i % 7 != 0 ? 0 : -ENODEV);
}

TEST(SocketBackend, StopEndsWhatWaits) {
  FakeHost host([](const UniqueFd& peer) { FakeHost::Greet(peer); });
  Listener listener;
  const auto backend = ConnectTo(host.path());
  ASSERT_TRUE(backend->Start(&listener).ok());
  std::deque<Sent<host::CreateDevice>> sent(100);
  for (auto& each : sent) each.Submit(*backend, kAddress);
  std::thread asker([&] { EXPECT_FALSE(backend->FindRegion(WindowAddress(kPage))); });
  backend->Stop();
  for (auto& each : sent) {
    EXPECT_EQ(each.times(), 1) << "when Stop returns";
    EXPECT_EQ(each.Await(), -ENODEV);
  }
  asker.join();
  backend->Stop();
  EXPECT_EQ(listener.lost.times(), 0);
}

TEST(SocketBackend, WhoHearsOfAnAdapterMayCallAndAskAndAStartThatFailsEndsThat) {
  FakeHost host([](const UniqueFd& peer) {
    FakeHost::Arrive(peer);
    FakeHost::NextCalls(peer, 1);
    FromHost nothing;
    nothing.mutable_region()->set_number(FakeHost::Next(peer).question().number());
    SendMessage(peer, nothing);
    FromHost refusal;
    refusal.mutable_hello()->set_refused("I do not like it");
    SendMessage(peer, refusal);
  });
  Listener listener;
  const auto backend = ConnectTo(host.path());
  Sent<host::CreateDevice> sent;
  listener.on_arrival = [&] {
    sent.Submit(*backend, kAddress);
    EXPECT_FALSE(backend->FindRegion(WindowAddress(kPage)));
  };
  const Status started = backend->Start(&listener);
  EXPECT_EQ(started.value(), -ENODEV);
  EXPECT_NE(started.why().find("I do not like it"), std::string::npos) << started.why();
  EXPECT_EQ(sent.times(), 1);
  EXPECT_EQ(sent.Await(), -ENODEV);
  backend->Stop();
  EXPECT_EQ(listener.lost.times(), 0);
}

TEST(SocketBackend, ACallThatIsTooLongIsNotWaitedFor) {
  FakeHost host([](const UniqueFd& peer) { FakeHost::Greet(peer); });
  Listener listener;
  const auto backend = ConnectTo(host.path());
  ASSERT_TRUE(backend->Start(&listener).ok());
  host::QueryAdapterInfo::Request query;
  query.set_private_data(std::string(socket::kFrameBytesMax, 'x'));
  Sent<host::QueryAdapterInfo> sent(query);
  sent.Submit(*backend, kAddress);
  EXPECT_EQ(sent.Await(), -ENODEV);
  EXPECT_EQ(listener.lost.times(), 1);
}

}  // namespace
}  // namespace dxg
