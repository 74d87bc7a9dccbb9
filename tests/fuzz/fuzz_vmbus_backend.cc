// A host that answers and tells anything, to the back-end that sends it the driver's commands. Nothing may
// crash, hang or leak, and each call ends once.
//
// Input: pieces, 2 bytes of length and the bytes. The first four answer what the start asks
// (SETIOSPACEREGION, OPENADAPTER, GETINTERNALADAPTERINFO) and one call; an empty one stands for a good
// answer. The others come unasked, the first byte says how: bit 0 on the adapter's channel, else the global
// one; bit 1 an answer, bit 2 a failure, else a message; the second byte is the transaction.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>

#include "cuse-dxg/backend/vmbus/bus.h"
#include "cuse-dxg/backend/vmbus/vmbus_backend.h"
#include "link/vmbus/message.h"
#include "proto/contract/host_commands.gen.h"
#include "tests/fuzz/fuzz_check.h"

namespace dxg::vmbus {
namespace {

using Piece = std::span<const uint8_t>;
constexpr uint32_t kGlobal = 1, kVgpu = 2;

// The pieces of the input; then empty ones.
class Pieces {
 public:
  explicit Pieces(Piece input) : input_(input) {}
  bool more() const { return input_.size() >= 2; }
  Piece Next() {
    if (!more()) return {};
    const size_t bytes = std::min<size_t>(input_[0] | input_[1] << 8, input_.size() - 2);
    const Piece piece = input_.subspan(2, bytes);
    input_ = input_.subspan(2 + bytes);
    return piece;
  }

 private:
  Piece input_;
};

std::vector<std::byte> Bytes(Piece piece) {
  const auto bytes = std::as_bytes(piece);
  return {bytes.begin(), bytes.end()};
}

class FuzzedChannel final : public Channel {
 public:
  explicit FuzzedChannel(Pieces& answers) : answers_(answers) {}
  Sent Send(const Packet& packet) override {
    std::lock_guard lock(mutex_);
    if (closed_) return Sent::kLost;
    if ((packet.flags & kCompletionRequested) == 0) return Sent::kYes;
    std::vector<std::byte> answer = Bytes(answers_.Next());
    if (answer.empty()) answer.resize(kMessageBytesMax);
    Put(kCompletion, packet.transaction, std::move(answer));
    return Sent::kYes;
  }
  Status Run(const std::function<void(const Packet&)>& handle) override {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return closed_ || !arriving_.empty(); });
      if (arriving_.empty()) return Status::Ok();
      const Kept kept = std::move(arriving_.front());
      arriving_.pop_front();
      lock.unlock();
      handle({kept.type, 0, kept.transaction, kept.payload});
      lock.lock();
    }
  }
  void Close() override {
    std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }
  void Deliver(uint16_t type, uint64_t transaction, std::vector<std::byte> payload) {
    std::lock_guard lock(mutex_);
    Put(type, transaction, std::move(payload));
  }

 private:
  struct Kept {
    uint16_t type;
    uint64_t transaction;
    std::vector<std::byte> payload;
  };
  void Put(uint16_t type, uint64_t transaction, std::vector<std::byte> payload) {
    arriving_.push_back({type, transaction, std::move(payload)});
    changed_.notify_all();
  }
  Pieces& answers_;
  std::mutex mutex_;  // guards the three below
  std::condition_variable changed_;
  std::deque<Kept> arriving_;
  bool closed_ = false;
};

struct Function final : PciFunction {
  std::string name() const override { return "fuzz"; }
  bool compute_only() const override { return false; }
  Result<uint32_t> Read(uint32_t offset) override { return offset == 0xD0 ? 40u : 0u; }
  Status Write(uint32_t, uint32_t) override { return Status::Ok(); }
};

class FuzzedBus final : public Bus {
 public:
  explicit FuzzedBus(Pieces& pieces) : pieces_(pieces) {}
  Status Start(BusEvents* events) override {
    events->Offered({kGlobalClass, {}, kGlobal, 64});
    events->Offered({kVgpuClass, {}, kVgpu, 0});
    events->FunctionArrived(std::make_shared<Function>());
    return Status::Ok();
  }
  void Stop() override {}
  Result<std::unique_ptr<Channel>> Open(const ChannelOffer& offer) override {
    auto channel = std::make_unique<FuzzedChannel>(pieces_);
    channels[offer.relid] = channel.get();
    return std::unique_ptr<Channel>(std::move(channel));
  }
  Result<Window> ReserveWindow(const ChannelOffer&) override {
    return Window{0x10000000, 64 << 20, -1, 0, nullptr};
  }
  Result<uint32_t> CreateGpadl(const ChannelOffer&, std::shared_ptr<ClientPages>) override { return 1u; }
  void TearDownGpadl(const ChannelOffer&, uint32_t) override {}
  Result<std::unique_ptr<Pinned>> Pin(std::shared_ptr<ClientPages>) override {
    return Status::Refuse(ENOTSUP, "nothing is pinned");
  }

  std::map<uint32_t, FuzzedChannel*> channels;  // while they are open

 private:
  Pieces& pieces_;
};

struct Nothing final : BackendEvents {
  void AdapterArrived(const HostAdapter& adapter) override { address = adapter.address; }
  void AdapterStopped(uint64_t) override {}
  void AdapterRemoved(uint64_t) override {}
  void DeviceStateChanged(uint64_t) override {}
  void GuestEvent(uint64_t event) override { FUZZ_CHECK(event != 0); }
  void HostLost() override {}
  uint64_t address = 0;
};

}  // namespace
}  // namespace dxg::vmbus

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dxg;
  using namespace dxg::vmbus;
  static const bool quiet = (spdlog::set_level(spdlog::level::off), true);
  (void)quiet;
  Pieces pieces(Piece(data, size));
  auto owned = std::make_unique<FuzzedBus>(pieces);
  FuzzedBus* const bus = owned.get();
  Nothing heard;
  const auto backend = CreateVmbusBackend(std::move(owned));
  FUZZ_CHECK(backend->Start(&heard).ok());
  int ended = 0;
  host::CreateAllocation::Request request;
  request.add_allocations()->set_priv_drv_data_size(8);
  request.set_alloc_count(1);
  host::CreateAllocation::Reply reply;
  backend->Submit({contract::FindHostCommand(contract::kHostCommandId<host::CreateAllocation::Request>), 1,
                   heard.address, &request, &reply},
                  {[](void* context, Status) { ++*static_cast<int*>(context); }, &ended});
  while (heard.address != 0 && pieces.more()) {
    const Piece piece = pieces.Next();
    if (piece.size() < 2) continue;
    const uint16_t type = (piece[0] & 2) != 0 ? kCompletion : (piece[0] & 4) != 0 ? kSendFailed : kInBand;
    bus->channels[(piece[0] & 1) != 0 ? kVgpu : kGlobal]->Deliver(type, piece[1], Bytes(piece.subspan(2)));
  }
  backend->Stop();
  FUZZ_CHECK(ended == 1);
  return 0;
}
