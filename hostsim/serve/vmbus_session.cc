#include "hostsim/serve/vmbus_session.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/page.h"
#include "hostsim/backend/in_process.h"
#include "hostsim/serve/recorded_host.h"
#include "hostsim/serve/served_call.h"
#include "link/host_control.h"
#include "link/simulated_bus/packet_channel.h"
#include "link/vmbus/eventfd_signal.h"
#include "link/vmbus/ring_channel.h"
#include "proto/abi/ntstatus.h"
#include "proto/contract/host_commands.gen.h"

namespace dxg::hostsim::serve {
namespace {

using vmbus::Packet;
namespace link = vmbus::link;

constexpr uint32_t kGlobalRelid = 1;
constexpr vmbus::Guid kGlobalInstance{{0x64, 0x78, 0x67, 0x00, 0, 0, 0, 0x40, 0x80, 0, 0, 0, 0, 0, 0, 1}};
constexpr auto kRefusedStatus = static_cast<uint32_t>(kStatusInsufficientResources);
constexpr uint32_t kConfigBegin = vmbus::kConfigChannel;
constexpr uint32_t kConfigEnd = vmbus::kConfigHostCaps + 4;

void Complete(vmbus::Port& port, uint64_t transaction, std::span<const std::byte> payload) {
  (void)port.Send({vmbus::kCompletion, 0, transaction, payload});
}

}  // namespace

class VmbusSession::Served final : public ServedCall {
 public:
  Served(VmbusSession& session, const contract::CommandRow& command, std::shared_ptr<vmbus::Port> port,
         uint32_t relid, uint64_t transaction, uint32_t version)
      : ServedCall(command),
        session_(session),
        port_(std::move(port)),
        relid_(relid),
        transaction_(transaction),
        version_(version) {}

  // What a real host answers where it refuses a command whose reply has no status is not known; too little of
  // a reply is what the guest driver takes for a refusal.
  void Answer(const Status& transport) override {
    if (asynchronous()) return;
    if (transport.ok()) {
      std::vector<std::byte> payload(command().reply_size(*request, version_));
      command().encode_reply(*request, *reply, version_, payload.data());
      return Complete(*port_, transaction_, payload);
    }
    if (transport.value() == -EOVERFLOW) return Complete(*port_, transaction_, {});
    link::SendFailed failed;
    failed.relid = relid_;
    failed.error = -transport.value();
    failed.transaction = transaction_;
    (void)session_.socket_->Tell(failed);
  }

 private:
  VmbusSession& session_;
  const std::shared_ptr<vmbus::Port> port_;
  const uint32_t relid_;
  const uint64_t transaction_;
  const uint32_t version_;
};

// -- Life -----------------------------------------------------------------------------------------

VmbusSession::VmbusSession(UniqueFd connection, std::string name, const VmbusOptions& options, uint32_t guest)
    : name_(std::move(name)),
      options_(options),
      guest_(guest),
      socket_(std::make_shared<link::Socket>(std::move(connection))),
      work_(WorkRecorder(options_.recording)) {}

VmbusSession::~VmbusSession() {
  if (backend_) backend_->Stop();
}

void VmbusSession::Run() {
  const Status why = Serve();
  spdlog::info("{}: over: {}", name_, why.why());
  socket_->Close();
  if (backend_) backend_->Stop();
  std::map<uint32_t, HostChannel> channels;
  {
    MutexLock lock(mutex_);
    channels.swap(channels_);
  }
  for (auto& [relid, channel] : channels) {
    if (channel.port) channel.port->End();
  }
}

Status VmbusSession::Serve() {
  for (;;) {
    DXG_ASSIGN(link::Received received, socket_->Receive());
    if (received.header.channel == link::kControlChannel) {
      std::vector<UniqueFd> descriptors = std::move(received.descriptors);
      DXG_TRY(HandleControl(received, std::move(descriptors)));
      continue;
    }
    std::shared_ptr<vmbus::PacketInbox> inbox;
    {
      MutexLock lock(mutex_);
      const auto found = channels_.find(received.header.channel);
      if (found != channels_.end()) inbox = found->second.inbox;
    }
    if (inbox) inbox->Put(received);
  }
}

template <class Message>
Status VmbusSession::Say(const Message& message, std::span<const int> descriptors,
                         std::span<const std::byte> rest) {
  // A guest that ends waits for no answer to what it sends last; the end of its socket follows.
  if (socket_->Tell(message, descriptors, rest) || socket_->IsClosedThere()) return Status::Ok();
  return Wrong("it does not read");
}

Status VmbusSession::HandleControl(const link::Received& received, std::vector<UniqueFd> descriptors) {
  const std::span<const std::byte> payload = received.payload;
  const uint32_t number = link::NumberOf(payload);
  const size_t came = descriptors.size();
  const auto nonsense = [&] {
    return Wrong(
        fmt::format("it sent control message {:#x} with {} bytes and {} descriptors, which makes no sense",
                    number, payload.size(), came));
  };
  if (number != link::kInitiateContact && !backend_) return Wrong("it did not begin with contact");
  switch (number) {
    case link::kInitiateContact:
      return link::Read<link::InitiateContact>(payload) && !backend_ ? Begin() : nonsense();
    case link::kRequestOffers:
      return OfferAll();
    case link::kOpen: {
      const auto open = link::Read<link::Open>(payload);
      return open ? Open(*open) : nonsense();
    }
    case link::kClose: {
      const auto close = link::Read<link::Close>(payload);
      if (!close) return nonsense();
      CloseChannel(close->relid);
      return Status::Ok();
    }
    case link::kGpadlHeader:
    case link::kGpadlBody: {
      const auto outcome = number == link::kGpadlHeader ? gpadls_.Begin(payload) : gpadls_.GoOn(payload);
      return outcome.what == GuestGpadls::Outcome::kNonsense ? nonsense() : AnswerGpadl(outcome);
    }
    case link::kGpadlTeardown: {
      const auto teardown = link::Read<link::GpadlTeardown>(payload);
      if (!teardown) return nonsense();
      const uint32_t list = gpadls_.End(teardown->gpadl);
      if (list != 0) backend_->RemoveClientPages(list);
      link::GpadlTornDown done;
      done.gpadl = teardown->gpadl;
      return Say(done);
    }
    case link::kReadConfig: {
      const auto read = link::Read<link::ReadConfig>(payload);
      return read ? AnswerConfig(read->function, read->offset, std::nullopt) : nonsense();
    }
    case link::kWriteConfig: {
      const auto write = link::Read<link::WriteConfig>(payload);
      return write ? AnswerConfig(write->function, write->offset, write->value) : nonsense();
    }
    case link::kGuestMemory: {
      const auto memory = link::Read<link::GuestMemory>(payload);
      if (!memory || descriptors.size() != 1) return nonsense();
      if (!ram_->Show(memory->address, memory->bytes, std::move(descriptors[0]), memory->file_offset))
        spdlog::warn("{}: its memory at {:#x} ({} bytes) is not taken", name_, memory->address,
                     memory->bytes);
      return Status::Ok();
    }
    case link::kForgetMemory: {
      const auto forget = link::Read<link::ForgetMemory>(payload);
      if (!forget) return nonsense();
      ram_->Forget(forget->address);
      return Status::Ok();
    }
    case link::kDoorbells: {
      const auto bells = link::Read<link::Doorbells>(payload);
      if (!bells || descriptors.size() != 2) return nonsense();
      return TakeDoorbells(bells->relid, std::move(descriptors)) ? Status::Ok() : nonsense();
    }
    case link::kControl:
      return AnswerControl(payload.subspan(sizeof(link::Control)));
    case link::kPing:
      return Say(link::Pong{});
    default:
      return Status::Ok();  // of a later version
  }
}

Status VmbusSession::Begin() {
  DXG_ASSIGN(UniqueFd window, OpenWindow(options_));
  window_ = {std::make_shared<const FileDescriptor>(window.release()),
             uint64_t{options_.window_megabytes} << 20};
  DXG_ASSIGN(auto host, CreateInProcessBackendOf(
                            options_.adapters, options_.scenario,
                            {window_, options_.map_guest_memory ? ram_.get() : nullptr, work_.get()}));
  backend_ = Recorded(std::move(host), options_.recording, guest_);
  {
    MutexLock lock(mutex_);
    channels_[last_relid_ = kGlobalRelid];
  }
  DXG_TRY(backend_->Start(this));
  {
    MutexLock lock(mutex_);
    if (!functions_.empty()) host_version_ = functions_.front().adapter.interface_version;
  }
  spdlog::info("{}: a guest is served, interface version {}", name_, host_version_);
  link::VersionResponse response;
  response.supported = 1;
  response.version = link::kVmbusVersion;
  return Say(response);
}

Status VmbusSession::OfferAll() {
  link::WindowFile window;
  window.bytes = window_.bytes;
  const int descriptors[] = {window_.file->number()};
  DXG_TRY(Say(window, descriptors));
  link::Offer global;
  global.channel_class = vmbus::kGlobalClass;
  global.instance = kGlobalInstance;
  global.mmio_megabytes = static_cast<uint16_t>(options_.window_megabytes);
  global.relid = kGlobalRelid;
  (void)socket_->Tell(global);
  MutexLock lock(mutex_);
  for (const Function& function : functions_) {
    if (!function.gone) Tell(function);
  }
  offered_ = true;
  return Say(link::AllOffersDelivered{});
}

void VmbusSession::Tell(const Function& function) {
  link::FunctionArrived arrived;
  arrived.function = function.number;
  arrived.vendor = vmbus::kPciVendor;
  arrived.device = function.adapter.compute_only ? vmbus::kPciCompute : vmbus::kPciRender;
  (void)socket_->Tell(arrived);
  link::Offer offer;
  offer.channel_class = vmbus::kVgpuClass;
  offer.instance = function.instance;
  offer.relid = function.relid;
  (void)socket_->Tell(offer);
}

Status VmbusSession::AnswerControl(std::span<const std::byte> request) {
  ControlRequest asked;
  ControlReply reply;
  if (!asked.ParseFromArray(request.data(), static_cast<int>(request.size())))
    return Wrong("it sent an order that cannot be read");
  backend_->control()->Serve(asked, &reply);
  if (reply.ByteSizeLong() > vmbus::kMessageBytesMax - sizeof(link::Controlled)) {
    const size_t bytes = reply.ByteSizeLong();
    reply.Clear();
    reply.set_error(fmt::format("the answer has {} bytes, which no packet of a link holds", bytes));
  }
  std::string text;
  reply.SerializeToString(&text);
  return Say(link::Controlled{}, {}, std::as_bytes(std::span(text)));
}

// -- Configuration space --------------------------------------------------------------------------

Status VmbusSession::AnswerConfig(uint32_t number, uint32_t offset, std::optional<uint32_t> written) {
  link::ConfigDone done;
  done.function = number;
  done.offset = offset;
  {
    MutexLock lock(mutex_);
    const auto function = std::find_if(functions_.begin(), functions_.end(), [&](const Function& each) {
      return each.number == number && !each.gone;
    });
    if (function == functions_.end()) {
      done.error = ENODEV;
    } else if (offset % 4 != 0 || offset < kConfigBegin || offset >= kConfigEnd) {
      done.error = EINVAL;
    } else if (written) {
      if (offset == vmbus::kConfigVersion) guest_version_ = *written;
    } else {
      done.value = ReadConfig(*function, offset);
    }
  }
  return Say(done);
}

uint32_t VmbusSession::ReadConfig(const Function& function, uint32_t offset) const {
  std::byte space[kConfigEnd - kConfigBegin] = {};
  const bool new_enough = host_version_ >= vmbus::kExtHeaderSince;  // an older one does not say its version
  const uint32_t version = new_enough ? host_version_ : 0;
  const uint64_t luid = new_enough ? function.adapter.address : 0;
  const uint32_t caps = options_.map_guest_memory ? vmbus::kHostCapMapGuestMemory : 0;
  std::memcpy(space, &function.instance, sizeof(function.instance));
  std::memcpy(space + (vmbus::kConfigVersion - kConfigBegin), &version, sizeof(version));
  std::memcpy(space + (vmbus::kConfigLuid - kConfigBegin), &luid, sizeof(luid));
  std::memcpy(space + (vmbus::kConfigHostCaps - kConfigBegin), &caps, sizeof(caps));
  uint32_t value = 0;
  std::memcpy(&value, space + (offset - kConfigBegin), sizeof(value));
  return value;
}

// -- Lists of pages -------------------------------------------------------------------------------

bool VmbusSession::IsOpen(uint32_t relid) {
  MutexLock lock(mutex_);
  const auto channel = channels_.find(relid);
  return channel != channels_.end() && channel->second.port != nullptr;
}

Status VmbusSession::AnswerGpadl(const GuestGpadls::Outcome& outcome) {
  using Outcome = GuestGpadls::Outcome;
  if (outcome.what == Outcome::kMoreToCome) return Status::Ok();
  // A list for a channel that is not open is of its rings, which are mapped when it is opened.
  const bool created = outcome.what == Outcome::kComplete &&
                       (!IsOpen(outcome.relid) || gpadls_.GiveTo(*backend_, outcome.gpadl));
  link::GpadlCreated answer;
  answer.relid = outcome.relid;
  answer.gpadl = outcome.gpadl;
  answer.status = created ? 0 : kRefusedStatus;
  return Say(answer);
}

// The guest knows its list by the number of its GPADL.
void VmbusSession::TakeGpadlNumber(google::protobuf::Message* request) {
  auto* store = google::protobuf::DynamicCastToGenerated<host::SetExistingSysmemStore::Request>(request);
  if (store) store->set_gpadl(gpadls_.ListOf(store->gpadl()));
}

// -- Channels -------------------------------------------------------------------------------------

std::unique_ptr<vmbus::Channel> VmbusSession::OpenRings(const link::Open& open, HostChannel& channel) {
  const auto frames = gpadls_.FramesOf(open.ring_gpadl);
  if (!frames || channel.bells.size() != 2) return nullptr;
  const size_t bytes = frames->size() * kPageBytes, downstream = open.downstream_page * kPageBytes;
  const std::shared_ptr<std::byte> rings = ram_->Map(*frames);
  if (!rings || downstream == 0 || downstream >= bytes) return nullptr;
  const std::span<std::byte> memory(rings.get(), bytes);
  auto signal =
      std::make_unique<vmbus::EventfdSignal>(std::move(channel.bells[0]), std::move(channel.bells[1]));
  channel.bells.clear();
  auto made =
      vmbus::MakeRingChannel(memory.subspan(downstream), memory.first(downstream), std::move(signal), rings);
  if (!made.ok()) spdlog::warn("{}: the rings of channel {}: {}", name_, open.relid, made.status().why());
  return made.ok() ? *std::move(made) : nullptr;
}

Status VmbusSession::Open(const link::Open& open) {
  link::OpenResult result;
  result.relid = open.relid;
  result.open_id = open.open_id;
  result.status = kRefusedStatus;
  {
    MutexLock lock(mutex_);
    const auto found = channels_.find(open.relid);
    if (found != channels_.end() && !found->second.port) {
      HostChannel& channel = found->second;
      std::unique_ptr<vmbus::Channel> made;
      if (open.ring_gpadl != 0) {
        made = OpenRings(open, channel);
      } else {
        auto packets = std::make_unique<vmbus::PacketChannel>(socket_, open.relid);
        channel.inbox = packets->inbox();
        made = std::move(packets);
      }
      if (made) {
        channel.port = std::make_shared<vmbus::Port>(
            std::move(made),
            vmbus::Port::Handlers{
                .handle = [this, relid = open.relid](const Packet& packet) { HandlePacket(relid, packet); },
                .over =
                    [this, relid = open.relid](const Status& why) {
                      if (!why.ok()) spdlog::warn("{}: channel {} is lost: {}", name_, relid, why.why());
                    },
                .settled = {}},
            vmbus::Port::Limits{});
        if (channel.port->started()) {
          result.status = 0;
        } else {
          spdlog::warn("{}: channel {} is not opened: no thread can be started for it", name_, open.relid);
          channel.port = nullptr;
        }
      }
    }
  }
  return Say(result);
}

bool VmbusSession::TakeDoorbells(uint32_t relid, std::vector<UniqueFd> bells) {
  // Written to, anything else could end us or let us wait for ever.
  if (!std::all_of(bells.begin(), bells.end(),
                   [](const UniqueFd& bell) { return vmbus::IsEventfd(bell.get()); }))
    return false;
  for (const UniqueFd& bell : bells) fcntl(bell.get(), F_SETFL, O_NONBLOCK);
  MutexLock lock(mutex_);
  const auto found = channels_.find(relid);
  if (found == channels_.end()) return false;
  found->second.bells = std::move(bells);
  return true;
}

void VmbusSession::CloseChannel(uint32_t relid) {
  std::shared_ptr<vmbus::Port> port;
  {
    MutexLock lock(mutex_);
    const auto found = channels_.find(relid);
    if (found == channels_.end()) return;
    port = std::move(found->second.port);
    found->second.inbox.reset();
    if (std::erase_if(functions_, [&](const Function& each) { return each.relid == relid && each.gone; }) !=
        0)
      channels_.erase(found);
  }
  if (port) port->End();
}

std::optional<uint64_t> VmbusSession::AdapterOf(const HostChannel& channel, const vmbus::MessageHead& head,
                                                const contract::CommandRow& command) {
  const bool global = channel.adapter == 0;
  if (command.channel == GLOBAL)
    return global && head.channel_type == vmbus::kChannelTypeGlobal ? std::optional<uint64_t>(0)
                                                                    : std::nullopt;
  if (head.channel_type != vmbus::kChannelTypeAdapter) return std::nullopt;
  if (!global) return channel.adapter;
  if (version() >= vmbus::kExtHeaderSince) return head.vgpu_luid;
  // Older messages do not say, so that only one adapter can be meant.
  std::optional<uint64_t> only;
  for (const Function& function : functions_) {
    if (function.gone) continue;
    if (only) return std::nullopt;
    only = function.adapter.address;
  }
  return only;
}

void VmbusSession::HandlePacket(uint32_t relid, const Packet& packet) {
  const auto drop = [&](std::string_view why) {
    spdlog::warn("{}: a packet on channel {} is dropped: {}", name_, relid, why);
  };
  if (packet.type != vmbus::kInBand)
    return drop(fmt::format("its type is {}; expected {}", packet.type, static_cast<int>(vmbus::kInBand)));
  const uint32_t version = this->version();
  const auto head = vmbus::DecodeHead(packet.payload, version >= vmbus::kExtHeaderSince);
  const contract::CommandRow* command = head ? contract::FindHostCommand(head->command) : nullptr;
  std::shared_ptr<vmbus::Port> port;
  std::optional<uint64_t> adapter;
  {
    MutexLock lock(mutex_);
    const auto found = channels_.find(relid);
    if (found == channels_.end() || !found->second.port) return;
    port = found->second.port;
    if (command) adapter = AdapterOf(found->second, *head, *command);
  }
  const bool answer = (packet.flags & vmbus::kCompletionRequested) != 0;
  const auto refuse = [&](std::string_view why) {
    drop(why);
    if (answer) Complete(*port, packet.transaction, {});
  };
  if (!command)
    return refuse(head ? fmt::format("there is no command {}", head->command) : "it is too short");
  if (!adapter) return refuse(fmt::format("{} does not belong on this channel", command->name));
  auto served = std::make_unique<Served>(*this, *command, port, relid, packet.transaction, version);
  if (!command->decode_request(head->bytes, served->request.get()))
    return refuse(fmt::format("{} with {} bytes is too short", command->name, head->bytes.size()));
  if (command->reply_size(*served->request, version) > vmbus::kMessageBytesMax)
    return refuse(fmt::format("{} asks for an answer that no packet holds", command->name));
  TakeGpadlNumber(served->request.get());
  ServedCall::Submit(std::move(served), *backend_, head->process, *adapter, !answer);
}

// -- Events ---------------------------------------------------------------------------------------

std::shared_ptr<vmbus::Port> VmbusSession::GlobalPort() {
  MutexLock lock(mutex_);
  const auto found = channels_.find(kGlobalRelid);
  return found == channels_.end() ? nullptr : found->second.port;
}

void VmbusSession::SendToGuest(const google::protobuf::Message& message) {
  const auto port = GlobalPort();
  for (const contract::GuestMessage& row : contract::GuestMessages()) {
    if (port && row.message->GetDescriptor() == message.GetDescriptor())
      port->Send({vmbus::kInBand, 0, 0, vmbus::EncodeGuestMessage(row, 0, message)});
  }
}

void VmbusSession::GuestEvent(uint64_t event) {
  host::SignalGuestEvent message;
  message.set_event(event);
  SendToGuest(message);
}

void VmbusSession::DeviceStateChanged(uint64_t cookie) {
  host::SetGuestData message;
  message.set_guest_pointer(cookie);
  message.set_data(1);  // any number but 0
  SendToGuest(message);
}

void VmbusSession::AdapterArrived(const HostAdapter& adapter) {
  MutexLock lock(mutex_);
  Function function{++last_function_, ++last_relid_, adapter, {}, false};
  std::memcpy(function.instance.bytes.data(), &adapter.luid, sizeof(adapter.luid));
  std::memcpy(function.instance.bytes.data() + 8, &adapter.address, sizeof(adapter.address));
  channels_[function.relid].adapter = adapter.address;
  functions_.push_back(function);
  if (offered_) Tell(function);
}

void VmbusSession::AdapterStopped(uint64_t luid) {
  MutexLock lock(mutex_);
  for (const Function& function : functions_) {
    if (function.adapter.luid != luid || function.gone) continue;
    link::Rescind rescind;
    rescind.relid = function.relid;
    (void)socket_->Tell(rescind);
  }
}

// What the guest has not open is forgotten, the rest when it closes it.
void VmbusSession::AdapterRemoved(uint64_t luid) {
  MutexLock lock(mutex_);
  std::erase_if(functions_, [&](Function& function) DXG_REQUIRES(mutex_) {
    if (function.adapter.luid != luid || function.gone) return false;
    function.gone = true;
    link::FunctionRemoved removed;
    removed.function = function.number;
    (void)socket_->Tell(removed);
    link::Rescind rescind;
    rescind.relid = function.relid;
    (void)socket_->Tell(rescind);
    const auto channel = channels_.find(function.relid);
    if (channel != channels_.end() && channel->second.port) return false;
    if (channel != channels_.end()) channels_.erase(channel);
    return true;
  });
}

}  // namespace dxg::hostsim::serve
