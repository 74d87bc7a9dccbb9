#include "hostsim/serve/vmbus_session.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/page.h"
#include "base/shared_memory.h"
#include "hostsim/backend/in_process.h"
#include "link/host_control.h"
#include "link/simulated_bus/packet_channel.h"
#include "link/vmbus/eventfd_signal.h"
#include "link/vmbus/ring_channel.h"
#include "proto/contract/host_commands.gen.h"

namespace dxg::hostsim::serve {
namespace {

using vmbus::Packet;
namespace link = vmbus::link;

constexpr uint32_t kGlobalRelid = 1;
constexpr vmbus::Guid kGlobalInstance{{0x64, 0x78, 0x67, 0x00, 0, 0, 0, 0x40, 0x80, 0, 0, 0, 0, 0, 0, 1}};
constexpr uint64_t kGpadlPagesMax = 1u << 22;  // of one guest: 16 GiB
constexpr size_t kGpadlsMax = 4096;
constexpr uint32_t kRefusedStatus = 0xC000009A;  // STATUS_INSUFFICIENT_RESOURCES
constexpr uint32_t kConfigBegin = vmbus::kConfigChannel;
constexpr uint32_t kConfigEnd = vmbus::kConfigHostCaps + 4;

}  // namespace

Result<UniqueFd> OpenWindow(const VmbusOptions& options) {
  const uint64_t bytes = uint64_t{options.window_megabytes} << 20;
  if (!options.window_file.empty()) {
    UniqueFd file(open(options.window_file.c_str(), O_RDWR | O_CLOEXEC));
    if (!file.valid())
      return Status::Refuse(errno, "the window's file {}: {}", options.window_file, std::strerror(errno));
    // Who touched memory behind the file's end would be killed. A device has no size that we could look at.
    struct stat status {};
    if (fstat(file.get(), &status) == 0 && S_ISREG(status.st_mode) &&
        static_cast<uint64_t>(status.st_size) < bytes)
      return Status::Refuse(
          EINVAL,
          "the window's file {} has {} MiB; expected the window's {}: make it longer, or say window-mib=N",
          options.window_file, status.st_size >> 20, options.window_megabytes);
    return file;
  }
  return MakeSharedMemory("dxg-window", bytes);
}

// A command on its way through the host.
struct VmbusSession::Served {
  VmbusSession* session;
  std::shared_ptr<Port> port;
  uint32_t relid;
  uint64_t transaction;
  uint32_t version;
  HostCall call;
  std::unique_ptr<google::protobuf::Message> request, reply;

  void Answer(std::span<const std::byte> payload) const {
    port->Send({vmbus::kCompletion, 0, transaction, payload});
  }

  // What a real host answers where it refuses a command whose reply has no status is not known; too little of
  // a reply is what the guest driver takes for a refusal.
  static void Complete(void* context, Status transport) {
    const std::unique_ptr<Served> served(static_cast<Served*>(context));
    if (served->call.asynchronous) return;
    if (transport.ok()) {
      const auto& command = *served->call.command;
      std::vector<std::byte> payload(command.reply_size(*served->request, served->version));
      command.encode_reply(*served->request, *served->reply, served->version, payload.data());
      return served->Answer(payload);
    }
    if (transport.value() == -EOVERFLOW) return served->Answer({});
    link::SendFailed failed;
    failed.relid = served->relid;
    failed.error = -transport.value();
    failed.transaction = served->transaction;
    (void)served->session->socket_->Tell(failed);
  }
};

// -- Life -----------------------------------------------------------------------------------------

VmbusSession::VmbusSession(UniqueFd connection, std::string name, const VmbusOptions& options)
    : name_(std::move(name)),
      options_(options),
      socket_(std::make_shared<link::Socket>(std::move(connection))) {}

VmbusSession::~VmbusSession() {
  if (backend_) backend_->Stop();
}

bool VmbusSession::Wrong(std::string why) {
  why_ = std::move(why);
  return false;
}

void VmbusSession::Run() {
  for (bool there = true; there;) {
    auto received = socket_->Receive();
    if (!received.ok()) {
      why_ = received.status().why();
      break;
    }
    std::vector<UniqueFd> descriptors = std::move(received->descriptors);
    if (received->header.channel == link::kControlChannel) {
      there = HandleControl(*received, std::move(descriptors));
      continue;
    }
    std::shared_ptr<vmbus::PacketInbox> inbox;
    {
      std::lock_guard lock(mutex_);
      const auto found = channels_.find(received->header.channel);
      if (found != channels_.end()) inbox = found->second.inbox;
    }
    if (inbox) inbox->Put(*received);
  }
  spdlog::info("{}: over: {}", name_, why_);
  socket_->Close();
  if (backend_) backend_->Stop();
  std::map<uint32_t, HostChannel> channels;
  {
    std::lock_guard lock(mutex_);
    channels.swap(channels_);
  }
  for (auto& [relid, channel] : channels) {
    if (channel.port) channel.port->End();
  }
}

bool VmbusSession::HandleControl(const link::Received& received, std::vector<UniqueFd> descriptors) {
  const std::span<const std::byte> payload = received.payload;
  const uint32_t number = link::NumberOf(payload);
  const auto nonsense = [&] {
    return Wrong(
        fmt::format("it sent control message {:#x} with {} bytes and {} descriptors, which makes no sense",
                    number, payload.size(), descriptors.size()));
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
      return close ? CloseChannel(close->relid) : nonsense();
    }
    case link::kGpadlHeader:
      return BeginGpadl(payload) || nonsense();
    case link::kGpadlBody:
      return GoOnGpadl(payload) || nonsense();
    case link::kGpadlTeardown: {
      const auto teardown = link::Read<link::GpadlTeardown>(payload);
      return teardown ? EndGpadl(*teardown) : nonsense();
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
      return true;
    }
    case link::kForgetMemory: {
      const auto forget = link::Read<link::ForgetMemory>(payload);
      if (forget) ram_->Forget(forget->address);
      return forget || nonsense();
    }
    case link::kDoorbells: {
      const auto bells = link::Read<link::Doorbells>(payload);
      std::lock_guard lock(mutex_);
      const auto found = bells ? channels_.find(bells->relid) : channels_.end();
      if (found == channels_.end() || descriptors.size() != 2) return nonsense();
      // Written to, anything else could end us or let us wait for ever.
      if (!std::all_of(descriptors.begin(), descriptors.end(),
                       [](const UniqueFd& bell) { return vmbus::IsEventfd(bell.get()); }))
        return nonsense();
      for (const UniqueFd& bell : descriptors) fcntl(bell.get(), F_SETFL, O_NONBLOCK);
      found->second.bells = std::move(descriptors);
      return true;
    }
    case link::kControl:
      return AnswerControl(payload.subspan(sizeof(link::Control)));
    case link::kPing:
      return socket_->Tell(link::Pong{}) || Wrong("it does not read");
    default:
      return true;  // of a later version
  }
}

bool VmbusSession::Begin() {
  auto window = OpenWindow(options_);
  if (!window.ok()) return Wrong(window.status().why());
  window_ = {std::make_shared<const FileDescriptor>(window->release()),
             uint64_t{options_.window_megabytes} << 20};
  auto backend = CreateInProcessBackendOf(options_.adapters,
                                          {window_, options_.map_guest_memory ? ram_.get() : nullptr});
  if (!backend.ok()) return Wrong(backend.status().why());
  backend_ = *std::move(backend);
  channels_[last_relid_ = kGlobalRelid];
  if (Status status = backend_->Start(this); !status.ok()) return Wrong(status.why());
  if (!functions_.empty()) host_version_ = functions_.front().adapter.interface_version;
  spdlog::info("{}: a guest is served, interface version {}", name_, host_version_);
  link::VersionResponse response;
  response.supported = 1;
  response.version = link::kVmbusVersion;
  return socket_->Tell(response) || Wrong("it does not read");
}

bool VmbusSession::OfferAll() {
  link::WindowFile window;
  window.bytes = window_.bytes;
  const int descriptors[] = {window_.file->number()};
  if (!socket_->Tell(window, descriptors)) return Wrong("it does not read");
  link::Offer global;
  global.channel_class = vmbus::kGlobalClass;
  global.instance = kGlobalInstance;
  global.mmio_megabytes = static_cast<uint16_t>(options_.window_megabytes);
  global.relid = kGlobalRelid;
  (void)socket_->Tell(global);
  std::lock_guard lock(mutex_);
  for (const Function& function : functions_) {
    if (!function.gone) Tell(function);
  }
  offered_ = true;
  return socket_->Tell(link::AllOffersDelivered{}) || Wrong("it does not read");
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

bool VmbusSession::AnswerControl(std::span<const std::byte> request) {
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
  return socket_->Tell(link::Controlled{}, {}, std::as_bytes(std::span(text))) || Wrong("it does not read");
}

// -- Configuration space --------------------------------------------------------------------------

bool VmbusSession::AnswerConfig(uint32_t number, uint32_t offset, std::optional<uint32_t> written) {
  link::ConfigDone done;
  done.function = number;
  done.offset = offset;
  std::byte space[kConfigEnd - kConfigBegin] = {};
  std::unique_lock lock(mutex_);
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
    const bool new_enough = host_version_ >= vmbus::kExtHeaderSince;  // an older one does not say its version
    const uint32_t version = new_enough ? host_version_ : 0;
    const uint64_t luid = new_enough ? function->adapter.address : 0;
    const uint32_t caps = options_.map_guest_memory ? vmbus::kHostCapMapGuestMemory : 0;
    std::memcpy(space, &function->instance, sizeof(function->instance));
    std::memcpy(space + (vmbus::kConfigVersion - kConfigBegin), &version, sizeof(version));
    std::memcpy(space + (vmbus::kConfigLuid - kConfigBegin), &luid, sizeof(luid));
    std::memcpy(space + (vmbus::kConfigHostCaps - kConfigBegin), &caps, sizeof(caps));
    std::memcpy(&done.value, space + (offset - kConfigBegin), sizeof(done.value));
  }
  lock.unlock();
  return socket_->Tell(done) || Wrong("it does not read");
}

// -- Lists of pages -------------------------------------------------------------------------------

bool VmbusSession::AddFrames(Gpadl& gpadl, uint32_t number, std::span<const std::byte> bytes) {
  const size_t count = bytes.size() / sizeof(uint64_t);
  if (count > gpadl.pages - gpadl.frames.size()) return false;
  const size_t had = gpadl.frames.size();
  gpadl.frames.resize(had + count);
  if (count != 0) std::memcpy(gpadl.frames.data() + had, bytes.data(), count * sizeof(uint64_t));
  if (gpadl.frames.size() < gpadl.pages) return true;
  link::GpadlCreated created;
  created.relid = gpadl.relid;
  created.gpadl = number;
  // A list for a channel that is not open is of its rings.
  if (const auto channel = channels_.find(gpadl.relid); channel != channels_.end() && channel->second.port) {
    auto list = backend_->AddClientPages(std::make_shared<GpadlPages>(ram_, gpadl.frames));
    if (list.ok()) {
      gpadl.list = *std::move(list);
    } else {
      created.status = kRefusedStatus;
      gpadl_pages_ -= gpadl.pages;
      gpadls_.erase(number);
    }
  }
  return socket_->Tell(created);
}

bool VmbusSession::BeginGpadl(std::span<const std::byte> payload) {
  std::span<const std::byte> frames;
  const auto header = link::Read<link::GpadlHeader>(payload, &frames);
  if (!header || header->range_count != 1 || header->byte_offset != 0 || header->byte_count == 0 ||
      header->byte_count % kPageBytes != 0)
    return false;
  const uint64_t pages = header->byte_count / kPageBytes;
  std::lock_guard lock(mutex_);
  if (gpadls_.contains(header->gpadl) || gpadls_.size() >= kGpadlsMax ||
      gpadl_pages_ + pages > kGpadlPagesMax) {
    link::GpadlCreated refused;
    refused.relid = header->relid;
    refused.gpadl = header->gpadl;
    refused.status = kRefusedStatus;
    return socket_->Tell(refused);
  }
  gpadl_pages_ += pages;
  Gpadl& gpadl = gpadls_[header->gpadl];
  gpadl.relid = header->relid;
  gpadl.pages = pages;
  return AddFrames(gpadl, header->gpadl, frames);
}

bool VmbusSession::GoOnGpadl(std::span<const std::byte> payload) {
  std::span<const std::byte> frames;
  const auto body = link::Read<link::GpadlBody>(payload, &frames);
  if (!body) return false;
  std::lock_guard lock(mutex_);
  const auto found = gpadls_.find(body->gpadl);
  if (found == gpadls_.end()) return true;  // of one that was refused
  return found->second.frames.size() < found->second.pages && AddFrames(found->second, body->gpadl, frames);
}

bool VmbusSession::EndGpadl(const link::GpadlTeardown& teardown) {
  uint32_t list = 0;
  {
    std::lock_guard lock(mutex_);
    const auto found = gpadls_.find(teardown.gpadl);
    if (found != gpadls_.end()) {
      list = found->second.list;
      gpadl_pages_ -= found->second.pages;
      gpadls_.erase(found);
    }
  }
  if (list != 0) backend_->RemoveClientPages(list);
  link::GpadlTornDown done;
  done.gpadl = teardown.gpadl;
  return socket_->Tell(done) || Wrong("it does not read");
}

// The guest knows its list by the number of its GPADL.
void VmbusSession::TakeGpadlNumber(google::protobuf::Message* request) {
  auto* store = google::protobuf::DynamicCastToGenerated<host::SetExistingSysmemStore::Request>(request);
  if (!store) return;
  std::lock_guard lock(mutex_);
  const auto found = gpadls_.find(store->gpadl());
  store->set_gpadl(found == gpadls_.end() ? 0 : found->second.list);
}

// -- Channels -------------------------------------------------------------------------------------

std::unique_ptr<vmbus::Channel> VmbusSession::OpenRings(const link::Open& open, HostChannel& channel) {
  const auto gpadl = gpadls_.find(open.ring_gpadl);
  if (gpadl == gpadls_.end() || gpadl->second.frames.size() != gpadl->second.pages ||
      channel.bells.size() != 2)
    return nullptr;
  const size_t bytes = gpadl->second.pages * kPageBytes, downstream = open.downstream_page * kPageBytes;
  const std::shared_ptr<std::byte> rings = ram_->Map(gpadl->second.frames);
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

bool VmbusSession::Open(const link::Open& open) {
  link::OpenResult result;
  result.relid = open.relid;
  result.open_id = open.open_id;
  result.status = kRefusedStatus;
  {
    std::lock_guard lock(mutex_);
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
        channel.port = std::make_shared<Port>(
            std::move(made),
            [this, relid = open.relid](const Packet& packet) { HandlePacket(relid, packet); },
            [this, relid = open.relid](const Status& why) {
              spdlog::warn("{}: channel {} is lost: {}", name_, relid, why.why());
            });
        result.status = 0;
      }
    }
  }
  return socket_->Tell(result) || Wrong("it does not read");
}

bool VmbusSession::CloseChannel(uint32_t relid) {
  std::shared_ptr<Port> port;
  {
    std::lock_guard lock(mutex_);
    const auto found = channels_.find(relid);
    if (found == channels_.end()) return true;
    port = std::move(found->second.port);
    found->second.inbox.reset();
    if (std::erase_if(functions_, [&](const Function& each) { return each.relid == relid && each.gone; }) !=
        0)
      channels_.erase(found);
  }
  if (port) port->End();
  return true;
}

std::optional<uint64_t> VmbusSession::AdapterOf(const HostChannel& channel, const vmbus::MessageHead& head,
                                                const contract::HostCommand& command) {
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
  auto served = std::make_unique<Served>();
  served->session = this;
  served->relid = relid;
  served->transaction = packet.transaction;
  served->version = version();
  const auto head = vmbus::DecodeHead(packet.payload, served->version >= vmbus::kExtHeaderSince);
  const contract::HostCommand* command = head ? contract::FindHostCommand(head->command) : nullptr;
  std::optional<uint64_t> adapter;
  {
    std::lock_guard lock(mutex_);
    const auto found = channels_.find(relid);
    if (found == channels_.end() || !found->second.port) return;
    served->port = found->second.port;
    if (command) adapter = AdapterOf(found->second, *head, *command);
  }
  const bool answer = (packet.flags & vmbus::kCompletionRequested) != 0;
  const auto refuse = [&](std::string_view why) {
    drop(why);
    if (answer) served->Answer({});
  };
  if (!command)
    return refuse(head ? fmt::format("there is no command {}", head->command) : "it is too short");
  if (!adapter) return refuse(fmt::format("{} does not belong on this channel", command->name));
  served->request.reset(command->request->New());
  served->reply.reset(command->reply->New());
  if (!command->decode_request(head->bytes, served->request.get()))
    return refuse(fmt::format("{} with {} bytes is too short", command->name, head->bytes.size()));
  if (command->reply_size(*served->request, served->version) > vmbus::kMessageBytesMax)
    return refuse(fmt::format("{} asks for an answer that no packet holds", command->name));
  TakeGpadlNumber(served->request.get());
  served->call = {command, head->process, *adapter, served->request.get(), served->reply.get(), !answer};
  Served* const on_its_way = served.release();  // until Complete
  backend_->Submit(on_its_way->call, {&Served::Complete, on_its_way});
}

// -- Events ---------------------------------------------------------------------------------------

std::shared_ptr<Port> VmbusSession::GlobalPort() {
  std::lock_guard lock(mutex_);
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
  std::lock_guard lock(mutex_);
  Function function{++last_function_, ++last_relid_, adapter, {}, false};
  std::memcpy(function.instance.bytes.data(), &adapter.luid, sizeof(adapter.luid));
  std::memcpy(function.instance.bytes.data() + 8, &adapter.address, sizeof(adapter.address));
  channels_[function.relid].adapter = adapter.address;
  functions_.push_back(function);
  if (offered_) Tell(function);
}

void VmbusSession::AdapterStopped(uint64_t luid) {
  std::lock_guard lock(mutex_);
  for (const Function& function : functions_) {
    if (function.adapter.luid != luid || function.gone) continue;
    link::Rescind rescind;
    rescind.relid = function.relid;
    (void)socket_->Tell(rescind);
  }
}

// What the guest has not open is forgotten, the rest when it closes it.
void VmbusSession::AdapterRemoved(uint64_t luid) {
  std::lock_guard lock(mutex_);
  std::erase_if(functions_, [&](Function& function) {
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
