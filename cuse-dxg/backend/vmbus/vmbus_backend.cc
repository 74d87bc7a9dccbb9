#include "cuse-dxg/backend/vmbus/vmbus_backend.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <utility>

#include "base/page.h"
#include "cuse-dxg/backend/vmbus/command_channel.h"
#include "link/vmbus/pci_config.h"
#include "proto/contract/host_commands.gen.h"

namespace dxg::vmbus {
namespace {

constexpr uint32_t kVersionWithoutNegotiation = 27;
constexpr uint32_t kLastCompatibleVersion = 16;
constexpr uint32_t kAsyncMessagesBit = 1u << 6;  // of GETINTERNALADAPTERINFO
// SETGUESTDATA's bits 1 to 4; 0: a 32-bit number.
constexpr uint32_t kGuestDataType = 0x1e;
// More of them than any machine has are not remembered.
constexpr size_t kFunctionsMax = 1024, kOffersMax = 1024, kEventsMax = 1 << 16;
// What is begun gets so long to end when we stop; a host that is well answers at once.
constexpr std::chrono::seconds kStopMax{1};

class VmbusBackend final : public Backend, private BusEvents {
 public:
  explicit VmbusBackend(std::unique_ptr<Bus> bus) : bus_(std::move(bus)) {}
  ~VmbusBackend() override { Stop(); }

  // Backend
  HostControl* control() override { return bus_->control(); }
  Status Start(BackendEvents* events) override;
  void Stop() override;
  void Submit(const HostCall& call, Completion completion) override;
  std::optional<HostRegion> FindRegion(uint64_t window_address) override;
  std::optional<HostRegion> HomeRegion(uint32_t) override { return std::nullopt; }
  std::optional<HostRegion> FindShared(uint32_t, uint32_t) override { return std::nullopt; }
  Result<uint32_t> AddClientPages(std::shared_ptr<ClientPages> pages) override;
  void RemoveClientPages(uint32_t list) override;
  bool ClientFrames(uint32_t list, uint64_t page, std::span<uint64_t> frames) override;

 private:
  // A virtual GPU: its function, and from the time that it works on what commands need.
  struct Adapter {
    std::shared_ptr<PciFunction> function;
    Negotiated negotiated;
    HostAdapter info;  // once it works
    uint64_t host_vgpu_luid = 0;
    std::shared_ptr<CommandChannel> line;
    uint32_t relid = 0;
    enum { kWaiting, kActive, kStopped } state = kWaiting;
    bool announced = false;  // the guest knows it
  };
  struct Global {
    explicit Global(const ChannelOffer& its_offer) : offer(its_offer) {}
    ChannelOffer offer;
    std::shared_ptr<CommandChannel> line;  // null: not open
    bool refused = false;                  // the host does not work with it; not tried again
  };

  // BusEvents: noted, for the worker.
  void Offered(const ChannelOffer& offer) override {
    Later([this, offer] { HandleOffer(offer); });
  }
  void Rescinded(uint32_t relid) override {
    Later([this, relid] { HandleRescind(relid); });
  }
  void FunctionArrived(std::shared_ptr<PciFunction> function) override {
    Later([this, function] { HandleFunction(function); });
  }
  void FunctionRemoved(const std::string& name) override {
    Later([this, name] { HandleFunctionRemoved(name); });
  }
  void BusLost(const std::string& why) override {
    Later([this, why] { HandleLoss(why); });
  }

  void Later(std::function<void()> task);
  void Work();

  // On the worker.
  void HandleOffer(const ChannelOffer& offer);
  void HandleRescind(uint32_t relid);
  void HandleFunction(const std::shared_ptr<PciFunction>& function);
  void HandleFunctionRemoved(const std::string& name);
  void HandleLoss(const std::string& why);
  void StartWaiting();
  bool StartGlobal();
  Status OpenGlobal(Global& global);
  void UseGlobal(const Global& global, const std::optional<Window>& window);
  Status StartAdapter(Adapter& adapter, const ChannelOffer& offer);
  void EndAdapter(Adapter& adapter);
  Status CloseAdapter(Adapter& adapter, std::chrono::milliseconds answer_max);
  // Ends its line and closes its channel.
  void EndLine(Adapter& adapter);

  // Of all lines' threads.
  void HandleGuestMessage(std::span<const std::byte> message);
  template <class Request, class Reply>
  Status Ask(const std::shared_ptr<CommandChannel>& line, const MessageAddress& address,
             const Request& request, Reply* reply,
             std::chrono::milliseconds answer_max = CommandChannel::kAnswerMax);
  uint32_t version() const { return first_ ? first_->interface_version : kVersionWithoutNegotiation; }
  // Where a command of that adapter travels; null: nowhere any more. With mutex_ held.
  std::shared_ptr<CommandChannel> LineOf(const Adapter& adapter) const {
    return async_messages_ ? global_line_ : adapter.line;
  }

  const std::unique_ptr<Bus> bus_;
  BackendEvents* events_ = nullptr;
  std::once_flag stop_;

  // The worker's.
  std::optional<Negotiated> first_;
  std::optional<Global> global_;
  std::map<uint32_t, ChannelOffer> vgpus_;  // offers by relid
  std::list<std::shared_ptr<Adapter>> functions_;
  uint64_t last_address_ = 0;

  std::mutex tasks_mutex_;  // guards the five below
  std::condition_variable tasks_changed_;
  std::deque<std::function<void()>> tasks_;
  bool busy_ = false, stopping_ = false;
  std::shared_ptr<CommandChannel> asking_;  // the worker waits for its answer

  std::shared_mutex mutex_;                              // guards all below, which the worker changes
  std::map<uint64_t, std::shared_ptr<Adapter>> active_;  // by address
  std::shared_ptr<CommandChannel> global_line_;
  std::optional<Window> window_;
  std::optional<ChannelOffer> global_offer_;
  uint32_t version_ = kVersionWithoutNegotiation;
  bool async_messages_ = false, map_guest_pages_ = false;

  std::mutex lists_mutex_;  // guards the three below
  std::map<uint32_t, std::unique_ptr<Bus::Pinned>> pinned_;
  std::map<uint32_t, ChannelOffer> gpadls_;  // and the channel that each was told on
  uint32_t last_list_ = 0;

  std::thread worker_;
};

// -- The worker -----------------------------------------------------------------------------------

void VmbusBackend::Later(std::function<void()> task) {
  std::lock_guard lock(tasks_mutex_);
  if (stopping_) return;
  if (tasks_.size() >= kEventsMax) {
    const auto lost = [this] { HandleLoss("more has happened on it than anybody can follow"); };
    if (tasks_.size() == kEventsMax) tasks_.push_back(lost);
    return;
  }
  tasks_.push_back(std::move(task));
  tasks_changed_.notify_all();
}

void VmbusBackend::Work() {
  std::unique_lock lock(tasks_mutex_);
  for (;;) {
    tasks_changed_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
    if (stopping_) return;
    const auto task = std::move(tasks_.front());
    tasks_.pop_front();
    busy_ = true;
    lock.unlock();
    task();
    lock.lock();
    busy_ = false;
    tasks_changed_.notify_all();
  }
}

Status VmbusBackend::Start(BackendEvents* events) {
  events_ = events;
  worker_ = std::thread([this] { Work(); });
  DXG_TRY(bus_->Start(this));
  // Not for all tasks: a host could go on for ever.
  auto handled = std::make_shared<bool>(false);
  Later([this, handled] {
    std::lock_guard lock(tasks_mutex_);
    *handled = true;
  });
  std::unique_lock lock(tasks_mutex_);
  tasks_changed_.wait(lock, [&] { return *handled || tasks_.size() > kEventsMax; });
  return Status::Ok();
}

void VmbusBackend::Stop() {
  std::call_once(stop_, [this] {
    std::shared_ptr<CommandChannel> asking;
    {
      std::unique_lock lock(tasks_mutex_);
      stopping_ = true;
      tasks_changed_.notify_all();
      if (!tasks_changed_.wait_for(lock, kStopMax, [this] { return !busy_; })) asking = asking_;
    }
    if (asking) asking->End();
    if (worker_.joinable()) worker_.join();
    Status answered = Status::Ok();
    for (const auto& adapter : functions_) {
      if (answered.value() != -ETIMEDOUT) answered = CloseAdapter(*adapter, kStopMax);
    }
    std::shared_ptr<CommandChannel> global;
    {
      std::unique_lock lock(mutex_);
      global = std::move(global_line_);
      active_.clear();
      window_.reset();
      global_offer_.reset();
    }
    for (const auto& adapter : functions_) EndLine(*adapter);
    if (global) global->End();
    // Channels are closed while there is a bus. A backend may be kept for long after its end: files of
    // clients are open on it.
    global.reset();
    global_.reset();
    functions_.clear();
    bus_->Stop();  // what it still tells is left where it is
  });
}

void VmbusBackend::EndLine(Adapter& adapter) {
  std::shared_ptr<CommandChannel> line;
  {
    std::unique_lock lock(mutex_);
    line = std::move(adapter.line);
  }
  if (line) line->End();
}

void VmbusBackend::HandleOffer(const ChannelOffer& offer) {
  if (offer.channel_class == kVgpuClass && (vgpus_.size() < kOffersMax || vgpus_.contains(offer.relid))) {
    vgpus_[offer.relid] = offer;
  } else if (offer.channel_class == kGlobalClass && !global_) {
    global_.emplace(offer);
  } else {
    spdlog::warn("VMBus channel {} of class {} is left alone: {}", offer.relid, offer.channel_class.text(),
                 offer.channel_class == kGlobalClass ? "there is a global channel already"
                 : offer.channel_class == kVgpuClass ? "there are too many"
                                                     : "not one of ours");
  }
  StartWaiting();
}

void VmbusBackend::HandleFunction(const std::shared_ptr<PciFunction>& function) {
  const bool known = std::any_of(functions_.begin(), functions_.end(), [&](const auto& each) {
    return each->function->name() == function->name();
  });
  if (known || functions_.size() >= kFunctionsMax)
    return spdlog::error("virtual GPU {} is left alone: {}", function->name(),
                         known ? "it is there already" : "there are too many");
  auto negotiated = Negotiate(*function, first_);
  if (!negotiated.ok()) {
    spdlog::error("virtual GPU {} cannot be used: {}", function->name(), negotiated.status().why());
    return;
  }
  if (!first_) {
    first_ = *negotiated;
    std::unique_lock lock(mutex_);
    version_ = first_->interface_version;
    map_guest_pages_ = first_->map_guest_memory;
  }
  auto adapter = std::make_shared<Adapter>();
  adapter->function = function;
  adapter->negotiated = *negotiated;
  functions_.push_back(std::move(adapter));
  StartWaiting();
}

void VmbusBackend::HandleRescind(uint32_t relid) {
  vgpus_.erase(relid);
  for (const auto& adapter : functions_) {
    if (adapter->relid == relid && adapter->state == Adapter::kActive) EndAdapter(*adapter);
  }
  if (!global_ || global_->offer.relid != relid) return;
  std::shared_ptr<CommandChannel> line;
  {
    std::unique_lock lock(mutex_);
    line = std::move(global_line_);
    window_.reset();
    global_offer_.reset();
  }
  if (line) line->End();
  global_.reset();
}

// The channel has gone without the function: its adapter stays known, stopped.
void VmbusBackend::EndAdapter(Adapter& adapter) {
  adapter.state = Adapter::kStopped;
  std::shared_ptr<CommandChannel> line;
  {
    std::unique_lock lock(mutex_);
    line = std::move(adapter.line);
    active_.erase(adapter.info.address);
  }
  events_->AdapterStopped(adapter.info.luid);
  if (line) line->End();
}

void VmbusBackend::HandleFunctionRemoved(const std::string& name) {
  const auto found = std::find_if(functions_.begin(), functions_.end(),
                                  [&](const auto& each) { return each->function->name() == name; });
  if (found == functions_.end()) return;
  const std::shared_ptr<Adapter> adapter = *found;
  functions_.erase(found);
  if (!adapter->announced) return;
  events_->AdapterRemoved(adapter->info.luid);
  (void)CloseAdapter(*adapter, CommandChannel::kAnswerMax);
  {
    std::unique_lock lock(mutex_);
    active_.erase(adapter->info.address);
  }
  EndLine(*adapter);
}

Status VmbusBackend::CloseAdapter(Adapter& adapter, std::chrono::milliseconds answer_max) {
  if (adapter.state != Adapter::kActive) return Status::Ok();
  adapter.state = Adapter::kStopped;
  std::shared_ptr<CommandChannel> line;
  {
    std::shared_lock lock(mutex_);
    line = LineOf(adapter);
  }
  if (!line) return Status::Ok();
  host::CloseAdapter::Request request;
  host::CloseAdapter::Reply reply;
  request.set_host_handle(adapter.info.host_handle);
  Status status = Ask(line, {0, adapter.host_vgpu_luid, version(), false}, request, &reply, answer_max);
  if (!status.ok())
    spdlog::debug("virtual GPU {} is closed without the host's word: {}", adapter.function->name(),
                  status.why());
  return status;
}

void VmbusBackend::HandleLoss(const std::string& why) {
  spdlog::warn("the VMBus is gone: {}", why);
  std::vector<std::shared_ptr<CommandChannel>> lines;
  {
    std::unique_lock lock(mutex_);
    lines.push_back(std::move(global_line_));
    window_.reset();
    global_offer_.reset();
    for (const auto& adapter : functions_) lines.push_back(std::move(adapter->line));
    active_.clear();
  }
  for (const auto& adapter : functions_) adapter->state = Adapter::kStopped;
  for (const auto& line : lines) {
    if (line) line->End();
  }
  events_->HostLost();
}

// -- Starting -------------------------------------------------------------------------------------

void VmbusBackend::StartWaiting() {
  if (!global_ || functions_.empty()) return;
  for (const auto& adapter : functions_) {
    if (adapter->state != Adapter::kWaiting) continue;
    const auto is_used = [&](uint32_t relid) {
      return std::any_of(functions_.begin(), functions_.end(),
                         [&](const auto& each) { return each->line && each->relid == relid; });
    };
    const auto is_its = [&](const auto& each) {
      return each.second.instance.luid() == adapter->negotiated.channel.luid() && !is_used(each.first);
    };
    const auto offer = std::find_if(vgpus_.begin(), vgpus_.end(), is_its);
    if (offer == vgpus_.end() || !StartGlobal()) continue;
    const Status status = StartAdapter(*adapter, offer->second);
    if (!status.ok()) {
      spdlog::error("virtual GPU {} does not start: {}", adapter->function->name(), status.why());
      adapter->state = Adapter::kStopped;
      EndLine(*adapter);
      continue;
    }
    std::unique_lock lock(mutex_);
    adapter->state = Adapter::kActive;
    active_[adapter->info.address] = adapter;
    lock.unlock();
    adapter->announced = true;
    events_->AdapterArrived(adapter->info);
  }
}

bool VmbusBackend::StartGlobal() {
  if (global_->line) return true;
  if (global_->refused) return false;
  const Status status = OpenGlobal(*global_);
  if (status.ok()) return true;
  spdlog::error("the global channel does not start: {}", status.why());
  if (global_->line) global_->line->End();
  global_->line.reset();
  global_->refused = true;
  return false;
}

Status VmbusBackend::OpenGlobal(Global& global) {
  DXG_ASSIGN(auto channel, bus_->Open(global.offer));
  global.line = std::make_shared<CommandChannel>("global", std::move(channel),
                                                 [this](auto message) { HandleGuestMessage(message); });
  auto reserved = bus_->ReserveWindow(global.offer);
  if (reserved.status().value() == -ENOTSUP) {
    spdlog::warn("memory of the host cannot be seen: {}", reserved.status().why());
    UseGlobal(global, std::nullopt);
    return Status::Ok();
  }
  if (!reserved.ok()) return reserved.status();
  const Window window = *std::move(reserved);
  host::SetIospaceRegion::Request request;
  host::SetIospaceRegion::Reply reply;
  request.set_start(window.start);
  request.set_length(window.length);
  DXG_TRY(Ask(global.line, {0, 0, version(), false}, request, &reply));
  if (reply.status() < 0)
    return Status::Refuse(EINVAL, "the host refuses the window {:#x} ({} MiB): status {:#010x}", window.start,
                          window.length >> 20, static_cast<uint32_t>(reply.status()));
  UseGlobal(global, window);
  return Status::Ok();
}

void VmbusBackend::UseGlobal(const Global& global, const std::optional<Window>& window) {
  std::unique_lock lock(mutex_);
  global_line_ = global.line;
  global_offer_ = global.offer;
  window_ = window;
}

Status VmbusBackend::StartAdapter(Adapter& adapter, const ChannelOffer& offer) {
  const Negotiated& negotiated = adapter.negotiated;
  DXG_ASSIGN(auto channel, bus_->Open(offer));
  adapter.relid = offer.relid;
  std::shared_ptr<CommandChannel> line;
  {
    auto own = std::make_shared<CommandChannel>(fmt::format("{}", adapter.function->name()),
                                                std::move(channel), nullptr);
    std::unique_lock lock(mutex_);
    adapter.line = std::move(own);
    line = LineOf(adapter);
  }
  if (!line) return Status::Refuse(ENODEV, "the global channel is gone");
  const auto address = [&](uint64_t luid) {
    return MessageAddress{0, luid, negotiated.interface_version, false};
  };

  host::OpenAdapter::Request open;
  host::OpenAdapter::Reply opened;
  open.set_interface_version(negotiated.interface_version);
  open.set_last_compatible_interface_version(kLastCompatibleVersion);
  DXG_TRY(Ask(line, address(negotiated.vgpu_luid), open, &opened));
  if (opened.status() < 0)
    return Status::Refuse(ENODEV, "the host refuses to open it: status {:#010x}",
                          static_cast<uint32_t>(opened.status()));

  host::GetInternalAdapterInfo::Reply info;
  DXG_TRY(Ask(line, address(negotiated.vgpu_luid), host::GetInternalAdapterInfo::Request(), &info));
  const bool names_vgpu = negotiated.interface_version >= kExtHeaderSince;
  adapter.host_vgpu_luid = names_vgpu ? info.host_vgpu_luid() : negotiated.vgpu_luid;
  adapter.info.luid = negotiated.channel.luid();
  adapter.info.host_luid = info.host_adapter_luid();
  adapter.info.address = ++last_address_;
  adapter.info.host_handle = opened.host_adapter_handle();
  adapter.info.interface_version = negotiated.interface_version;
  adapter.info.compute_only = adapter.function->compute_only();
  adapter.info.async_messages = (info.bits() & kAsyncMessagesBit) != 0;
  std::unique_lock lock(mutex_);
  adapter.info.map_guest_pages = map_guest_pages_;
  async_messages_ = adapter.info.async_messages;
  return Status::Ok();
}

template <class Request, class Reply>
Status VmbusBackend::Ask(const std::shared_ptr<CommandChannel>& line, const MessageAddress& address,
                         const Request& request, Reply* reply, std::chrono::milliseconds answer_max) {
  const auto ask = [&](std::shared_ptr<CommandChannel> of) {
    std::lock_guard lock(tasks_mutex_);
    asking_ = std::move(of);
  };
  ask(line);
  const auto* command = contract::FindHostCommand(contract::kHostCommandId<Request>);
  Status status = line->Ask({command, 0, 0, &request, reply}, address, answer_max);
  ask(nullptr);
  return status;
}

// -- Commands -------------------------------------------------------------------------------------

void VmbusBackend::Submit(const HostCall& call, Completion completion) {
  MessageAddress address;
  std::shared_ptr<CommandChannel> line;
  address.process = call.process;
  {
    std::shared_lock lock(mutex_);
    address.interface_version = version_;
    if (call.adapter == 0) {
      line = global_line_;
    } else if (const auto found = active_.find(call.adapter); found != active_.end()) {
      line = LineOf(*found->second);
      address.vgpu_luid = found->second->host_vgpu_luid;
      // Never on a vGPU channel, where all are answered.
      address.asynchronous = call.asynchronous && async_messages_;
    }
  }
  if (!line)
    return completion.run(completion.context, Status::Refuse(ENODEV, "the channel to the host is lost"));
  line->Submit(call, address, completion);
}

void VmbusBackend::HandleGuestMessage(std::span<const std::byte> message) {
  const auto head = DecodeHead(message, false);
  if (!head || head->channel_type != kChannelTypeGuest) {
    spdlog::error("a message of {} bytes from the host, which is none for a guest, is dropped",
                  message.size());
    return;
  }
  const contract::GuestMessage* row = contract::FindGuestMessage(head->command);
  if (!row) return spdlog::debug("message {} of the host is nothing to us", head->command);
  const std::unique_ptr<contract::Message> decoded(row->message->New());
  if (!row->decode(message, decoded.get()))
    return spdlog::warn("{} with {} bytes from the host is dropped; expected {}", row->name, message.size(),
                        row->size);
  if (const auto* signal = google::protobuf::DynamicCastToGenerated<host::SignalGuestEvent>(decoded.get())) {
    if (signal->event() != 0) events_->GuestEvent(signal->event());
  } else if (const auto* passive =
                 google::protobuf::DynamicCastToGenerated<host::SignalGuestEventPassive>(decoded.get())) {
    if (passive->event() != 0) events_->GuestEvent(passive->event());
  } else if (const auto* data = google::protobuf::DynamicCastToGenerated<host::SetGuestData>(decoded.get())) {
    if ((data->bits() & kGuestDataType) == 0 && static_cast<uint32_t>(data->data()) != 0)
      events_->DeviceStateChanged(data->guest_pointer());
  }
}

// -- Memory ---------------------------------------------------------------------------------------

// As the driver, which takes nothing that touches the window's last page.
std::optional<HostRegion> VmbusBackend::FindRegion(uint64_t window_address) {
  std::shared_lock lock(mutex_);
  if (!window_ || window_->file < 0 || window_->length < kPageBytes) return std::nullopt;
  HostRegion region;
  region.window_address = window_->start;
  region.size = window_->length - kPageBytes;
  region.file = window_->file;
  region.file_offset = window_->file_offset;
  region.keep = window_->keep;
  region.common = true;
  if (window_address < region.window_address || window_address - region.window_address >= region.size)
    return std::nullopt;
  return region;
}

Result<uint32_t> VmbusBackend::AddClientPages(std::shared_ptr<ClientPages> pages) {
  std::optional<ChannelOffer> global;
  bool as_frames = false;
  {
    std::shared_lock lock(mutex_);
    global = global_offer_;
    as_frames = map_guest_pages_;
  }
  if (!global) return Status::Refuse(ENODEV, "the channel to the host is lost");
  if (!as_frames) {
    DXG_ASSIGN(const uint32_t gpadl, bus_->CreateGpadl(*global, std::move(pages)));
    std::lock_guard lock(lists_mutex_);
    gpadls_[gpadl] = *global;
    return gpadl;
  }
  DXG_ASSIGN(auto pinned, bus_->Pin(std::move(pages)));
  std::lock_guard lock(lists_mutex_);
  while (++last_list_ == 0 || pinned_.contains(last_list_)) {
  }
  pinned_[last_list_] = std::move(pinned);
  return last_list_;
}

// Also where the channel is gone meanwhile: the bus holds the pages until it is told.
void VmbusBackend::RemoveClientPages(uint32_t list) {
  std::unique_ptr<Bus::Pinned> pinned;
  std::optional<ChannelOffer> channel;
  {
    std::lock_guard lock(lists_mutex_);
    if (const auto found = pinned_.find(list); found != pinned_.end()) {
      pinned = std::move(found->second);
      pinned_.erase(found);
    } else if (const auto gpadl = gpadls_.find(list); gpadl != gpadls_.end()) {
      channel = gpadl->second;
      gpadls_.erase(gpadl);
    }
  }
  if (channel) bus_->TearDownGpadl(*channel, list);
}

bool VmbusBackend::ClientFrames(uint32_t list, uint64_t page, std::span<uint64_t> frames) {
  std::lock_guard lock(lists_mutex_);
  const auto found = pinned_.find(list);
  return found != pinned_.end() && found->second->Frames(page, frames);
}

}  // namespace
}  // namespace dxg::vmbus

namespace dxg {

std::unique_ptr<Backend> CreateVmbusBackend(std::unique_ptr<vmbus::Bus> bus) {
  return std::make_unique<vmbus::VmbusBackend>(std::move(bus));
}

}  // namespace dxg
