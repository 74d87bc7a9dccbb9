#include "cuse-dxg/backend/vmbus/vmbus_backend.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <list>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/page.h"
#include "cuse-dxg/backend/vmbus/command_channel.h"
#include "cuse-dxg/backend/vmbus/guest_messages.h"
#include "cuse-dxg/backend/vmbus/negotiate.h"
#include "cuse-dxg/backend/vmbus/page_lists.h"
#include "cuse-dxg/backend/vmbus/task_queue.h"
#include "link/vmbus/pci_config.h"
#include "proto/abi/interface.h"
#include "proto/contract/host_commands.gen.h"

namespace dxg::vmbus {
namespace {

constexpr uint32_t kVersionWithoutNegotiation = kInterfaceVersionOldest;
// More of them than any machine has are not remembered.
constexpr size_t kFunctionsMax = 1024, kOffersMax = 1024;
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
  std::optional<HostRegion> FindRegion(WindowAddress address) override;
  std::optional<HostRegion> HomeRegion(uint32_t) override { return std::nullopt; }
  std::optional<HostRegion> FindShared(uint32_t, uint32_t) override { return std::nullopt; }
  Result<uint32_t> AddClientPages(std::shared_ptr<ClientPages> pages) override;
  void RemoveClientPages(uint32_t list) override { lists_.Remove(list); }
  bool ClientFrames(uint32_t list, uint64_t page, std::span<uint64_t> frames) override {
    return lists_.Frames(list, page, frames);
  }

 private:
  // A virtual GPU: its function, and from the time that it works on what commands need.
  struct Adapter {
    std::shared_ptr<PciFunction> function;
    Negotiated negotiated;
    HostAdapter info;  // once it works
    uint64_t host_vgpu_luid = 0;
    std::shared_ptr<CommandChannel> channel;
    uint32_t relid = 0;
    enum { kWaiting, kActive, kStopped } state = kWaiting;
    bool announced = false;  // the guest knows it
  };
  struct Global {
    explicit Global(const ChannelOffer& its_offer) : offer(its_offer) {}
    ChannelOffer offer;
    std::shared_ptr<CommandChannel> channel;  // null: not open
    bool refused = false;                     // the host does not work with it; not tried again
  };

  // BusEvents: noted, for the worker.
  void Offered(const ChannelOffer& offer) override {
    tasks_.Add([this, offer] { HandleOffer(offer); });
  }
  void Rescinded(uint32_t relid) override {
    tasks_.Add([this, relid] { HandleRescind(relid); });
  }
  void FunctionArrived(std::shared_ptr<PciFunction> function) override {
    tasks_.Add([this, function] { HandleFunction(function); });
  }
  void FunctionRemoved(const std::string& name) override {
    tasks_.Add([this, name] { HandleFunctionRemoved(name); });
  }
  void BusLost(const std::string& why) override {
    tasks_.Add([this, why] { HandleLoss(why); });
  }

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
  // Ends and closes its channel.
  void EndChannel(Adapter& adapter);
  void Retire(std::vector<std::shared_ptr<CommandChannel>> channels);

  template <class Request, class Reply>
  Status Ask(const std::shared_ptr<CommandChannel>& channel, const MessageAddress& address,
             const Request& request, Reply* reply,
             std::chrono::milliseconds answer_max = CommandChannel::kAnswerMax);
  uint32_t version() const { return first_ ? first_->interface_version : kVersionWithoutNegotiation; }
  // Where a command of that adapter travels; null: nowhere any more.
  std::shared_ptr<CommandChannel> ChannelOf(const Adapter& adapter) const DXG_REQUIRES_SHARED(mutex_) {
    return async_messages_ ? global_channel_ : adapter.channel;
  }

  const std::unique_ptr<Bus> bus_;
  BackendEvents* events_ = nullptr;
  std::once_flag stop_;

  // The worker's, and Stop's when that has ended.
  std::optional<Negotiated> first_;
  std::optional<Global> global_;
  std::map<uint32_t, ChannelOffer> vgpus_;  // offers by relid
  std::list<std::shared_ptr<Adapter>> functions_;
  uint64_t last_address_ = 0;
  // Channels that are over, but for completions in clients' memory that does not answer.
  std::list<std::shared_ptr<CommandChannel>> retired_;

  Mutex asking_mutex_;
  std::shared_ptr<CommandChannel> asking_ DXG_GUARDED_BY(asking_mutex_);  // the worker waits for its answer

  // The worker alone changes these, and with them Adapter::channel, holding it; others read them.
  SharedMutex mutex_;
  std::map<uint64_t, std::shared_ptr<Adapter>> active_ DXG_GUARDED_BY(mutex_);  // by address
  std::shared_ptr<CommandChannel> global_channel_ DXG_GUARDED_BY(mutex_);
  std::optional<Window> window_ DXG_GUARDED_BY(mutex_);
  std::optional<ChannelOffer> global_offer_ DXG_GUARDED_BY(mutex_);
  uint32_t version_ DXG_GUARDED_BY(mutex_) = kVersionWithoutNegotiation;
  bool async_messages_ DXG_GUARDED_BY(mutex_) = false, map_guest_pages_ DXG_GUARDED_BY(mutex_) = false;

  PageLists lists_{*bus_};
  // The worker, which handles what the bus tells.
  TaskQueue tasks_{[this] { HandleLoss("more has happened on it than anybody can follow"); }};
};

// -- Start and end --------------------------------------------------------------------------------

Status VmbusBackend::Start(BackendEvents* events) {
  events_ = events;
  if (!tasks_.Start()) return Status::Refuse(EAGAIN, "no thread can be started for the VMBus");
  DXG_TRY(bus_->Start(this));
  tasks_.Settle();
  return Status::Ok();
}

void VmbusBackend::Stop() {
  std::call_once(stop_, [this] {
    if (!tasks_.StopFor(kStopMax)) {
      std::shared_ptr<CommandChannel> asking;
      {
        MutexLock lock(asking_mutex_);
        asking = asking_;
      }
      if (asking) asking->Close();
    }
    tasks_.Join();
    Status answered = Status::Ok();
    for (const auto& adapter : functions_) {
      if (answered.value() != -ETIMEDOUT) answered = CloseAdapter(*adapter, kStopMax);
    }
    std::shared_ptr<CommandChannel> global;
    {
      WriterLock lock(mutex_);
      global = std::move(global_channel_);
      active_.clear();
      window_.reset();
      global_offer_.reset();
    }
    for (const auto& adapter : functions_) EndChannel(*adapter);
    Retire({std::move(global)});
    // Channels are closed while there is a bus. A backend may be kept for long after its end: files of
    // clients are open on it.
    global_.reset();
    functions_.clear();
    bus_->Stop();  // what it still tells is left where it is
    for (const auto& channel : retired_) channel->End();
    retired_.clear();
  });
}

void VmbusBackend::EndChannel(Adapter& adapter) {
  std::shared_ptr<CommandChannel> channel;
  {
    WriterLock lock(mutex_);
    channel = std::move(adapter.channel);
  }
  Retire({std::move(channel)});
}

// Nobody waits for memory of a client: what is there is kept until it has come back.
void VmbusBackend::Retire(std::vector<std::shared_ptr<CommandChannel>> channels) {
  std::erase_if(channels, [](const auto& channel) { return channel == nullptr; });
  for (const auto& channel : channels) channel->Close();
  std::chrono::milliseconds time_max = kStopMax;
  for (auto& channel : channels) {
    if (channel->EndFor(time_max)) continue;
    time_max = std::chrono::milliseconds(0);
    retired_.push_back(std::move(channel));
  }
  retired_.remove_if([](const auto& channel) { return channel->EndFor(std::chrono::milliseconds(0)); });
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
    WriterLock lock(mutex_);
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
  std::shared_ptr<CommandChannel> channel;
  {
    WriterLock lock(mutex_);
    channel = std::move(global_channel_);
    window_.reset();
    global_offer_.reset();
  }
  global_.reset();
  Retire({std::move(channel)});
}

// The channel has gone without the function: its adapter stays known, stopped.
void VmbusBackend::EndAdapter(Adapter& adapter) {
  adapter.state = Adapter::kStopped;
  std::shared_ptr<CommandChannel> channel;
  {
    WriterLock lock(mutex_);
    channel = std::move(adapter.channel);
    active_.erase(adapter.info.address);
  }
  events_->AdapterStopped(adapter.info.luid);
  Retire({std::move(channel)});
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
    WriterLock lock(mutex_);
    active_.erase(adapter->info.address);
  }
  EndChannel(*adapter);
}

Status VmbusBackend::CloseAdapter(Adapter& adapter, std::chrono::milliseconds answer_max) {
  if (adapter.state != Adapter::kActive) return Status::Ok();
  adapter.state = Adapter::kStopped;
  std::shared_ptr<CommandChannel> channel;
  {
    ReaderLock lock(mutex_);
    channel = ChannelOf(adapter);
  }
  if (!channel) return Status::Ok();
  host::CloseAdapter::Request request;
  host::CloseAdapter::Reply reply;
  request.set_host_handle(adapter.info.host_handle);
  Status status = Ask(channel, {0, adapter.host_vgpu_luid, version(), false}, request, &reply, answer_max);
  if (!status.ok())
    spdlog::debug("virtual GPU {} is closed without the host's word: {}", adapter.function->name(),
                  status.why());
  return status;
}

void VmbusBackend::HandleLoss(const std::string& why) {
  spdlog::warn("the VMBus is gone: {}", why);
  std::vector<std::shared_ptr<CommandChannel>> channels;
  {
    WriterLock lock(mutex_);
    channels.push_back(std::move(global_channel_));
    window_.reset();
    global_offer_.reset();
    for (const auto& adapter : functions_) channels.push_back(std::move(adapter->channel));
    active_.clear();
  }
  for (const auto& adapter : functions_) adapter->state = Adapter::kStopped;
  Retire(std::move(channels));
  events_->HostLost();
}

// -- Starting -------------------------------------------------------------------------------------

void VmbusBackend::StartWaiting() {
  if (!global_ || functions_.empty()) return;
  for (const auto& adapter : functions_) {
    if (adapter->state != Adapter::kWaiting) continue;
    const auto is_used = [&](uint32_t relid) {
      return std::any_of(functions_.begin(), functions_.end(),
                         [&](const auto& each) { return each->channel && each->relid == relid; });
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
      EndChannel(*adapter);
      continue;
    }
    {
      WriterLock lock(mutex_);
      adapter->state = Adapter::kActive;
      active_[adapter->info.address] = adapter;
    }
    adapter->announced = true;
    events_->AdapterArrived(adapter->info);
  }
}

bool VmbusBackend::StartGlobal() {
  if (global_->channel) return true;
  if (global_->refused) return false;
  const Status status = OpenGlobal(*global_);
  if (status.ok()) return true;
  spdlog::error("the global channel does not start: {}", status.why());
  Retire({std::move(global_->channel)});
  global_->refused = true;
  return false;
}

Status VmbusBackend::OpenGlobal(Global& global) {
  DXG_ASSIGN(auto bus_channel, bus_->Open(global.offer));
  global.channel = std::make_shared<CommandChannel>(
      "global", std::move(bus_channel), [this](auto message) { DeliverGuestMessage(message, *events_); });
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
  DXG_TRY(Ask(global.channel, {0, 0, version(), false}, request, &reply));
  if (reply.status() < 0)
    return Status::Refuse(EINVAL, "the host refuses the window {:#x} ({} MiB): status {:#010x}", window.start,
                          window.length >> 20, static_cast<uint32_t>(reply.status()));
  UseGlobal(global, window);
  return Status::Ok();
}

void VmbusBackend::UseGlobal(const Global& global, const std::optional<Window>& window) {
  WriterLock lock(mutex_);
  global_channel_ = global.channel;
  global_offer_ = global.offer;
  window_ = window;
}

Status VmbusBackend::StartAdapter(Adapter& adapter, const ChannelOffer& offer) {
  const Negotiated& negotiated = adapter.negotiated;
  DXG_ASSIGN(auto bus_channel, bus_->Open(offer));
  adapter.relid = offer.relid;
  std::shared_ptr<CommandChannel> channel;
  {
    auto own = std::make_shared<CommandChannel>(fmt::format("{}", adapter.function->name()),
                                                std::move(bus_channel), nullptr);
    WriterLock lock(mutex_);
    adapter.channel = std::move(own);
    channel = ChannelOf(adapter);
  }
  if (!channel) return Status::Refuse(ENODEV, "the global channel is gone");
  const auto address = [&](uint64_t luid) {
    return MessageAddress{0, luid, negotiated.interface_version, false};
  };

  host::OpenAdapter::Request open;
  host::OpenAdapter::Reply opened;
  open.set_interface_version(negotiated.interface_version);
  open.set_last_compatible_interface_version(kInterfaceVersionLastCompatible);
  DXG_TRY(Ask(channel, address(negotiated.vgpu_luid), open, &opened));
  if (opened.status() < 0)
    return Status::Refuse(ENODEV, "the host refuses to open it: status {:#010x}",
                          static_cast<uint32_t>(opened.status()));

  host::GetInternalAdapterInfo::Reply info;
  DXG_TRY(Ask(channel, address(negotiated.vgpu_luid), host::GetInternalAdapterInfo::Request(), &info));
  const bool names_vgpu = negotiated.interface_version >= kExtHeaderSince;
  adapter.host_vgpu_luid = names_vgpu ? info.host_vgpu_luid() : negotiated.vgpu_luid;
  adapter.info.luid = negotiated.channel.luid();
  adapter.info.host_luid = info.host_adapter_luid();
  adapter.info.address = ++last_address_;
  adapter.info.host_handle = opened.host_adapter_handle();
  adapter.info.interface_version = negotiated.interface_version;
  adapter.info.compute_only = adapter.function->compute_only();
  adapter.info.async_messages = (info.bits() & kAdapterAsyncMessages) != 0;
  WriterLock lock(mutex_);
  adapter.info.map_guest_pages = map_guest_pages_;
  async_messages_ = adapter.info.async_messages;
  return Status::Ok();
}

template <class Request, class Reply>
Status VmbusBackend::Ask(const std::shared_ptr<CommandChannel>& channel, const MessageAddress& address,
                         const Request& request, Reply* reply, std::chrono::milliseconds answer_max) {
  const auto ask = [&](std::shared_ptr<CommandChannel> of) {
    MutexLock lock(asking_mutex_);
    asking_ = std::move(of);
  };
  ask(channel);
  const auto* command = contract::FindHostCommand(contract::kHostCommandId<Request>);
  Status status = channel->Ask({command, 0, 0, &request, reply}, address, answer_max);
  ask(nullptr);
  return status;
}

// -- Commands -------------------------------------------------------------------------------------

void VmbusBackend::Submit(const HostCall& call, Completion completion) {
  MessageAddress address;
  std::shared_ptr<CommandChannel> channel;
  address.process = call.process;
  {
    ReaderLock lock(mutex_);
    address.interface_version = version_;
    if (call.adapter == 0) {
      channel = global_channel_;
    } else if (const auto found = active_.find(call.adapter); found != active_.end()) {
      channel = ChannelOf(*found->second);
      address.vgpu_luid = found->second->host_vgpu_luid;
      // Never on a vGPU channel, where all are answered.
      address.asynchronous = call.asynchronous && async_messages_;
    }
  }
  if (!channel)
    return completion.run(completion.context, Status::Refuse(ENODEV, "the channel to the host is lost"));
  channel->Submit(call, address, completion);
}

// -- Memory ---------------------------------------------------------------------------------------

// As the driver, which takes nothing that touches the window's last page.
std::optional<HostRegion> VmbusBackend::FindRegion(WindowAddress address) {
  ReaderLock lock(mutex_);
  if (!window_ || window_->file < 0 || window_->length < kPageBytes) return std::nullopt;
  HostRegion region;
  region.window_address = WindowAddress(window_->start);
  region.size = window_->length - kPageBytes;
  region.file = window_->file;
  region.file_offset = window_->file_offset;
  region.keep = window_->keep;
  region.common = true;
  if (address < region.window_address || address - region.window_address >= region.size) return std::nullopt;
  return region;
}

Result<uint32_t> VmbusBackend::AddClientPages(std::shared_ptr<ClientPages> pages) {
  std::optional<ChannelOffer> global;
  bool as_frames = false;
  {
    ReaderLock lock(mutex_);
    global = global_offer_;
    as_frames = map_guest_pages_;
  }
  if (!global) return Status::Refuse(ENODEV, "the channel to the host is lost");
  return as_frames ? lists_.AddPinned(std::move(pages)) : lists_.AddGpadl(*global, std::move(pages));
}

}  // namespace
}  // namespace dxg::vmbus

namespace dxg {

std::unique_ptr<Backend> CreateVmbusBackend(std::unique_ptr<vmbus::Bus> bus) {
  return std::make_unique<vmbus::VmbusBackend>(std::move(bus));
}

}  // namespace dxg
