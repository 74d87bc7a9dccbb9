#include "cuse-dxg/backend/vmbus/simulated_bus.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/page.h"
#include "base/patience.h"
#include "base/shared_memory.h"
#include "base/start_thread.h"
#include "base/unix_socket.h"
#include "cuse-dxg/backend/vmbus/simulated_channel.h"
#include "link/host_control.h"
#include "link/liveness.h"
#include "link/questions.h"
#include "link/simulated_bus/gpadl.h"
#include "link/simulated_bus/packet_channel.h"
#include "link/simulated_bus/protocol.h"
#include "link/vmbus/eventfd_signal.h"
#include "link/vmbus/pci_config.h"
#include "link/vmbus/ring_channel.h"

namespace dxg::vmbus {
namespace {

constexpr std::chrono::seconds kAnswerMax{5};
// A host that says nothing for so long, asked whether it is there, is gone: it may have stopped, which no
// socket tells.
constexpr std::chrono::milliseconds kPatience{1000};
// As the driver's: 256 KiB in each direction, control page included.
constexpr size_t kRingBytes = 256 << 10;
// Where the guest has its window and the pages that it shows, among its physical addresses.
constexpr uint64_t kWindowStart = 1ull << 40;
constexpr uint64_t kPagesStart = 1ull << 20;
constexpr uint64_t kMiB = 1ull << 20;
class SimulatedBus final : public Bus, public HostControl {
 public:
  SimulatedBus(UniqueFd socket, LinkData data)
      : socket_(std::make_shared<link::Socket>(std::move(socket))), data_(data) {}
  ~SimulatedBus() override { Stop(); }

  // Bus
  Status Start(BusEvents* events) override;
  void Stop() override;
  Result<std::unique_ptr<Channel>> Open(const ChannelOffer& offer) override;
  Result<Window> ReserveWindow(const ChannelOffer& global) override;
  Result<uint32_t> CreateGpadl(const ChannelOffer& global, std::shared_ptr<ClientPages> pages) override;
  void TearDownGpadl(const ChannelOffer& global, uint32_t gpadl) override;
  Result<std::unique_ptr<Pinned>> Pin(std::shared_ptr<ClientPages> pages) override;
  HostControl* control() override { return this; }

  // HostControl
  void Serve(const ControlRequest& request, ControlReply* reply) override;

  Result<uint32_t> ReadConfig(uint32_t function, uint32_t offset);
  Status WriteConfig(uint32_t function, uint32_t offset, uint32_t value);
  void ForgetMemory(uint64_t address) { (void)socket_->Tell(link::ForgetMemory{.address = address}); }

 private:
  class Function;
  class PagesInPlace;
  using Payload = const std::span<const std::byte>;  // of a control message
  // A list of pages: what of the guest's physical memory it is, until it ends.
  struct Shown {
    uint64_t address = 0, bytes = 0;
    std::shared_ptr<ClientPages> pages;
  };

  // A question to the host and what its answer is known by.
  template <class Answer, class Ask, class Match>
  std::optional<Answer> Question(Ask ask, Match match, std::vector<std::byte>* rest = nullptr);

  void Listen();
  bool AwaitPacket(Liveness& liveness);
  void TakeFailure(const link::SendFailed& failed);
  bool HandleControl(const link::Received& received, std::vector<UniqueFd> descriptors);
  bool TakeWindow(std::span<const std::byte> payload, std::vector<UniqueFd> descriptors);
  Result<uint64_t> Show(int file, uint64_t file_offset, uint64_t bytes);
  Result<uint32_t> TellGpadl(uint32_t relid, uint64_t address, uint64_t bytes);
  Result<Shown> ShowPages(std::shared_ptr<ClientPages> pages);
  Status OpenOnHost(const link::Open& open);
  Result<std::unique_ptr<Channel>> OpenWithRings(const ChannelOffer& offer);
  std::unique_ptr<Channel> Opened(std::shared_ptr<Channel> channel, uint32_t relid,
                                  std::unique_ptr<ShownRings> shown = nullptr);
  void EndChannel(uint32_t relid, const Status& why) DXG_REQUIRES(mutex_);

  const std::shared_ptr<link::Socket> socket_;
  const LinkData data_;
  BusEvents* events_ = nullptr;
  std::thread listener_;
  std::once_flag stop_;
  Questions<Payload> questions_;
  Mutex ordering_ DXG_ACQUIRED_BEFORE(mutex_);  // held by who waits for the answer to an order

  Mutex mutex_;  // taken before those of inboxes and channels, by EndChannel
  ConditionVariable changed_;
  bool lost_ DXG_GUARDED_BY(mutex_) = false, all_offered_ DXG_GUARDED_BY(mutex_) = false;
  bool stopping_ DXG_GUARDED_BY(mutex_) = false;
  std::optional<Window> window_ DXG_GUARDED_BY(mutex_);
  uint64_t next_page_ DXG_GUARDED_BY(mutex_) = kPagesStart;
  uint32_t last_gpadl_ DXG_GUARDED_BY(mutex_) = 0;
  std::map<uint32_t, Shown> gpadls_ DXG_GUARDED_BY(mutex_);
  // Of open channels, by relid: those without rings, the others, and all.
  std::map<uint32_t, std::weak_ptr<PacketInbox>> inboxes_ DXG_GUARDED_BY(mutex_);
  std::map<uint32_t, std::weak_ptr<Channel>> rings_ DXG_GUARDED_BY(mutex_);
  std::map<uint32_t, std::weak_ptr<SendFailures>> failures_ DXG_GUARDED_BY(mutex_);
};

class SimulatedBus::Function final : public PciFunction {
 public:
  Function(SimulatedBus& bus, const link::FunctionArrived& arrived)
      : bus_(bus), number_(arrived.function), compute_(arrived.device == kPciCompute) {}
  std::string name() const override { return fmt::format("function {}", number_); }
  bool compute_only() const override { return compute_; }
  Result<uint32_t> Read(uint32_t offset) override { return bus_.ReadConfig(number_, offset); }
  Status Write(uint32_t offset, uint32_t value) override { return bus_.WriteConfig(number_, offset, value); }

 private:
  SimulatedBus& bus_;
  const uint32_t number_;
  const bool compute_;
};

// -- Questions ------------------------------------------------------------------------------------

template <class Answer, class Ask, class Match>
std::optional<Answer> SimulatedBus::Question(Ask ask, Match match, std::vector<std::byte>* rest) {
  std::optional<Answer> answer;
  Questions<Payload>::Question asked(questions_, [&](Payload& payload) {
    std::span<const std::byte> behind;
    const auto came = link::Read<Answer>(payload, &behind);
    if (!came || !match(*came)) return false;
    answer = came;
    if (rest) rest->assign(behind.begin(), behind.end());
    return true;
  });
  if (!asked.open()) return std::nullopt;
  if (ask()) asked.WaitFor(kAnswerMax);
  return asked.End() ? answer : std::nullopt;
}

namespace {
Status NoAnswer(const char* what) { return Status::Refuse(ENODEV, "the host has not answered: {}", what); }
}  // namespace

Result<uint32_t> SimulatedBus::ReadConfig(uint32_t function, uint32_t offset) {
  link::ReadConfig read;
  read.function = function;
  read.offset = offset;
  const auto done = Question<link::ConfigDone>(
      [&] { return socket_->Tell(read); },
      [&](const link::ConfigDone& came) { return came.function == function && came.offset == offset; });
  if (!done) return NoAnswer("a read of configuration space");
  if (done->error != 0)
    return Status::Refuse(EIO, "configuration space cannot be read at {:#x}: error {}", offset, done->error);
  return done->value;
}

Status SimulatedBus::WriteConfig(uint32_t function, uint32_t offset, uint32_t value) {
  link::WriteConfig write;
  write.function = function;
  write.offset = offset;
  write.value = value;
  const auto done = Question<link::ConfigDone>(
      [&] { return socket_->Tell(write); },
      [&](const link::ConfigDone& came) { return came.function == function && came.offset == offset; });
  if (!done) return NoAnswer("a write of configuration space");
  return done->error == 0 ? Status::Ok()
                          : Status::Refuse(EIO, "configuration space cannot be written at {:#x}: error {}",
                                           offset, done->error);
}

void SimulatedBus::Serve(const ControlRequest& request, ControlReply* reply) {
  MutexLock one_by_one(ordering_);  // an answer does not say what order it is to
  std::string text;
  request.SerializeToString(&text);
  std::vector<std::byte> rest;
  const auto done = Question<link::Controlled>(
      [&] { return socket_->Tell(link::Control{}, {}, std::as_bytes(std::span(text))); },
      [](const auto&) { return true; }, &rest);
  if (done && reply->ParseFromArray(rest.data(), static_cast<int>(rest.size()))) return;
  reply->Clear();
  reply->set_error("the host process is gone");
}

// -- Life -----------------------------------------------------------------------------------------

Status SimulatedBus::Start(BusEvents* events) {
  events_ = events;
  if (!StartThread(&listener_, [this] { Listen(); }))
    return Status::Refuse(EAGAIN, "no thread can be started for the VMBus");
  const auto version = Question<link::VersionResponse>([&] { return socket_->Tell(link::InitiateContact{}); },
                                                       [](const auto&) { return true; });
  if (!version) return NoAnswer("contact");
  if (version->supported == 0)
    return Status::Refuse(EPROTO, "the host does not speak version {:#x} of the VMBus", link::kVmbusVersion);
  (void)socket_->Tell(link::RequestOffers{});
  RealPatience patience(kAnswerMax);
  MutexLock lock(mutex_);
  while (!all_offered_ && !lost_ && !patience.IsOver()) changed_.WaitUntil(mutex_, patience.next_look());
  return all_offered_ ? Status::Ok() : NoAnswer("the offers of its channels");
}

void SimulatedBus::Stop() {
  std::call_once(stop_, [this] {
    {
      MutexLock lock(mutex_);
      stopping_ = true;
    }
    socket_->Close();
    if (listener_.joinable()) listener_.join();
    socket_->Discard();
    std::map<uint32_t, Shown> gpadls;
    MutexLock lock(mutex_);
    window_.reset();
    gpadls.swap(gpadls_);
  });
}

// False: the host is gone, though the socket is not.
bool SimulatedBus::AwaitPacket(Liveness& liveness) {
  for (;;) {
    pollfd event = {socket_->fd(), POLLIN, 0};
    if (poll(&event, 1, static_cast<int>(liveness.look_after().count())) > 0) {
      liveness.Heard();
      return true;
    }
    switch (liveness.Look()) {
      case Liveness::Verdict::kWait:
        break;
      case Liveness::Verdict::kAsk: {
        const link::Ping ping;
        (void)socket_->Send({}, std::as_bytes(std::span(&ping, 1)));
        break;
      }
      case Liveness::Verdict::kSilent:
        if (poll(&event, 1, 0) == 0) return false;
        break;
    }
  }
}

void SimulatedBus::Listen() {
  Status why = Status::Ok();
  Liveness liveness(kPatience);
  for (;;) {
    if (!AwaitPacket(liveness)) {
      why = Status::Refuse(ENODEV, "it has not answered for {} ms", kPatience.count());
      break;
    }
    auto received = socket_->Receive();
    if (!received.ok()) {
      why = received.status();
      break;
    }
    std::vector<UniqueFd> descriptors = std::move(received->descriptors);
    if (received->header.channel != link::kControlChannel) {
      std::shared_ptr<PacketInbox> inbox;
      {
        MutexLock lock(mutex_);
        const auto found = inboxes_.find(received->header.channel);
        if (found != inboxes_.end()) inbox = found->second.lock();
      }
      if (inbox) inbox->Put(*received);
    } else if (!HandleControl(*received, std::move(descriptors))) {
      why = Status::Refuse(EPROTO, "it sent control message {:#x} with {} bytes, which makes no sense",
                           link::NumberOf(received->payload), received->payload.size());
      break;
    }
  }
  socket_->Close();
  bool told = false;
  {
    MutexLock lock(mutex_);
    lost_ = true;
    told = stopping_;
    for (const auto& each : inboxes_) EndChannel(each.first, why);
    for (const auto& each : rings_) EndChannel(each.first, why);
    changed_.NotifyAll();
  }
  questions_.End();
  if (!told) events_->BusLost(why.why());
}

void SimulatedBus::TakeFailure(const link::SendFailed& failed) {
  std::shared_ptr<SendFailures> channel;
  {
    MutexLock lock(mutex_);
    const auto found = failures_.find(failed.relid);
    if (found != failures_.end()) channel = found->second.lock();
  }
  if (channel) channel->Tell(failed.transaction, static_cast<uint32_t>(failed.error));
}

// A ring has no other way to hear of it.
void SimulatedBus::EndChannel(uint32_t relid, const Status& why) {
  if (const auto found = inboxes_.find(relid); found != inboxes_.end()) {
    if (const auto inbox = found->second.lock()) inbox->End(why);
  }
  if (const auto found = rings_.find(relid); found != rings_.end()) {
    if (const auto channel = found->second.lock()) channel->Close();
  }
}

bool SimulatedBus::HandleControl(const link::Received& received, std::vector<UniqueFd> descriptors) {
  const std::span<const std::byte> payload = received.payload;
  if (const auto offer = link::Read<link::Offer>(payload)) {
    ChannelOffer offered;
    offered.channel_class = offer->channel_class;
    offered.instance = offer->instance;
    offered.relid = offer->relid;
    offered.mmio_megabytes = offer->mmio_megabytes;
    if (offer->relid != link::kControlChannel) events_->Offered(offered);
    return offer->relid != link::kControlChannel;
  }
  if (const auto rescind = link::Read<link::Rescind>(payload)) {
    {
      // What waits for an answer on it, ours to open the adapter too, waits in vain.
      MutexLock lock(mutex_);
      EndChannel(rescind->relid, Status::Refuse(ENODEV, "the host has rescinded it"));
    }
    events_->Rescinded(rescind->relid);
    return true;
  }
  if (const auto arrived = link::Read<link::FunctionArrived>(payload)) {
    if (arrived->vendor != kPciVendor || (arrived->device != kPciRender && arrived->device != kPciCompute))
      return true;  // somebody else's
    events_->FunctionArrived(std::make_shared<Function>(*this, *arrived));
    return true;
  }
  if (const auto removed = link::Read<link::FunctionRemoved>(payload)) {
    events_->FunctionRemoved(fmt::format("function {}", removed->function));
    return true;
  }
  if (link::NumberOf(payload) == link::kWindowFile) return TakeWindow(payload, std::move(descriptors));
  if (const auto failed = link::Read<link::SendFailed>(payload)) {
    TakeFailure(*failed);
  } else if (link::Read<link::AllOffersDelivered>(payload)) {
    MutexLock lock(mutex_);
    all_offered_ = true;
    changed_.NotifyAll();
  } else {
    (void)questions_.Answer(payload);  // a late answer, or a message of a later version, is nobody's
  }
  return true;
}

bool SimulatedBus::TakeWindow(std::span<const std::byte> payload, std::vector<UniqueFd> descriptors) {
  const auto message = link::Read<link::WindowFile>(payload);
  if (!message || descriptors.size() != 1 || message->file_offset % kPageBytes != 0 ||
      message->bytes > INT64_MAX - message->file_offset)
    return false;
  // Whoever touches what is behind the end of a file ends by SIGBUS.
  struct stat status {};
  if (fstat(descriptors[0].get(), &status) != 0) return false;
  if (S_ISREG(status.st_mode) &&
      static_cast<uint64_t>(status.st_size) < message->file_offset + message->bytes)
    return false;
  auto file = std::make_shared<UniqueFd>(std::move(descriptors[0]));
  MutexLock lock(mutex_);
  window_ = Window{kWindowStart, message->bytes, file->get(), message->file_offset, file};
  return true;
}

// -- Memory ---------------------------------------------------------------------------------------

Result<Window> SimulatedBus::ReserveWindow(const ChannelOffer& global) {
  MutexLock lock(mutex_);
  if (!window_) return Status::Refuse(EPROTO, "the host has not said what file its window is");
  Window window = *window_;
  window.length = std::min(window.length, global.mmio_megabytes * kMiB);
  if (window.length == 0)
    return Status::Refuse(ENOMEM, "the host asks for a window of {} MiB", global.mmio_megabytes);
  return window;
}

// The guest's physical address of those bytes from now on.
Result<uint64_t> SimulatedBus::Show(int file, uint64_t file_offset, uint64_t bytes) {
  link::GuestMemory memory;
  {
    MutexLock lock(mutex_);
    memory.address = next_page_;
    next_page_ += bytes;
  }
  memory.bytes = bytes;
  memory.file_offset = file_offset;
  const int descriptors[] = {file};
  if (!socket_->Tell(memory, descriptors)) return Status::Refuse(ENODEV, "the host is gone");
  return memory.address;
}

Result<uint32_t> SimulatedBus::TellGpadl(uint32_t relid, uint64_t address, uint64_t bytes) {
  if (bytes < kPageBytes || bytes > UINT32_MAX)
    return Status::Refuse(ENOMEM, "{} bytes are no list of pages that a host takes", bytes);
  uint32_t gpadl = 0;
  {
    MutexLock lock(mutex_);
    gpadl = ++last_gpadl_;
  }
  const auto created =
      Question<link::GpadlCreated>([&] { return link::TellGpadl(*socket_, relid, gpadl, address, bytes); },
                                   [&](const link::GpadlCreated& came) { return came.gpadl == gpadl; });
  if (!created) return NoAnswer("a list of pages");
  if (created->status != 0)
    return Status::Refuse(ENOMEM, "the host refuses a list of {} pages: status {:#x}", bytes / kPageBytes,
                          created->status);
  return gpadl;
}

Result<SimulatedBus::Shown> SimulatedBus::ShowPages(std::shared_ptr<ClientPages> pages) {
  const std::optional<ClientFile> file = pages->file();
  if (!file)
    return Status::Refuse(
        ENOTSUP, "these pages are of no file, and there is no other way to a host in another process");
  const uint64_t bytes = pages->size();
  DXG_ASSIGN(const uint64_t address, Show(file->descriptor, file->offset, bytes));
  return Shown{address, bytes, std::move(pages)};
}

Result<uint32_t> SimulatedBus::CreateGpadl(const ChannelOffer& global, std::shared_ptr<ClientPages> pages) {
  DXG_ASSIGN(Shown shown, ShowPages(std::move(pages)));
  auto gpadl = TellGpadl(global.relid, shown.address, shown.bytes);
  if (!gpadl.ok()) {
    ForgetMemory(shown.address);
    return gpadl;
  }
  MutexLock lock(mutex_);
  gpadls_[*gpadl] = std::move(shown);
  return gpadl;
}

void SimulatedBus::TearDownGpadl(const ChannelOffer& global, uint32_t gpadl) {
  Shown shown;
  {
    MutexLock lock(mutex_);
    const auto found = gpadls_.find(gpadl);
    if (found == gpadls_.end()) return;
    shown = std::move(found->second);
    gpadls_.erase(found);
  }
  link::GpadlTeardown teardown;
  teardown.relid = global.relid;
  teardown.gpadl = gpadl;
  (void)Question<link::GpadlTornDown>([&] { return socket_->Tell(teardown); },
                                      [&](const auto& came) { return came.gpadl == gpadl; });
  ForgetMemory(shown.address);
}

class SimulatedBus::PagesInPlace final : public Bus::Pinned {
 public:
  PagesInPlace(SimulatedBus& bus, Shown shown) : bus_(bus), shown_(std::move(shown)) {}
  ~PagesInPlace() override { bus_.ForgetMemory(shown_.address); }
  bool Frames(uint64_t page, std::span<uint64_t> frames) override {
    const uint64_t pages = shown_.bytes / kPageBytes;
    if (page > pages || frames.size() > pages - page) return false;
    for (size_t i = 0; i < frames.size(); ++i) frames[i] = shown_.address / kPageBytes + page + i;
    return true;
  }

 private:
  SimulatedBus& bus_;
  const Shown shown_;
};

Result<std::unique_ptr<Bus::Pinned>> SimulatedBus::Pin(std::shared_ptr<ClientPages> pages) {
  DXG_ASSIGN(Shown shown, ShowPages(std::move(pages)));
  return std::unique_ptr<Pinned>(std::make_unique<PagesInPlace>(*this, std::move(shown)));
}

// -- Channels -------------------------------------------------------------------------------------

std::unique_ptr<Channel> SimulatedBus::Opened(std::shared_ptr<Channel> channel, uint32_t relid,
                                              std::unique_ptr<ShownRings> shown) {
  auto open = std::make_unique<SimulatedChannel>(std::move(channel), socket_, relid, std::move(shown));
  MutexLock lock(mutex_);
  std::erase_if(failures_, [](const auto& each) { return each.second.expired(); });
  failures_[relid] = open->failures();
  return open;
}

Status SimulatedBus::OpenOnHost(const link::Open& open) {
  const auto result = Question<link::OpenResult>([&] { return socket_->Tell(open); },
                                                 [&](const auto& came) { return came.relid == open.relid; });
  if (!result) return NoAnswer("to open a channel");
  return result->status == 0 ? Status::Ok()
                             : Status::Refuse(ENODEV, "the host does not open channel {}: status {:#x}",
                                              open.relid, result->status);
}

Result<std::unique_ptr<Channel>> SimulatedBus::OpenWithRings(const ChannelOffer& offer) {
  DXG_ASSIGN(const UniqueFd file, MakeSharedMemory("dxg-rings", 2 * kRingBytes));
  std::shared_ptr<std::byte> rings = MapSharedMemory(file.get(), 0, 2 * kRingBytes);
  if (!rings) return Status::Refuse(ENOMEM, "no room to map the rings of a channel");
  DXG_ASSIGN(UniqueFd to_host, MakeSignalFile());
  DXG_ASSIGN(UniqueFd to_guest, MakeSignalFile());
  link::Doorbells doorbells;
  doorbells.relid = offer.relid;
  const int bells[] = {to_host.get(), to_guest.get()};
  if (!socket_->Tell(doorbells, bells)) return Status::Refuse(ENODEV, "the host is gone");
  DXG_ASSIGN(const uint64_t address, Show(file.get(), 0, 2 * kRingBytes));
  auto shown = std::make_unique<ShownRings>(socket_, offer.relid, address);
  DXG_ASSIGN(shown->gpadl, TellGpadl(offer.relid, address, 2 * kRingBytes));
  link::Open open;
  open.relid = offer.relid;
  open.open_id = offer.relid;
  open.ring_gpadl = shown->gpadl;
  open.downstream_page = kRingBytes / kPageBytes;
  DXG_TRY(OpenOnHost(open));
  const std::span<std::byte> memory(rings.get(), 2 * kRingBytes);
  auto signal = std::make_unique<EventfdSignal>(std::move(to_guest), std::move(to_host));
  DXG_ASSIGN(auto made,
             MakeRingChannel(memory.first(kRingBytes), memory.last(kRingBytes), std::move(signal), rings));
  const std::shared_ptr<Channel> channel = std::move(made);
  {
    MutexLock lock(mutex_);
    if (lost_) return Status::Refuse(ENODEV, "the host is gone");
    std::erase_if(rings_, [](const auto& each) { return each.second.expired(); });
    rings_[offer.relid] = channel;
  }
  return Opened(channel, offer.relid, std::move(shown));
}

Result<std::unique_ptr<Channel>> SimulatedBus::Open(const ChannelOffer& offer) {
  if (data_ == LinkData::kRings) return OpenWithRings(offer);
  auto channel = std::make_unique<PacketChannel>(socket_, offer.relid);
  {
    MutexLock lock(mutex_);
    if (lost_) return Status::Refuse(ENODEV, "the host is gone");
    std::erase_if(inboxes_, [](const auto& each) { return each.second.expired(); });
    inboxes_[offer.relid] = channel->inbox();
  }
  link::Open open;
  open.relid = offer.relid;
  open.open_id = offer.relid;
  DXG_TRY(OpenOnHost(open));
  return Opened(std::move(channel), offer.relid);
}

}  // namespace

Result<std::unique_ptr<Bus>> ConnectLinkBus(const std::string& path, LinkData data) {
  auto socket = ConnectUnix(path, "--backend=vmbus", SOCK_SEQPACKET);
  if (socket.status().value() == -ENAMETOOLONG) return socket.status();
  if (!socket.ok())
    return Status::Refuse(-socket.status().value(), "{}; start `dxg-hostsim --serve=vmbus:{}` first",
                          socket.status().why(), path);
  return std::unique_ptr<Bus>(std::make_unique<SimulatedBus>(*std::move(socket), data));
}

}  // namespace dxg::vmbus
