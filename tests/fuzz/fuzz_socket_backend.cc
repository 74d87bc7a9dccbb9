// Random frames of a host to the device process, whose calls wait for answers. Each call ends once, the loss
// of the host is told once, and what is taken for a region is one.
//
// Input: 1 byte says how, 1 byte how many calls wait, 2 bytes for the command of each; the rest are frames or
// packets (fuzz_frames.h).
#include <fcntl.h>
#include <google/protobuf/stubs/logging.h>
#include <spdlog/spdlog.h>

#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <vector>

#include "base/page.h"
#include "cuse-dxg/backend/socket/socket_backend.h"
#include "link/socket/connection.h"
#include "proto/contract/contract.h"
#include "proto/dxg/protocol.pb.h"
#include "tests/fuzz/fuzz_frames.h"

namespace {

using namespace dxg;

constexpr uint64_t kAddress = 2;

// Where the back-end finds its host; for the whole run.
struct Listener {
  Listener() {
    char name[] = "/tmp/dxg-fuzz.XXXXXX";
    FUZZ_CHECK(mkdtemp(name) != nullptr);
    directory = name;
    auto listening = socket::Listen(directory + "/host", "--listen");
    FUZZ_CHECK(listening.ok());
    listener = *std::move(listening);
  }
  ~Listener() { std::filesystem::remove_all(directory); }
  std::string directory;
  UniqueFd listener;
};

class Guest final : public BackendEvents {
 public:
  void AdapterArrived(const HostAdapter&) override {}
  void AdapterStopped(uint64_t) override {}
  void AdapterRemoved(uint64_t) override {}
  void DeviceStateChanged(uint64_t) override {}
  void GuestEvent(uint64_t) override {}
  void HostLost() override {
    std::lock_guard lock(mutex_);
    ++lost_;
    changed_.notify_all();
  }
  void AwaitLoss() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return lost_ != 0; });
  }
  int lost() {
    std::lock_guard lock(mutex_);
    return lost_;
  }

 private:
  std::mutex mutex_;  // guards lost_
  std::condition_variable changed_;
  int lost_ = 0;
};

// Asks for a region when it is over, as a guest does that was given an address.
struct Waiting {
  Backend* backend;
  std::unique_ptr<google::protobuf::Message> request, reply;
  int times = 0;

  static void Complete(void* context, Status) {
    auto* waiting = static_cast<Waiting*>(context);
    ++waiting->times;
    const auto region = waiting->backend->FindRegion(WindowAddress(kPageBytes));
    FUZZ_CHECK(!region || (region->size != 0 && region->size % kPageBytes == 0 && region->file >= 0));
  }
};

// The rings that the device has sent with its greeting.
std::unique_ptr<socket::Rings> TakeRings(int host) {
  socket::Connection channel(UniqueFd(fcntl(host, F_DUPFD_CLOEXEC, 0)));
  while (!channel.Next()) FUZZ_CHECK(channel.Wait(-1).ok());
  std::vector<UniqueFd> descriptors(socket::Rings::kDescriptors);
  for (auto& each : descriptors) each = channel.TakeDescriptor();
  auto rings = socket::Rings::Take(std::move(descriptors));
  FUZZ_CHECK(rings.ok());
  return *std::move(rings);
}

void Greet(int host, bool rings) {
  protocol::FromHost message;
  message.mutable_hello()->set_version(1);
  if (rings) message.mutable_hello()->add_features(socket::kFeatureRings);
  std::string bytes = fuzz::Framed(message.SerializeAsString());
  message.mutable_adapter_arrived()->set_luid(1);
  message.mutable_adapter_arrived()->set_address(kAddress);
  message.mutable_adapter_arrived()->set_interface_version(40);
  bytes += fuzz::Framed(message.SerializeAsString());
  message.mutable_started();
  fuzz::Send(host, bytes + fuzz::Framed(message.SerializeAsString()));
}

const contract::CommandRow& CommandOf(const uint8_t* bytes) {
  const uint32_t id = bytes[0] | bytes[1] << 8;
  const contract::CommandRow* command = contract::FindHostCommand(id);
  return command != nullptr ? *command : contract::HostCommands()[id % contract::HostCommands().size()];
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool quiet =
      (spdlog::set_level(spdlog::level::off), google::protobuf::SetLogHandler(nullptr), true);
  (void)quiet;
  static const Listener listener;
  if (size < 2) return 0;
  const size_t calls = std::min<size_t>(data[1], (size - 2) / 2);
  const auto frames = std::span(data, size).subspan(2 + 2 * calls);

  SocketOptions options;
  options.path = listener.directory + "/host";
  options.patience = std::chrono::minutes(10);  // it is the connection's end that ends everything
  auto backend = CreateSocketBackend(options);
  FUZZ_CHECK(backend.ok());
  const UniqueFd host(accept4(listener.listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  FUZZ_CHECK(host.valid());
  Guest guest;
  const bool by_rings = (data[0] & fuzz::kByRings) != 0;
  Greet(host.get(), by_rings);
  FUZZ_CHECK((*backend)->Start(&guest).ok());
  std::vector<Waiting> waiting(calls);
  for (size_t i = 0; i < calls; ++i) {
    const auto& command = CommandOf(data + 2 + 2 * i);
    waiting[i] = {backend->get(), std::unique_ptr<google::protobuf::Message>(command.request->New()),
                  std::unique_ptr<google::protobuf::Message>(command.reply->New())};
    (*backend)->Submit({&command, 0, kAddress, waiting[i].request.get(), waiting[i].reply.get()},
                       {&Waiting::Complete, &waiting[i]});
  }
  if (by_rings) {
    fuzz::PutInput(*TakeRings(host.get()), frames);
  } else {
    fuzz::SendInput(host.get(), data[0], frames);
    shutdown(host.get(), SHUT_WR);
  }
  guest.AwaitLoss();
  (*backend)->Stop();
  FUZZ_CHECK(guest.lost() == 1);
  for (const Waiting& each : waiting) FUZZ_CHECK(each.times == 1);
  return 0;
}
