#include "hostsim/serve/socket_session.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <utility>

#include "base/page.h"
#include "base/printable.h"
#include "hostsim/backend/in_process.h"
#include "hostsim/machine/machine.h"
#include "hostsim/serve/recorded_host.h"
#include "hostsim/serve/served_call.h"
#include "link/host_control.h"
#include "link/socket/messages.h"
#include "proto/contract/contract.h"

namespace dxg::hostsim::serve {
namespace {

using protocol::FromHost;
using protocol::ToHost;

// Of one device. Each list has a descriptor, of which others want some too.
constexpr uint32_t kListsMax = 4096;

}  // namespace

class SocketSession::Served final : public ServedCall {
 public:
  Served(SocketSession& session, const contract::CommandRow& command, uint64_t number, uint64_t request_bytes)
      : ServedCall(command), session_(session), number_(number), request_bytes_(request_bytes) {}

  void Answer(const Status& transport) override {
    --session_.waiting_;
    session_.waiting_bytes_ -= request_bytes_;
    if (asynchronous()) return;
    socket::Connection& connection = session_.connection_;
    if (transport.ok() && connection.SendPacket(socket::MakeAnswer(number_, *reply))) return;
    FromHost message;
    protocol::Answer& answer = *message.mutable_answer();
    answer.set_number(number_);
    if (transport.ok()) {
      reply->SerializeToString(answer.mutable_reply());
    } else {
      answer.set_error(static_cast<uint32_t>(-transport.value()));
      answer.set_why(transport.why());
    }
    (void)connection.Send(message);
  }

 private:
  SocketSession& session_;
  const uint64_t number_, request_bytes_;
};

// Memory of a client. The file came from the device, which may have sent anything.
class SocketSession::FilePages final : public ClientPages {
 public:
  FilePages(std::shared_ptr<UniqueFd> file, uint64_t offset, uint64_t size)
      : file_(std::move(file)), offset_(offset), size_(size) {}
  uint64_t size() const override { return size_; }
  bool Read(uint64_t offset, std::span<std::byte> to) override {
    return Has(offset, to.size()) &&
           pread(file_->get(), to.data(), to.size(), At(offset)) == static_cast<ssize_t>(to.size());
  }
  bool Write(uint64_t offset, std::span<const std::byte> from) override {
    return Has(offset, from.size()) &&
           pwrite(file_->get(), from.data(), from.size(), At(offset)) == static_cast<ssize_t>(from.size());
  }
  bool Frames(uint64_t, std::span<uint64_t>) override { return false; }

 private:
  bool Has(uint64_t offset, uint64_t size) const { return offset <= size_ && size <= size_ - offset; }
  off_t At(uint64_t offset) const { return static_cast<off_t>(offset_ + offset); }

  const std::shared_ptr<UniqueFd> file_;
  const uint64_t offset_, size_;
};

// -- The connection -------------------------------------------------------------------------------

SocketSession::SocketSession(UniqueFd connection, std::string name,
                             std::vector<ControlRequest::AddAdapter> defaults, std::string scenario,
                             std::shared_ptr<trace::Recording> recording, uint32_t guest)
    : connection_(std::move(connection)),
      name_(std::move(name)),
      defaults_(std::move(defaults)),
      scenario_(std::move(scenario)),
      recording_(std::move(recording)),
      guest_(guest),
      work_(WorkRecorder(recording_)) {}

SocketSession::~SocketSession() {
  if (backend_) backend_->Stop();
}

void SocketSession::Run() {
  const Status why = Serve();
  spdlog::info("{}: over: {}", name_, Printable(why.why()));
  connection_.Close();
  if (backend_) backend_->Stop();
}

Status SocketSession::Serve() {
  constexpr int kWithoutEnd = -1;
  for (;;) {
    DXG_TRY(connection_.Wait(kWithoutEnd).status());
    DXG_TRY(HandleAll());
  }
}

Status SocketSession::HandleAll() {
  while (const auto incoming = connection_.Next()) {
    if (incoming->packet != nullptr) {
      DXG_TRY(HandleCall(*incoming->packet));
      continue;
    }
    ToHost message;
    std::vector<UniqueFd> descriptors;
    DXG_TRY(socket::ReadFrame(incoming->message, connection_, &message, &descriptors));
    DXG_TRY(Handle(message, std::move(descriptors)));
  }
  return connection_.Check();
}

Status SocketSession::Send(const FromHost& message, std::span<const int> descriptors) {
  return connection_.Send(message, descriptors) ? Status::Ok() : Wrong("the connection broke");
}

Status SocketSession::Handle(const ToHost& message, std::vector<UniqueFd> descriptors) {
  if (message.has_hello() != (backend_ == nullptr))
    return Wrong(backend_ ? "it greeted twice" : "it did not greet first");
  switch (message.what_case()) {
    case ToHost::kHello:
      return Greet(message.hello(), std::move(descriptors));
    case ToHost::kCalls:
      for (const protocol::Call& call : message.calls().calls()) {
        DXG_TRY(Submit({call.number(), call.command(), call.process(), call.adapter(),
                        std::as_bytes(std::span(call.request()))}));
      }
      return Status::Ok();
    case ToHost::kQuestion:
      return Answer(message.question(), std::move(descriptors));
    case ToHost::kRemoveClientPages:
      if (lists_.erase(message.remove_client_pages()) == 0)
        return Wrong("it removed client pages that it had not added");
      backend_->RemoveClientPages(message.remove_client_pages());
      return Status::Ok();
    case ToHost::kPing: {
      FromHost pong;
      pong.set_pong(message.ping());
      return Send(pong);
    }
    case ToHost::WHAT_NOT_SET:  // of a later version
      return Status::Ok();
  }
  return Status::Ok();
}

Status SocketSession::Greet(const protocol::Hello& hello, std::vector<UniqueFd> descriptors) {
  FromHost answer;
  answer.mutable_hello()->set_version(socket::kProtocolVersion);
  answer.mutable_hello()->set_program("dxg-hostsim");
  const auto refuse = [&](const std::string& why) {
    answer.mutable_hello()->set_refused(why);
    (void)connection_.Send(answer);
    return Wrong(why);
  };
  if (hello.version() != socket::kProtocolVersion)
    return refuse(fmt::format("version {} of the protocol; this host speaks {}", hello.version(),
                              socket::kProtocolVersion));
  if (hello.adapters_size() > static_cast<int>(kAdaptersMax))
    return refuse(
        fmt::format("{} adapters are more than {}, which is the most", hello.adapters_size(), kAdaptersMax));
  std::vector<ControlRequest::AddAdapter> adapters(hello.adapters().begin(), hello.adapters().end());
  if (adapters.empty()) adapters = defaults_;
  for (ControlRequest::AddAdapter& adapter : adapters) {
    if (!hello.scenario().empty()) adapter.set_scenario(hello.scenario());
  }
  Result<std::unique_ptr<Backend>> backend = CreateInProcessBackendOf(
      std::move(adapters), hello.scenario().empty() ? scenario_ : hello.scenario(), {.work = work_.get()});
  if (!backend.ok()) return refuse(backend.status().why());
  std::unique_ptr<socket::Rings> rings;
  if (socket::Has(hello, socket::kFeatureRings)) {
    auto taken = socket::Rings::Take(std::move(descriptors));
    if (!taken.ok()) return refuse(taken.status().why());
    rings = *std::move(taken);
    answer.mutable_hello()->add_features(socket::kFeatureRings);
  }
  DXG_TRY(Send(answer));
  if (rings) connection_.UseRings(std::move(rings));
  backend_ = Recorded(*std::move(backend), recording_, guest_);
  if (Status status = backend_->Start(this); !status.ok()) return refuse(status.why());
  spdlog::info("{}: {} is served", name_, Printable(hello.program()));
  FromHost started;
  started.mutable_started();
  return Send(started);
}

// -- Calls ----------------------------------------------------------------------------------------

Status SocketSession::HandleCall(const vmbus::Packet& packet) {
  const auto call = socket::IsCall(packet) ? socket::ReadCall(packet) : std::nullopt;
  return call ? Submit(*call) : Wrong("it put a packet into the ring that is no call");
}

Status SocketSession::Submit(const socket::CallPacket& call) {
  const contract::CommandRow* command = contract::FindHostCommand(call.command);
  if (!command) return Wrong(fmt::format("it sent command {}, which there is not", call.command));
  const uint64_t bytes = call.request.size();
  auto served = std::make_unique<Served>(*this, *command, call.number, bytes);
  if (!served->request->ParseFromArray(call.request.data(), static_cast<int>(bytes)))
    return Wrong(fmt::format("it sent a {} that cannot be read", command->name));
  if (waiting_ >= kWaitingMax)
    return Wrong(fmt::format("{} of its calls wait, which is the most", kWaitingMax));
  if (bytes > kWaitingBytesMax - waiting_bytes_)
    return Wrong(fmt::format("the requests of its calls that wait have more than {} bytes, which is the most",
                             kWaitingBytesMax));
  ++waiting_;
  waiting_bytes_ += bytes;
  ServedCall::Submit(std::move(served), *backend_, call.process, call.adapter, call.number == 0);
  return Status::Ok();
}

// -- Questions ------------------------------------------------------------------------------------

Status SocketSession::Answer(const protocol::Question& question, std::vector<UniqueFd> descriptors) {
  switch (question.what_case()) {
    case protocol::Question::kRegionAt:
      return SendRegion(question.number(), backend_->FindRegion(WindowAddress(question.region_at())));
    case protocol::Question::kHomeOf:
      return SendRegion(question.number(), backend_->HomeRegion(question.home_of()));
    case protocol::Question::kShared:
      return SendRegion(question.number(), backend_->FindShared(question.shared().nt_handle(),
                                                                question.shared().allocation_index()));
    case protocol::Question::kControl: {
      FromHost message;
      message.mutable_controlled()->set_number(question.number());
      backend_->control()->Serve(question.control(), message.mutable_controlled()->mutable_reply());
      return Send(message);
    }
    case protocol::Question::kAddClientPages: {
      FromHost message;
      message.mutable_listed()->set_number(question.number());
      message.mutable_listed()->set_list(AddPages(question.add_client_pages(), std::move(descriptors)));
      return Send(message);
    }
    case protocol::Question::WHAT_NOT_SET:
      break;
  }
  return SendRegion(question.number(), std::nullopt);  // of a later version: there is nothing
}

Status SocketSession::SendRegion(uint64_t number, const std::optional<HostRegion>& region) {
  FromHost message;
  protocol::Region& answer = *message.mutable_region();
  answer.set_number(number);
  if (!region || region->file < 0) return Send(message);
  message.set_descriptors(1);
  answer.set_window_address(region->window_address.value);
  answer.set_size(region->size);
  answer.set_file_offset(region->file_offset);
  answer.set_cookie(region->cookie);
  const int descriptors[] = {region->file};
  return Send(message, descriptors);
}

// Pages of one file share a descriptor, however many lists they are in.
std::shared_ptr<UniqueFd> SocketSession::FileOf(uint64_t number, UniqueFd descriptor) {
  if (number == 0) return std::make_shared<UniqueFd>(std::move(descriptor));
  if (auto known = files_[number].lock()) return known;
  if (files_.size() > 2 * lists_.size() + 16) {
    std::erase_if(files_,
                  [number](const auto& file) { return file.first != number && file.second.expired(); });
  }
  auto file = std::make_shared<UniqueFd>(std::move(descriptor));
  files_[number] = file;
  return file;
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
  Result<uint32_t> list = backend_->AddClientPages(std::make_shared<FilePages>(
      FileOf(pages.file_number(), std::move(descriptors[0])), pages.file_offset(), pages.size()));
  if (!list.ok()) return 0;
  lists_.insert(*list);
  return *list;
}

// -- Events ---------------------------------------------------------------------------------------

void SocketSession::AdapterArrived(const HostAdapter& adapter) {
  FromHost message;
  *message.mutable_adapter_arrived() = socket::ToMessage(adapter);
  (void)connection_.Send(message);
}

void SocketSession::AdapterStopped(uint64_t luid) {
  FromHost message;
  message.set_adapter_stopped(luid);
  (void)connection_.Send(message);
}

void SocketSession::AdapterRemoved(uint64_t luid) {
  FromHost message;
  message.set_adapter_removed(luid);
  (void)connection_.Send(message);
}

void SocketSession::DeviceStateChanged(uint64_t cookie) {
  FromHost message;
  message.set_device_state_changed(cookie);
  (void)connection_.Send(message);
}

void SocketSession::GuestEvent(uint64_t event) {
  FromHost message;
  message.set_guest_event(event);
  (void)connection_.Send(message);
}

}  // namespace dxg::hostsim::serve
