#include "cuse-dxg/backend/socket/socket_backend.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <deque>
#include <map>
#include <new>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "base/patience.h"
#include "base/printable.h"
#include "base/relay.h"
#include "base/status.h"
#include "cuse-dxg/backend/socket/call_batch.h"
#include "cuse-dxg/backend/socket/region_files.h"
#include "cuse-dxg/backend/socket/reply_check.h"
#include "link/host_control.h"
#include "link/liveness.h"
#include "link/pending_calls.h"
#include "link/profile_file.h"
#include "link/questions.h"
#include "link/socket/connection.h"
#include "link/socket/messages.h"
#include "link/socket/packets.h"
#include "proto/abi/interface.h"
#include "proto/dxg/protocol.pb.h"

namespace dxg {
namespace {

using google::protobuf::Message;
using protocol::FromHost;
using protocol::ToHost;
using socket::Connection;

constexpr std::chrono::seconds kStartMax{10};

Status Lost() { return Status::Refuse(ENODEV, "the host process is gone"); }

// Of an answer to a question; 0: it is none.
uint64_t AnswerNumber(const FromHost& message) {
  if (message.has_region()) return message.region().number();
  if (message.has_controlled()) return message.controlled().number();
  if (message.has_listed()) return message.listed().number();
  return 0;
}

class SocketBackend final : public Backend, public HostControl {
 public:
  SocketBackend(UniqueFd socket, protocol::Hello hello, std::chrono::milliseconds patience,
                std::unique_ptr<socket::Rings> rings)
      : wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        connection_(std::move(socket), wake_.get()),
        hello_(std::move(hello)),
        patience_(patience),
        rings_(std::move(rings)),
        liveness_(patience) {}
  ~SocketBackend() override { Stop(); }

  // Backend
  HostControl* control() override { return this; }
  Status Start(BackendEvents* events) override;
  void Stop() override;
  void Submit(const HostCall& call, Completion completion) override;
  std::optional<HostRegion> FindRegion(WindowAddress address) override {
    protocol::Question question;
    question.set_region_at(address.value);
    const auto region = AskForRegion(std::move(question));
    const bool around =
        region && address >= region->window_address && address - region->window_address < region->size;
    return around ? region : std::nullopt;
  }
  std::optional<HostRegion> HomeRegion(uint32_t process) override {
    protocol::Question question;
    question.set_home_of(process);
    return AskForRegion(std::move(question));
  }
  std::optional<HostRegion> FindShared(uint32_t nt_handle, uint32_t allocation_index) override {
    protocol::Question question;
    question.mutable_shared()->set_nt_handle(nt_handle);
    question.mutable_shared()->set_allocation_index(allocation_index);
    return AskForRegion(std::move(question));
  }
  Result<uint32_t> AddClientPages(std::shared_ptr<ClientPages> pages) override;
  void RemoveClientPages(uint32_t list) override;

  // HostControl
  void Serve(const ControlRequest& request, ControlReply* reply) override;

 private:
  struct Received {
    FromHost message;
    std::vector<UniqueFd> descriptors;
  };

  bool SendBatch() DXG_REQUIRES(sending_);
  bool Send(const ToHost& message, std::span<const int> descriptors = {}) DXG_EXCLUDES(sending_);
  bool Enter(const HostCall& call, Completion completion, uint64_t number) DXG_REQUIRES(sending_);
  uint32_t VersionOf(uint64_t adapter) DXG_EXCLUDES(mutex_);
  void WakeReader();
  bool IsReader() const { return reader_.IsMine() || std::this_thread::get_id() == starter_; }
  bool Ask(protocol::Question question, Received* received, std::span<const int> descriptors = {});
  std::optional<HostRegion> AskForRegion(protocol::Question question);
  bool Answers(Received& received);

  bool Run();
  bool PollOnce();
  bool Next(socket::Incoming* incoming);
  bool Read(const socket::Incoming& incoming, Received* received);
  std::optional<socket::AnswerPacket> ReadAnswerPacket(const vmbus::Packet& packet);
  bool HandleAll();
  bool Handle(Received received);
  bool HandleAnswer(const protocol::Answer& answer);
  bool EndCall(uint64_t number, Status transport, std::span<const std::byte> reply);
  bool CheckAlive();
  void Lose();
  void Cut();
  void EndCalls();
  void Release();

  // There is a batch to be sent. Reset, with sending_ held, when nothing is entered any more: the reader
  // reads it without the lock, which clang cannot be told.
  UniqueFd wake_;
  Connection connection_;
  const protocol::Hello hello_;
  const std::chrono::milliseconds patience_;
  BackendEvents* events_ = nullptr;
  // What it calls back may touch clients' memory, which may never answer.
  Relay reader_;
  std::atomic<std::thread::id> starter_{};  // reads until reader_ does
  std::atomic<bool> stopping_{false};

  // The order of sending is the order of submission. Held while mutex_, and those of pending_ and of the
  // connection, are taken; none of them is held while another is.
  Mutex sending_ DXG_ACQUIRED_BEFORE(mutex_);
  CallBatch batch_ DXG_GUARDED_BY(sending_);

  Mutex mutex_;
  std::map<uint64_t, uint32_t> versions_ DXG_GUARDED_BY(mutex_);  // by an adapter's address

  std::atomic<uint64_t> last_number_{0};  // of calls and questions
  PendingCalls pending_;
  Questions<Received> questions_;
  RegionFiles files_;

  // The reader's.
  std::deque<Received> deferred_;
  std::string why_lost_;
  bool told_lost_ = false;
  std::unique_ptr<socket::Rings> rings_;  // until the host has agreed
  bool started_ = false;
  Liveness liveness_;
  uint64_t pings_ = 0;
  std::vector<std::byte> wire_;
};

// -- Sending --------------------------------------------------------------------------------------

bool SocketBackend::SendBatch() {
  if (batch_.empty()) return true;
  const bool sent = connection_.Send(batch_.message());
  batch_.Clear();
  return sent;
}

bool SocketBackend::Send(const ToHost& message, std::span<const int> descriptors) {
  MutexLock lock(sending_);
  return SendBatch() && connection_.Send(message, descriptors);
}

uint32_t SocketBackend::VersionOf(uint64_t adapter) {
  MutexLock lock(mutex_);
  const auto version = versions_.find(adapter);
  return version != versions_.end() ? version->second
                                    : kInterfaceVersionNewest;  // of commands that belong to no adapter
}

// False: there is no host any more.
bool SocketBackend::Enter(const HostCall& call, Completion completion, uint64_t number) {
  if (stopping_) return false;
  if (call.asynchronous) return !pending_.closed();
  return pending_.Enter(number, {call, VersionOf(call.adapter), completion});
}

// Never waits. An asynchronous call travels with those that come before the socket's thread gets to it, or
// with the next message of another kind. Where it cannot be sent, the reader hears of that and ends
// everything.
void SocketBackend::Submit(const HostCall& call, Completion completion) {
  const bool asynchronous = call.asynchronous;  // once it is sent it may be over, and the call gone
  uint64_t number = 0;
  bool entered = false;
  {
    MutexLock lock(sending_);
    if (!asynchronous) number = ++last_number_;
    entered = Enter(call, completion, number);
    const auto sent_alone = [&]() DXG_REQUIRES(sending_) {
      return SendBatch() && connection_.SendPacket(socket::MakeCall(
                                {number, call.command->id, call.process, call.adapter, {}}, *call.request));
    };
    const int waiting = batch_.size();
    try {
      if (entered && (asynchronous || !sent_alone())) {
        batch_.Add(call, number);
        if (!asynchronous || batch_.full()) {
          SendBatch();
        } else if (batch_.size() == 1) {
          WakeReader();
        }
      }
    } catch (const std::bad_alloc&) {
      // The caller lets go of the call: neither the host nor an answer may find it.
      if (batch_.size() > waiting) batch_.RemoveLast();
      if (asynchronous || pending_.Take(number)) throw;
      return;
    }
  }
  if (!entered) return completion.run(completion.context, Lost());
  if (!asynchronous) return;
  call.reply->Clear();
  completion.run(completion.context, Status::Ok());
}

void SocketBackend::WakeReader() {
  const uint64_t one = 1;
  (void)!write(wake_.get(), &one, sizeof(one));
}

// -- Questions ------------------------------------------------------------------------------------

// The reader itself asks from inside a completion: then it reads on, and keeps for later what is not the
// answer. A host that is there and does not answer is as good as lost.
bool SocketBackend::Ask(protocol::Question question, Received* received, std::span<const int> descriptors) {
  if (stopping_) return false;
  const uint64_t number = ++last_number_;
  Questions<Received>::Question asked(questions_, [number, received](Received& came) {
    if (AnswerNumber(came.message) != number) return false;
    *received = std::move(came);
    return true;
  });
  if (!asked.open()) return false;
  question.set_number(number);
  ToHost message;
  *message.mutable_question() = std::move(question);
  message.set_descriptors(static_cast<uint32_t>(descriptors.size()));
  const auto limit = 2 * patience_;
  bool there = Send(message, descriptors);
  if (IsReader()) {
    RealPatience patience(limit, liveness_.look_after());
    while (there && !asked.answered()) {
      there = PollOnce();
      Received next;
      for (socket::Incoming incoming; there && Next(&incoming) && Read(incoming, &next);) {
        if (!Answers(next)) deferred_.push_back(std::move(next));
      }
      there = there && why_lost_.empty() && !patience.IsOver();
    }
    if (!asked.answered() && why_lost_.empty()) why_lost_ = "it does not answer a question";
  } else if (!asked.WaitFor(limit)) {
    connection_.Close();  // the reader hears of it
  }
  return asked.End();
}

// True: somebody waited for it, and has it.
bool SocketBackend::Answers(Received& received) {
  return AnswerNumber(received.message) != 0 && questions_.Answer(received);
}

std::optional<HostRegion> SocketBackend::AskForRegion(protocol::Question question) {
  Received received;
  const bool answered = Ask(std::move(question), &received) && received.message.has_region();
  if (!answered || received.descriptors.size() != 1) return std::nullopt;
  return files_.Take(received.message.region(), std::move(received.descriptors[0]));
}

void SocketBackend::Serve(const ControlRequest& request, ControlReply* reply) {
  protocol::Question question;
  *question.mutable_control() = request;
  Received received;
  if (Ask(std::move(question), &received) && received.message.has_controlled()) {
    *reply = received.message.controlled().reply();
  } else {
    reply->set_error("the host process is gone");
  }
}

// -- Memory of clients ----------------------------------------------------------------------------

Result<uint32_t> SocketBackend::AddClientPages(std::shared_ptr<ClientPages> pages) {
  const std::optional<ClientFile> file = pages->file();
  if (!file) return Status::Refuse(ENOMEM, "these pages of the client cannot be given to another process");
  protocol::Question question;
  question.mutable_add_client_pages()->set_file_offset(file->offset);
  question.mutable_add_client_pages()->set_size(pages->size());
  question.mutable_add_client_pages()->set_file_number(file->number);
  const int descriptors[] = {file->descriptor};
  Received received;
  if (!Ask(std::move(question), &received, descriptors)) return Lost();
  const uint32_t list = received.message.listed().list();
  if (list == 0) return Status::Refuse(ENOMEM, "the host takes no more pages of clients");
  return list;
}

void SocketBackend::RemoveClientPages(uint32_t list) {
  ToHost message;
  message.set_remove_client_pages(list);
  (void)Send(message);
}

// -- The reader -----------------------------------------------------------------------------------

// Sends what waits and takes what has come. False: the connection is over, see why_lost_.
bool SocketBackend::PollOnce() {
  auto woken = connection_.Wait(static_cast<int>(liveness_.look_after().count()));
  if (!woken.ok()) {
    if (why_lost_.empty()) why_lost_ = woken.status().why();
    return false;
  }
  if (woken->other) {
    uint64_t times = 0;
    (void)!read(wake_.get(), &times, sizeof(times));
    MutexLock lock(sending_);
    try {
      (void)SendBatch();
    } catch (const std::bad_alloc&) {
      WakeReader();  // it waits for memory
    }
  }
  if (!woken->heard) return CheckAlive();
  liveness_.Heard();
  return true;
}

// Also where something of ours woke us.
bool SocketBackend::CheckAlive() {
  switch (liveness_.Look()) {
    case Liveness::Verdict::kWait:
      return true;
    case Liveness::Verdict::kAsk: {
      ToHost message;
      message.set_ping(++pings_);
      return Send(message);
    }
    case Liveness::Verdict::kSilent:
      break;
  }
  if (connection_.HasMore()) return true;
  why_lost_ = fmt::format("it has not answered for {} ms", patience_.count());
  return false;
}

// False: nothing more has come, or it makes no sense, see why_lost_.
bool SocketBackend::Next(socket::Incoming* incoming) {
  const auto next = connection_.Next();
  if (!next) {
    if (why_lost_.empty()) why_lost_ = connection_.Check().why();
    return false;
  }
  liveness_.Heard();  // what is in a ring also comes while nobody waits
  *incoming = *next;
  return true;
}

// As something to keep. False: it makes no sense.
bool SocketBackend::Read(const socket::Incoming& incoming, Received* received) {
  *received = {};
  if (incoming.packet != nullptr) {
    const auto answer = ReadAnswerPacket(*incoming.packet);
    if (!answer) return false;
    received->message.mutable_answer()->set_number(answer->number);
    received->message.mutable_answer()->set_reply(answer->reply.data(), answer->reply.size());
    return true;
  }
  const Status read =
      socket::ReadFrame(incoming.message, connection_, &received->message, &received->descriptors);
  if (!read.ok()) why_lost_ = read.why();
  return read.ok();
}

std::optional<socket::AnswerPacket> SocketBackend::ReadAnswerPacket(const vmbus::Packet& packet) {
  const auto answer = socket::IsAnswer(packet) ? socket::ReadAnswer(packet) : std::nullopt;
  if (!answer) why_lost_ = "it put a packet into the ring that is no answer";
  return answer;
}

// False: the connection is over.
bool SocketBackend::HandleAll() {
  for (;;) {
    socket::Incoming incoming;
    bool fine = true;
    if (!deferred_.empty()) {
      Received next = std::move(deferred_.front());
      deferred_.pop_front();
      fine = Handle(std::move(next));
    } else if (!Next(&incoming)) {
      return why_lost_.empty();
    } else if (incoming.packet != nullptr) {
      const auto answer = ReadAnswerPacket(*incoming.packet);
      fine = answer && EndCall(answer->number, Status::Ok(), answer->reply);
    } else {
      Received next;
      fine = Read(incoming, &next) && Handle(std::move(next));
    }
    if (Relay::Lost() || !fine || !why_lost_.empty()) return false;
  }
}

bool SocketBackend::Handle(Received received) {
  if (Answers(received)) return true;
  const FromHost& message = received.message;
  switch (message.what_case()) {
    case FromHost::kAnswer:
      return HandleAnswer(message.answer());
    case FromHost::kAdapterArrived: {
      {
        MutexLock lock(mutex_);
        versions_[message.adapter_arrived().address()] = message.adapter_arrived().interface_version();
      }
      events_->AdapterArrived(socket::FromMessage(message.adapter_arrived()));
      return true;
    }
    case FromHost::kAdapterStopped:
      events_->AdapterStopped(message.adapter_stopped());
      return true;
    case FromHost::kAdapterRemoved:
      events_->AdapterRemoved(message.adapter_removed());
      return true;
    case FromHost::kDeviceStateChanged:
      events_->DeviceStateChanged(message.device_state_changed());
      return true;
    case FromHost::kGuestEvent:
      events_->GuestEvent(message.guest_event());
      return true;
    case FromHost::kStarted:
      started_ = true;
      return true;
    case FromHost::kHello:
      if (message.hello().refused().empty()) {
        if (socket::Has(message.hello(), socket::kFeatureRings) && rings_)
          connection_.UseRings(std::move(rings_));
        return true;
      }
      why_lost_ = Printable(message.hello().refused());
      return false;
    case FromHost::kPong:
    case FromHost::kRegion:  // nobody waits for it any more
    case FromHost::kControlled:
    case FromHost::kListed:
    case FromHost::WHAT_NOT_SET:  // of a later version
      return true;
  }
  return true;
}

bool SocketBackend::HandleAnswer(const protocol::Answer& answer) {
  Status transport;
  if (answer.error() != 0)
    transport = Status::Refuse(static_cast<int>(std::min<uint32_t>(answer.error(), kErrnoMax)), "{}",
                               Printable(answer.why()));
  return EndCall(answer.number(), std::move(transport), std::as_bytes(std::span(answer.reply())));
}

bool SocketBackend::EndCall(uint64_t number, Status transport, std::span<const std::byte> reply) {
  const auto pending = pending_.Take(number);
  if (!pending) {
    why_lost_ = fmt::format("it answered call {}, which it was not asked or has answered", number);
    return false;
  }
  Message& into = *pending->call.reply;
  const bool fits = !transport.ok() || (into.ParseFromArray(reply.data(), static_cast<int>(reply.size())) &&
                                        ListsFit(pending->call, pending->interface_version, &wire_));
  if (!fits) {
    why_lost_ =
        fmt::format("it answered {} with something that is no answer to it", pending->call.command->name);
    into.Clear();
    transport = Lost();
  }
  pending->completion.run(pending->completion.context, std::move(transport));
  return fits;
}

// True: another thread is the reader now.
bool SocketBackend::Run() {
  while (!stopping_ && HandleAll() && PollOnce()) {
  }
  if (Relay::Lost()) return true;
  Lose();
  return Relay::Lost();
}

void SocketBackend::Lose() {
  Cut();
  if (!stopping_ && !std::exchange(told_lost_, true)) {
    spdlog::error("the host process is lost: {}; its adapters are removed",
                  why_lost_.empty() ? "the connection broke" : why_lost_);
    events_->HostLost();
  }
  EndCalls();
  if (!Relay::Lost()) Release();
}

// From here on nothing is entered.
void SocketBackend::Cut() {
  connection_.Close();
  pending_.Close();
  questions_.End();
}

// One that is in its client's memory takes this thread along, not the others.
void SocketBackend::EndCalls() {
  while (!Relay::Lost()) {
    const auto next = pending_.TakeLeft();
    if (!next) return;
    next->call.reply->Clear();
    next->completion.run(next->completion.context, Lost());
  }
}

// A lost host leaves nothing open, however long what was open on it stays so.
void SocketBackend::Release() {
  deferred_.clear();
  connection_.Release();
  MutexLock lock(sending_);
  wake_.reset();
  batch_ = CallBatch();
}

// -- Start and end --------------------------------------------------------------------------------

Status SocketBackend::Start(BackendEvents* events) {
  events_ = events;
  ToHost message;
  *message.mutable_hello() = hello_;
  RealPatience patience(kStartMax);
  starter_ = std::this_thread::get_id();  // who is told of an adapter may ask about it
  std::array<int, socket::Rings::kDescriptors> descriptors = {};
  std::span<const int> sent;
  if (rings_) {
    message.mutable_hello()->add_features(socket::kFeatureRings);
    descriptors = rings_->descriptors();
    sent = descriptors;
  }
  message.set_descriptors(static_cast<uint32_t>(sent.size()));
  bool there = Send(message, sent);
  while (there && !started_) {
    there = HandleAll() && (started_ || PollOnce());
    if (patience.IsOver() && !started_) {
      why_lost_ = "it does not say that it has started";
      there = false;
    }
  }
  starter_ = std::thread::id();
  if (!there) {
    Cut();
    EndCalls();
    return Status::Refuse(ENODEV, "--backend: the host refuses: {}",
                          why_lost_.empty() ? "the connection broke" : why_lost_);
  }
  if (!reader_.Start([this] { return Run(); })) {
    Cut();
    EndCalls();
    return Status::Refuse(
        EAGAIN, "--backend: no thread can be had to hear the host (ulimit -u, or the machine's limit)");
  }
  return Status::Ok();
}

void SocketBackend::Stop() {
  stopping_ = true;
  connection_.Close();
  reader_.Stop();
}

}  // namespace

Result<std::unique_ptr<Backend>> CreateSocketBackend(const SocketOptions& options) {
  protocol::Hello hello;
  hello.set_version(socket::kProtocolVersion);
  hello.set_program("cuse-dxg");
  for (const std::string& name : options.profiles) {
    DXG_ASSIGN(*hello.add_adapters(), ReadProfileFile(name, "--profile"));
  }
  hello.set_scenario(options.scenario);
  DXG_ASSIGN(UniqueFd connected, socket::Connect(options.path, "--backend=unix"));
  std::unique_ptr<socket::Rings> rings;
  if (options.rings) {
    DXG_ASSIGN(rings, socket::Rings::Make());
  }
  return std::unique_ptr<Backend>(
      new SocketBackend(std::move(connected), std::move(hello), options.patience, std::move(rings)));
}

}  // namespace dxg
