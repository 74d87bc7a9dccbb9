#include "cuse-dxg/backend/vmbus/simulated_bus.h"

#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "base/page.h"
#include "base/shared_memory.h"
#include "base/unix_socket.h"
#include "link/host_control.h"
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
// What may be told us of messages that did not get through before somebody has heard of them.
constexpr size_t kFailuresMax = 1 << 16;

// Tells a channel's user of messages that did not get through, on a thread that nobody waits for an answer
// on: whoever hears of it may ask the host.
class Failures {
 public:
  void Begin(const std::function<void(const Packet&)>* handle) {
    std::lock_guard lock(mutex_);
    handle_ = handle;
  }
  void Put(uint64_t transaction, uint32_t error) {
    std::lock_guard lock(mutex_);
    if (handle_) (*handle_)({kSendFailed, 0, transaction, std::as_bytes(std::span(&error, 1))});
  }

 private:
  std::mutex mutex_;  // held while the handler runs: it is gone after Run
  const std::function<void(const Packet&)>* handle_ = nullptr;
};

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
  class OpenChannel;
  struct ShownRings;
  // A list of pages: what of the guest's physical memory it is, until it ends.
  struct Shown {
    uint64_t address = 0, bytes = 0;
    std::shared_ptr<ClientPages> pages;
  };

  struct Failure {
    std::shared_ptr<Failures> channel;
    uint64_t transaction;
    uint32_t error;
  };

  // A question to the host and what its answer is known by. Of several that an answer fits the oldest gets
  // it.
  template <class Answer, class Ask, class Match>
  std::optional<Answer> Question(Ask ask, Match match, std::vector<std::byte>* rest = nullptr);

  void Listen();
  bool AwaitPacket();
  void Fail();
  bool TakeFailure(const link::SendFailed& failed);
  bool HandleControl(const link::Received& received, std::vector<UniqueFd> descriptors);
  bool TakeWindow(std::span<const std::byte> payload, std::vector<UniqueFd> descriptors);
  Result<uint64_t> Show(int file, uint64_t file_offset, uint64_t bytes);
  Result<uint32_t> TellGpadl(uint32_t relid, uint64_t address, uint64_t bytes);
  Result<Shown> ShowPages(std::shared_ptr<ClientPages> pages);
  Status OpenOnHost(const link::Open& open);
  Result<std::unique_ptr<Channel>> OpenWithRings(const ChannelOffer& offer);
  std::unique_ptr<Channel> Opened(std::shared_ptr<Channel> channel, uint32_t relid,
                                  std::unique_ptr<ShownRings> shown = nullptr);
  void EndChannel(uint32_t relid, const Status& why);

  const std::shared_ptr<link::Socket> socket_;
  const LinkData data_;
  BusEvents* events_ = nullptr;
  std::thread listener_, failer_;
  std::once_flag stop_;
  std::mutex ordering_;

  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  bool lost_ = false, all_offered_ = false, stopping_ = false;
  std::list<std::function<bool(std::span<const std::byte>)>> take_answer_;  // of the questions that are asked
  std::deque<Failure> failed_;
  std::optional<Window> window_;
  uint64_t next_page_ = kPagesStart;
  uint32_t last_gpadl_ = 0;
  std::map<uint32_t, Shown> gpadls_;
  std::map<uint32_t, std::weak_ptr<PacketInbox>> inboxes_;  // of channels without rings, by relid
  std::map<uint32_t, std::weak_ptr<Channel>> rings_;        // of the others
  std::map<uint32_t, std::weak_ptr<Failures>> failures_;    // of open channels, by relid
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
  auto mine = take_answer_.end();
  {
    std::lock_guard lock(mutex_);
    if (lost_) return std::nullopt;
    mine = take_answer_.insert(take_answer_.end(), [&](std::span<const std::byte> payload) {
      std::span<const std::byte> behind;
      const auto came = link::Read<Answer>(payload, &behind);
      if (!came || answer || !match(*came)) return false;
      answer = came;
      if (rest) rest->assign(behind.begin(), behind.end());
      return true;
    });
  }
  const bool asked = ask();
  std::unique_lock lock(mutex_);
  if (asked) changed_.wait_for(lock, kAnswerMax, [&] { return answer || lost_; });
  take_answer_.erase(mine);
  return answer;
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
  std::lock_guard one_by_one(ordering_);  // an answer does not say what order it is to
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
  listener_ = std::thread([this] { Listen(); });
  failer_ = std::thread([this] { Fail(); });
  const auto version = Question<link::VersionResponse>([&] { return socket_->Tell(link::InitiateContact{}); },
                                                       [](const auto&) { return true; });
  if (!version) return NoAnswer("contact");
  if (version->supported == 0)
    return Status::Refuse(EPROTO, "the host does not speak version {:#x} of the VMBus", link::kVmbusVersion);
  (void)socket_->Tell(link::RequestOffers{});
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, kAnswerMax, [this] { return all_offered_ || lost_; });
  return all_offered_ ? Status::Ok() : NoAnswer("the offers of its channels");
}

void SimulatedBus::Stop() {
  std::call_once(stop_, [this] {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
      changed_.notify_all();
    }
    socket_->Close();
    if (listener_.joinable()) listener_.join();
    if (failer_.joinable()) failer_.join();
    socket_->Discard();
    std::map<uint32_t, Shown> gpadls;
    std::lock_guard lock(mutex_);
    window_.reset();
    gpadls.swap(gpadls_);
  });
}

// False: the host is gone, though the socket is not. It is not asked while it talks, nor taken for gone while
// anything of it lies in the socket: it may be we who stood still.
bool SimulatedBus::AwaitPacket() {
  using Clock = std::chrono::steady_clock;
  std::optional<Clock::time_point> pinged;
  for (;;) {
    pollfd event = {socket_->fd(), POLLIN, 0};
    if (poll(&event, 1, static_cast<int>((kPatience / 4).count())) > 0) return true;
    if (!pinged) {
      pinged = Clock::now();
      const link::Ping ping;
      (void)socket_->Send({}, std::as_bytes(std::span(&ping, 1)));
    } else if (Clock::now() - *pinged >= kPatience && poll(&event, 1, 0) == 0) {
      return false;
    }
  }
}

void SimulatedBus::Listen() {
  Status why = Status::Ok();
  for (;;) {
    if (!AwaitPacket()) {
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
        std::lock_guard lock(mutex_);
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
    std::lock_guard lock(mutex_);
    lost_ = true;
    told = stopping_;
    for (const auto& each : inboxes_) EndChannel(each.first, why);
    for (const auto& each : rings_) EndChannel(each.first, why);
    changed_.notify_all();
  }
  if (!told) events_->BusLost(why.why());
}

// Apart from the listener, whom those wait for that hear of a failure.
void SimulatedBus::Fail() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !failed_.empty(); });
    if (stopping_) return;
    const Failure failure = std::move(failed_.front());
    failed_.pop_front();
    lock.unlock();
    failure.channel->Put(failure.transaction, failure.error);
    lock.lock();
  }
}

bool SimulatedBus::TakeFailure(const link::SendFailed& failed) {
  std::lock_guard lock(mutex_);
  const auto found = failures_.find(failed.relid);
  auto channel = found == failures_.end() ? nullptr : found->second.lock();
  if (!channel) return true;
  if (failed_.size() >= kFailuresMax) return false;
  failed_.push_back({std::move(channel), failed.transaction, static_cast<uint32_t>(failed.error)});
  changed_.notify_all();
  return true;
}

// With mutex_ held. A ring has no other way to hear of it.
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
      std::lock_guard lock(mutex_);
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
  if (const auto failed = link::Read<link::SendFailed>(payload)) return TakeFailure(*failed);
  std::lock_guard lock(mutex_);
  if (link::Read<link::AllOffersDelivered>(payload)) {
    all_offered_ = true;
    changed_.notify_all();
  } else if (std::any_of(take_answer_.begin(), take_answer_.end(),
                         [&](const auto& take) { return take(payload); })) {
    changed_.notify_all();
  }
  return true;  // a late answer, or a message of a later version
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
  std::lock_guard lock(mutex_);
  window_ = Window{kWindowStart, message->bytes, file->get(), message->file_offset, file};
  return true;
}

// -- Memory ---------------------------------------------------------------------------------------

Result<Window> SimulatedBus::ReserveWindow(const ChannelOffer& global) {
  std::lock_guard lock(mutex_);
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
    std::lock_guard lock(mutex_);
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
  link::GpadlHeader header;
  {
    std::lock_guard lock(mutex_);
    header.gpadl = ++last_gpadl_;
  }
  const uint64_t pages = bytes / kPageBytes;
  if (pages == 0 || bytes > UINT32_MAX)
    return Status::Refuse(ENOMEM, "{} bytes are no list of pages that a host takes", bytes);
  header.relid = relid;
  header.range_bytes = static_cast<uint16_t>(8 + 8 * pages);
  header.byte_count = static_cast<uint32_t>(bytes);
  std::vector<uint64_t> frames(pages);
  for (uint64_t i = 0; i < pages; ++i) frames[i] = address / kPageBytes + i;
  const auto all = std::as_bytes(std::span(frames));
  const auto part = [&](uint64_t first, uint64_t most) {
    return all.subspan(first * 8, std::min(pages - first, most) * 8);
  };
  const auto tell = [&] {
    if (!socket_->Tell(header, {}, part(0, link::kFramesInHeader))) return false;
    link::GpadlBody body;
    body.gpadl = header.gpadl;
    for (uint64_t first = link::kFramesInHeader; first < pages; first += link::kFramesInBody) {
      ++body.sequence;
      if (!socket_->Tell(body, {}, part(first, link::kFramesInBody))) return false;
    }
    return true;
  };
  const auto created = Question<link::GpadlCreated>(
      tell, [&](const link::GpadlCreated& came) { return came.gpadl == header.gpadl; });
  if (!created) return NoAnswer("a list of pages");
  if (created->status != 0)
    return Status::Refuse(ENOMEM, "the host refuses a list of {} pages: status {:#x}", pages,
                          created->status);
  return header.gpadl;
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
  std::lock_guard lock(mutex_);
  gpadls_[*gpadl] = std::move(shown);
  return gpadl;
}

void SimulatedBus::TearDownGpadl(const ChannelOffer& global, uint32_t gpadl) {
  Shown shown;
  {
    std::lock_guard lock(mutex_);
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

// The memory of a channel's rings as the host knows it, until it need not any more.
struct SimulatedBus::ShownRings {
  ShownRings(std::shared_ptr<link::Socket> with, uint32_t of, uint64_t at)
      : socket(std::move(with)), relid(of), address(at) {}
  ~ShownRings() {
    link::GpadlTeardown teardown;
    teardown.relid = relid;
    teardown.gpadl = gpadl;
    if (gpadl != 0)
      (void)socket->Tell(teardown);  // nobody waits for its answer: the memory is not used again
    (void)socket->Tell(link::ForgetMemory{.address = address});
  }
  const std::shared_ptr<link::Socket> socket;
  const uint32_t relid;
  const uint64_t address;
  uint32_t gpadl = 0;  // once there is one
};

// An open channel: its end is told to the host.
class SimulatedBus::OpenChannel final : public Channel {
 public:
  OpenChannel(std::shared_ptr<Channel> channel, std::shared_ptr<link::Socket> socket, uint32_t relid,
              std::unique_ptr<ShownRings> shown)
      : channel_(std::move(channel)), socket_(std::move(socket)), relid_(relid), shown_(std::move(shown)) {}
  ~OpenChannel() override {
    link::Close close;
    close.relid = relid_;
    (void)socket_->Tell(close);
  }
  std::shared_ptr<Failures> failures() const { return failures_; }

  Sent Send(const Packet& packet) override { return channel_->Send(packet); }
  Status Run(const std::function<void(const Packet&)>& handle) override {
    failures_->Begin(&handle);
    Status why = channel_->Run(handle);
    failures_->Begin(nullptr);
    return why;
  }
  void Close() override { channel_->Close(); }

 private:
  const std::shared_ptr<Channel> channel_;
  const std::shared_ptr<link::Socket> socket_;
  const uint32_t relid_;
  const std::unique_ptr<ShownRings>
      shown_;  // null: it has no rings. Ends after the host was told of the close
  const std::shared_ptr<Failures> failures_ = std::make_shared<Failures>();
};

std::unique_ptr<Channel> SimulatedBus::Opened(std::shared_ptr<Channel> channel, uint32_t relid,
                                              std::unique_ptr<ShownRings> shown) {
  auto open = std::make_unique<OpenChannel>(std::move(channel), socket_, relid, std::move(shown));
  std::lock_guard lock(mutex_);
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
    std::lock_guard lock(mutex_);
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
    std::lock_guard lock(mutex_);
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
  DXG_ASSIGN(const sockaddr_un address, UnixAddress(path, "--backend=vmbus:"));
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!socket.valid() || connect(socket.get(), AnyAddress(address), sizeof(address)) != 0)
    return Status::Refuse(errno,
                          "--backend=vmbus: nobody answers at {}: {}; start `hostsim --serve=vmbus:{}` first",
                          path, std::strerror(errno), path);
  return std::unique_ptr<Bus>(std::make_unique<SimulatedBus>(std::move(socket), data));
}

}  // namespace dxg::vmbus
