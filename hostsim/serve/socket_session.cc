#include "hostsim/serve/socket_session.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/page.h"
#include "base/printable.h"
#include "hostsim/backend/in_process.h"
#include "hostsim/machine/machine.h"
#include "link/host_control.h"
#include "proto/contract/contract.h"

namespace dxg::hostsim::serve {
namespace {

using protocol::FromHost;
using protocol::ToHost;

// Of one device. Each list has a descriptor, of which others want some too.
constexpr uint32_t kListsMax = 4096;

}  // namespace

// A call on its way through the host.
struct SocketSession::Served {
  SocketSession* session;
  uint64_t number;
  HostCall call;
  std::unique_ptr<google::protobuf::Message> request, reply;
  uint64_t request_bytes;

  static void Complete(void* context, Status transport) {
    const std::unique_ptr<Served> served(static_cast<Served*>(context));
    --served->session->waiting_;
    served->session->waiting_bytes_ -= served->request_bytes;
    if (served->call.asynchronous) return;
    socket::Connection& channel = served->session->channel_;
    if (transport.ok() && channel.SendPacket(socket::MakeAnswer(served->number, *served->reply))) return;
    FromHost message;
    protocol::Answer& answer = *message.mutable_answer();
    answer.set_number(served->number);
    if (transport.ok()) {
      served->reply->SerializeToString(answer.mutable_reply());
    } else {
      answer.set_error(static_cast<uint32_t>(-transport.value()));
      answer.set_why(transport.why());
    }
    (void)channel.Send(message);
  }
};

// Memory of a client. The file came from the device, which may have sent anything.
class SocketSession::FilePages final : public ClientPages {
 public:
  FilePages(UniqueFd file, uint64_t offset, uint64_t size)
      : file_(std::move(file)), offset_(offset), size_(size) {}
  uint64_t size() const override { return size_; }
  bool Read(uint64_t offset, std::span<std::byte> to) override {
    return Has(offset, to.size()) &&
           pread(file_.get(), to.data(), to.size(), At(offset)) == static_cast<ssize_t>(to.size());
  }
  bool Write(uint64_t offset, std::span<const std::byte> from) override {
    return Has(offset, from.size()) &&
           pwrite(file_.get(), from.data(), from.size(), At(offset)) == static_cast<ssize_t>(from.size());
  }
  bool Frames(uint64_t, std::span<uint64_t>) override { return false; }

 private:
  bool Has(uint64_t offset, uint64_t size) const { return offset <= size_ && size <= size_ - offset; }
  off_t At(uint64_t offset) const { return static_cast<off_t>(offset_ + offset); }

  const UniqueFd file_;
  const uint64_t offset_, size_;
};

// -- The connection -------------------------------------------------------------------------------

SocketSession::SocketSession(UniqueFd connection, std::string name,
                             std::vector<ControlRequest::AddAdapter> defaults)
    : channel_(std::move(connection)), name_(std::move(name)), defaults_(std::move(defaults)) {}

SocketSession::~SocketSession() {
  if (backend_) backend_->Stop();
}

bool SocketSession::Wrong(std::string why) {
  why_ = std::move(why);
  return false;
}

void SocketSession::Run() {
  constexpr int kWithoutEnd = -1;
  socket::Woken woken;
  while (channel_.Wait(kWithoutEnd, &woken, &why_) && HandleAll()) {
  }
  spdlog::info("{}: over: {}", name_, Printable(why_));
  channel_.Close();
  if (backend_) backend_->Stop();
}

bool SocketSession::HandleAll() {
  while (const auto incoming = channel_.Next()) {
    if (incoming->packet != nullptr) {
      if (!HandleCall(*incoming->packet)) return false;
      continue;
    }
    ToHost message;
    const std::span<const std::byte> frame = incoming->message;
    if (!message.ParseFromArray(frame.data(), static_cast<int>(frame.size())))
      return Wrong("it sent a frame that is no message");
    std::vector<UniqueFd> descriptors;
    for (uint32_t i = 0; i < message.descriptors(); ++i) {
      descriptors.push_back(channel_.TakeDescriptor());
      if (!descriptors.back().valid()) return Wrong("it announced descriptors that did not come");
    }
    if (!Handle(message, std::move(descriptors))) return false;
  }
  const std::string broken = channel_.broken();
  return broken.empty() || Wrong(broken);
}

bool SocketSession::Handle(const ToHost& message, std::vector<UniqueFd> descriptors) {
  if (message.has_hello() != (backend_ == nullptr))
    return Wrong(backend_ ? "it greeted twice" : "it did not greet first");
  switch (message.what_case()) {
    case ToHost::kHello:
      return Greet(message.hello(), std::move(descriptors));
    case ToHost::kCalls:
      for (const protocol::Call& call : message.calls().calls()) {
        if (!Submit({call.number(), call.command(), call.process(), call.adapter(),
                     std::as_bytes(std::span(call.request()))}))
          return false;
      }
      return true;
    case ToHost::kQuestion:
      return Answer(message.question(), std::move(descriptors));
    case ToHost::kRemoveClientPages:
      if (lists_.erase(message.remove_client_pages()) == 0)
        return Wrong("it removed client pages that it had not added");
      backend_->RemoveClientPages(message.remove_client_pages());
      return true;
    case ToHost::kPing: {
      FromHost pong;
      pong.set_pong(message.ping());
      return channel_.Send(pong);
    }
    case ToHost::WHAT_NOT_SET:  // of a later version
      return true;
  }
  return true;
}

bool SocketSession::Greet(const protocol::Hello& hello, std::vector<UniqueFd> descriptors) {
  FromHost answer;
  answer.mutable_hello()->set_version(socket::kProtocolVersion);
  answer.mutable_hello()->set_program("hostsim");
  const auto refuse = [&](const std::string& why) {
    answer.mutable_hello()->set_refused(why);
    (void)channel_.Send(answer);
    return Wrong(why);
  };
  if (hello.version() != socket::kProtocolVersion)
    return refuse(fmt::format("version {} of the protocol; this host speaks {}", hello.version(),
                              socket::kProtocolVersion));
  if (hello.adapters_size() > static_cast<int>(kAdaptersMax))
    return refuse(
        fmt::format("{} adapters are more than {}, which is the most", hello.adapters_size(), kAdaptersMax));
  const std::vector<ControlRequest::AddAdapter> asked(hello.adapters().begin(), hello.adapters().end());
  Result<std::unique_ptr<Backend>> backend = CreateInProcessBackendOf(asked.empty() ? defaults_ : asked);
  if (!backend.ok()) return refuse(backend.status().why());
  std::unique_ptr<socket::Rings> rings;
  if (socket::Has(hello, socket::kFeatureRings)) {
    auto taken = socket::Rings::Take(std::move(descriptors));
    if (!taken.ok()) return refuse(taken.status().why());
    rings = *std::move(taken);
    answer.mutable_hello()->add_features(socket::kFeatureRings);
  }
  if (!channel_.Send(answer)) return Wrong("the connection broke");
  if (rings) channel_.UseRings(std::move(rings));
  backend_ = *std::move(backend);
  if (Status status = backend_->Start(this); !status.ok()) return refuse(status.why());
  spdlog::info("{}: {} is served", name_, Printable(hello.program()));
  FromHost started;
  started.mutable_started();
  return channel_.Send(started);
}

// -- Calls ----------------------------------------------------------------------------------------

bool SocketSession::HandleCall(const vmbus::Packet& packet) {
  const auto call = socket::IsCall(packet) ? socket::ReadCall(packet) : std::nullopt;
  return call ? Submit(*call) : Wrong("it put a packet into the ring that is no call");
}

bool SocketSession::Submit(const socket::CallPacket& call) {
  const contract::HostCommand* command = contract::FindHostCommand(call.command);
  if (!command) return Wrong(fmt::format("it sent command {}, which there is not", call.command));
  auto served = std::make_unique<Served>();
  served->session = this;
  served->number = call.number;
  served->request.reset(command->request->New());
  served->reply.reset(command->reply->New());
  if (!served->request->ParseFromArray(call.request.data(), static_cast<int>(call.request.size())))
    return Wrong(fmt::format("it sent a {} that cannot be read", command->name));
  if (waiting_ >= kWaitingMax)
    return Wrong(fmt::format("{} of its calls wait, which is the most", kWaitingMax));
  const uint64_t bytes = call.request.size();
  if (bytes > kWaitingBytesMax - waiting_bytes_)
    return Wrong(fmt::format("the requests of its calls that wait have more than {} bytes, which is the most",
                             kWaitingBytesMax));
  ++waiting_;
  waiting_bytes_ += served->request_bytes = bytes;
  served->call = {command,         call.process, call.adapter, served->request.get(), served->reply.get(),
                  call.number == 0};
  Served* const on_its_way = served.release();  // until Complete
  backend_->Submit(on_its_way->call, {&Served::Complete, on_its_way});
  return true;
}

// -- Questions ------------------------------------------------------------------------------------

bool SocketSession::Answer(const protocol::Question& question, std::vector<UniqueFd> descriptors) {
  switch (question.what_case()) {
    case protocol::Question::kRegionAt:
      return SendRegion(question.number(), backend_->FindRegion(question.region_at()));
    case protocol::Question::kHomeOf:
      return SendRegion(question.number(), backend_->HomeRegion(question.home_of()));
    case protocol::Question::kShared:
      return SendRegion(question.number(), backend_->FindShared(question.shared().nt_handle(),
                                                                question.shared().allocation_index()));
    case protocol::Question::kControl: {
      FromHost message;
      message.mutable_controlled()->set_number(question.number());
      backend_->control()->Serve(question.control(), message.mutable_controlled()->mutable_reply());
      return channel_.Send(message);
    }
    case protocol::Question::kAddClientPages: {
      FromHost message;
      message.mutable_listed()->set_number(question.number());
      message.mutable_listed()->set_list(AddPages(question.add_client_pages(), std::move(descriptors)));
      return channel_.Send(message);
    }
    case protocol::Question::WHAT_NOT_SET:
      break;
  }
  return SendRegion(question.number(), std::nullopt);  // of a later version: there is nothing
}

bool SocketSession::SendRegion(uint64_t number, const std::optional<HostRegion>& region) {
  FromHost message;
  protocol::Region& answer = *message.mutable_region();
  answer.set_number(number);
  if (!region || region->file < 0) return channel_.Send(message);
  message.set_descriptors(1);
  answer.set_window_address(region->window_address);
  answer.set_size(region->size);
  answer.set_file_offset(region->file_offset);
  answer.set_cookie(region->cookie);
  const int descriptors[] = {region->file};
  return channel_.Send(message, descriptors);
}

uint32_t SocketSession::AddPages(const protocol::ClientPages& pages, std::vector<UniqueFd> descriptors) {
  const uint64_t end = pages.file_offset() + pages.size();
  const bool whole =
      pages.size() != 0 && pages.size() % kPageBytes == 0 && end > pages.file_offset() && end <= INT64_MAX;
  if (!whole || descriptors.size() != 1 || lists_.size() >= kListsMax) {
    spdlog::warn("{}: {} bytes of client pages are refused (whole pages of one file, at most {} lists)",
                 name_, pages.size(), kListsMax);
    return 0;
  }
  Result<uint32_t> list = backend_->AddClientPages(
      std::make_shared<FilePages>(std::move(descriptors[0]), pages.file_offset(), pages.size()));
  if (!list.ok()) return 0;
  lists_.insert(*list);
  return *list;
}

// -- Events ---------------------------------------------------------------------------------------

void SocketSession::AdapterArrived(const HostAdapter& adapter) {
  FromHost message;
  protocol::AdapterInfo& info = *message.mutable_adapter_arrived();
  info.set_luid(adapter.luid);
  info.set_host_luid(adapter.host_luid);
  info.set_address(adapter.address);
  info.set_host_handle(adapter.host_handle);
  info.set_interface_version(adapter.interface_version);
  info.set_compute_only(adapter.compute_only);
  info.set_async_messages(adapter.async_messages);
  (void)channel_.Send(message);
}

void SocketSession::AdapterStopped(uint64_t luid) {
  FromHost message;
  message.set_adapter_stopped(luid);
  (void)channel_.Send(message);
}

void SocketSession::AdapterRemoved(uint64_t luid) {
  FromHost message;
  message.set_adapter_removed(luid);
  (void)channel_.Send(message);
}

void SocketSession::DeviceStateChanged(uint64_t cookie) {
  FromHost message;
  message.set_device_state_changed(cookie);
  (void)channel_.Send(message);
}

void SocketSession::GuestEvent(uint64_t event) {
  FromHost message;
  message.set_guest_event(event);
  (void)channel_.Send(message);
}

}  // namespace dxg::hostsim::serve
