#include "cuse-dxg/backend/socket/socket_backend.h"

#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "base/page.h"
#include "base/printable.h"
#include "cuse-dxg/client/access.h"
#include "link/host_control.h"
#include "link/profile_file.h"
#include "link/socket/connection.h"
#include "link/socket/packets.h"
#include "proto/dxg/protocol.pb.h"

namespace dxg {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using protocol::FromHost;
using protocol::ToHost;
using socket::Connection;

using Clock = std::chrono::steady_clock;

constexpr uint32_t kWireVersion = 40;  // of commands that belong to no adapter
constexpr int kErrnoMax = 4095;
constexpr std::chrono::seconds kStartMax{10};
// Asynchronous calls wait for each other up to here.
constexpr int kBatchMax = 64;
constexpr size_t kBatchBytesMax = 256 * 1024;

Status Lost() { return Status::Refuse(ENODEV, "the host process is gone"); }

HostAdapter ToGuest(const protocol::AdapterInfo& info) {
  HostAdapter adapter;
  adapter.luid = info.luid();
  adapter.host_luid = info.host_luid();
  adapter.address = info.address();
  adapter.host_handle = info.host_handle();
  adapter.interface_version = info.interface_version();
  adapter.compute_only = info.compute_only();
  adapter.async_messages = info.async_messages();
  return adapter;
}

int ElementsOf(const Message& message, const FieldDescriptor* field) {
  if (field->is_repeated()) return message.GetReflection()->FieldSize(message, field);
  std::string scratch;
  return static_cast<int>(message.GetReflection()->GetStringReference(message, field, &scratch).size());
}

bool IsList(const FieldDescriptor* field) {
  return field->is_repeated() || field->type() == FieldDescriptor::TYPE_BYTES;
}

bool HasLists(const contract::HostCommand& command) {
  static const std::vector<bool> has = [] {
    std::vector<bool> each;
    for (const contract::HostCommand& one : contract::HostCommands()) {
      const auto* type = one.reply->GetDescriptor();
      bool any = false;
      for (int i = 0; i < type->field_count(); ++i) any = any || IsList(type->field(i));
      each.push_back(any);
    }
    return each;
  }();
  return has[static_cast<size_t>(&command - contract::HostCommands().data())];
}

// The guest takes as many elements of an answer as its request stands for. How many that are the codec of the
// wire knows: a list has to be as it would be had it come over the VMBus, or, of a refusal, empty.
bool ListsFit(const HostCall& call, uint32_t version, std::vector<std::byte>* scratch) {
  if (!HasLists(*call.command)) return true;
  const Message& reply = *call.reply;
  const auto* type = reply.GetDescriptor();
  scratch->assign(call.command->reply_size(*call.request, version), std::byte{0});
  call.command->encode_reply(*call.request, reply, version, scratch->data());
  const std::unique_ptr<Message> right(reply.New());
  if (!call.command->decode_reply(*scratch, *call.request, version, right.get())) return false;
  const auto* status = type->FindFieldByName("status");
  const bool refused = status != nullptr && reply.GetReflection()->GetInt32(reply, status) < 0;
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* field = type->field(i);
    if (!IsList(field)) continue;
    const int elements = ElementsOf(reply, field), expected = ElementsOf(*right, field);
    const bool may_be_less = refused || status == nullptr || !field->is_repeated();
    if (elements > expected || (elements < expected && !may_be_less)) return false;
  }
  return true;
}

class SocketBackend final : public Backend, public HostControl {
 public:
  SocketBackend(UniqueFd socket, protocol::Hello hello, std::chrono::milliseconds patience,
                std::unique_ptr<socket::Rings> rings)
      : wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        channel_(std::move(socket), wake_.get()),
        hello_(std::move(hello)),
        patience_(patience),
        rings_(std::move(rings)) {}
  ~SocketBackend() override { Stop(); }

  // Backend
  HostControl* control() override { return this; }
  Status Start(BackendEvents* events) override;
  void Stop() override;
  void Submit(const HostCall& call, Completion completion) override;
  std::optional<HostRegion> FindRegion(uint64_t window_address) override {
    protocol::Question question;
    question.set_region_at(window_address);
    const auto region = AskForRegion(std::move(question));
    const bool around = region && window_address >= region->window_address &&
                        window_address - region->window_address < region->size;
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
  struct Pending {
    HostCall call;
    Completion completion;
    uint32_t version;
  };
  struct Received {
    FromHost message;
    std::vector<UniqueFd> descriptors;
  };
  // Who waits for an answer to a question.
  struct Asker {
    bool answered = false;
    Received received;
  };

  bool SendWithBatch(const ToHost* message, std::span<const int> descriptors);  // with sending_ held
  bool Send(const ToHost& message, std::span<const int> descriptors = {});
  bool Enter(const HostCall& call, Completion completion, uint64_t* number);
  void WakeReader();
  bool Ask(protocol::Question question, Received* received, std::span<const int> descriptors = {});
  std::optional<HostRegion> AskForRegion(protocol::Question question);
  std::optional<HostRegion> ToRegion(Received received);
  bool Answers(Received& received);

  void Run();
  bool PollOnce();
  bool Next(socket::Incoming* incoming);
  bool Read(const socket::Incoming& incoming, Received* received);
  std::optional<socket::AnswerPacket> ReadAnswerPacket(const vmbus::Packet& packet);
  bool HandleAll();
  bool Handle(Received received);
  bool HandleAnswer(const protocol::Answer& answer);
  bool EndCall(uint64_t number, Status transport, std::span<const std::byte> reply);
  void Hear() {
    pinged_.reset();
    heard_ = Clock::now();
  }
  bool CheckAlive();
  void Lose();
  std::map<uint64_t, Pending> Cut();
  static void EndWith(const std::map<uint64_t, Pending>& pending);
  void Release();

  UniqueFd wake_;  // there is a batch to be sent; changed only where nothing is entered any more
  Connection channel_;
  const protocol::Hello hello_;
  const std::chrono::milliseconds patience_;
  BackendEvents* events_ = nullptr;
  std::thread reader_;
  std::atomic<std::thread::id> reader_id_{};
  std::atomic<bool> stopping_{false};

  std::mutex sending_;  // guards wake_ and the two below; the order of sending is the order of submission
  ToHost batch_;
  size_t batch_bytes_ = 0;

  std::mutex mutex_;  // guards all below
  std::condition_variable answered_;
  bool lost_ = false;
  uint64_t last_number_ = 0;
  std::map<uint64_t, Pending> pending_;
  std::map<uint64_t, Asker*> askers_;
  std::map<uint64_t, uint32_t> versions_;                             // by an adapter's address
  std::map<std::pair<dev_t, ino_t>, std::weak_ptr<UniqueFd>> files_;  // of regions

  // The reader's.
  std::deque<Received> deferred_;
  std::string why_lost_;
  std::unique_ptr<socket::Rings> rings_;  // until the host has agreed
  bool started_ = false;
  Clock::time_point heard_ = Clock::now();
  std::optional<Clock::time_point> pinged_;
  uint64_t pings_ = 0;
  std::vector<std::byte> wire_;
};

// -- Sending --------------------------------------------------------------------------------------

bool SocketBackend::SendWithBatch(const ToHost* message, std::span<const int> descriptors) {
  bool sent = true;
  if (batch_.calls().calls_size() != 0) {
    sent = channel_.Send(batch_);
    batch_.mutable_calls()->clear_calls();
    batch_bytes_ = 0;
  }
  return sent && (message == nullptr || channel_.Send(*message, descriptors));
}

bool SocketBackend::Send(const ToHost& message, std::span<const int> descriptors) {
  std::lock_guard lock(sending_);
  return SendWithBatch(&message, descriptors);
}

// False: there is no host any more. With sending_ held, so that numbers are in the order of sending.
bool SocketBackend::Enter(const HostCall& call, Completion completion, uint64_t* number) {
  std::lock_guard lock(mutex_);
  if (lost_ || stopping_) return false;
  if (call.asynchronous) return true;
  *number = ++last_number_;
  const auto version = versions_.find(call.adapter);
  pending_.emplace(last_number_,
                   Pending{call, completion, version != versions_.end() ? version->second : kWireVersion});
  return true;
}

// Never waits. An asynchronous call travels with those that come before the socket's thread gets to it, or
// with the next message of another kind. Where it cannot be sent, the reader hears of that and ends
// everything.
void SocketBackend::Submit(const HostCall& call, Completion completion) {
  const bool asynchronous = call.asynchronous;  // once it is sent it may be over, and the call gone
  bool entered = false;
  {
    std::lock_guard lock(sending_);
    uint64_t number = 0;
    entered = Enter(call, completion, &number);
    const auto sent_alone = [&] {
      return SendWithBatch(nullptr, {}) &&
             channel_.SendPacket(
                 socket::MakeCall({number, call.command->id, call.process, call.adapter, {}}, *call.request));
    };
    if (entered && (asynchronous || !sent_alone())) {
      // In the batch itself, which keeps its memory from one to the next.
      protocol::Call& message = *batch_.mutable_calls()->add_calls();
      message.set_number(number);
      message.set_command(call.command->id);
      message.set_process(call.process);
      message.set_adapter(call.adapter);
      call.request->SerializeToString(message.mutable_request());
      batch_bytes_ += message.request().size();
      const bool full = batch_.calls().calls_size() >= kBatchMax || batch_bytes_ >= kBatchBytesMax;
      if (!asynchronous || full) {
        SendWithBatch(nullptr, {});
      } else if (batch_.calls().calls_size() == 1) {
        WakeReader();
      }
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
  Asker asker;
  uint64_t number = 0;
  {
    std::lock_guard lock(mutex_);
    if (lost_ || stopping_) return false;
    number = ++last_number_;
    askers_[number] = &asker;
  }
  question.set_number(number);
  ToHost message;
  *message.mutable_question() = std::move(question);
  message.set_descriptors(static_cast<uint32_t>(descriptors.size()));
  const auto deadline = Clock::now() + 2 * patience_;
  bool there = Send(message, descriptors);
  if (std::this_thread::get_id() == reader_id_) {
    while (there && !asker.answered) {
      there = PollOnce();
      Received next;
      for (socket::Incoming incoming; there && Next(&incoming) && Read(incoming, &next);) {
        if (!Answers(next)) deferred_.push_back(std::move(next));
      }
      there = there && why_lost_.empty() && Clock::now() < deadline;
    }
    if (!asker.answered && why_lost_.empty()) why_lost_ = "it does not answer a question";
  } else {
    std::unique_lock lock(mutex_);
    const bool ended = answered_.wait_until(lock, deadline, [&] { return asker.answered || lost_; });
    if (!ended) channel_.Close();  // the reader hears of it
  }
  std::lock_guard lock(mutex_);
  askers_.erase(number);
  *received = std::move(asker.received);
  return asker.answered;
}

// True: somebody waited for it, and has it.
bool SocketBackend::Answers(Received& received) {
  uint64_t number = 0;
  if (received.message.has_region()) number = received.message.region().number();
  if (received.message.has_controlled()) number = received.message.controlled().number();
  if (received.message.has_listed()) number = received.message.listed().number();
  if (number == 0) return false;
  std::lock_guard lock(mutex_);
  const auto asker = askers_.find(number);
  if (asker == askers_.end()) return false;
  asker->second->received = std::move(received);
  asker->second->answered = true;
  answered_.notify_all();
  return true;
}

std::optional<HostRegion> SocketBackend::AskForRegion(protocol::Question question) {
  Received received;
  if (!Ask(std::move(question), &received)) return std::nullopt;
  return ToRegion(std::move(received));
}

// One descriptor for a file, however often it comes. What a client could not map is no region.
std::optional<HostRegion> SocketBackend::ToRegion(Received received) {
  if (!received.message.has_region() || received.descriptors.size() != 1) return std::nullopt;
  const protocol::Region& from = received.message.region();
  struct stat file;
  if (fstat(received.descriptors[0].get(), &file) != 0) return std::nullopt;
  const auto bytes = static_cast<uint64_t>(file.st_size);
  const bool whole_pages =
      (from.window_address() | from.size() | from.file_offset()) % kPageBytes == 0 && from.size() != 0;
  const bool wraps = from.window_address() + from.size() < from.window_address();
  if (!whole_pages || wraps || from.file_offset() > bytes || from.size() > bytes - from.file_offset()) {
    spdlog::warn("the host shows {} bytes at {:#x} of its window, which its file of {} bytes does not have",
                 from.size(), from.window_address(), bytes);
    return std::nullopt;
  }
  HostRegion region;
  region.window_address = from.window_address();
  region.size = from.size();
  region.file_offset = from.file_offset();
  region.cookie = from.cookie();
  std::lock_guard lock(mutex_);
  std::erase_if(files_, [](const auto& each) { return each.second.expired(); });
  std::weak_ptr<UniqueFd>& known = files_[{file.st_dev, file.st_ino}];
  std::shared_ptr<UniqueFd> kept = known.lock();
  if (kept == nullptr) {
    kept = std::make_shared<UniqueFd>(std::move(received.descriptors[0]));
    known = kept;
  }
  region.file = kept->get();
  region.keep = std::move(kept);
  return region;
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
  const int look_ms = std::max<int>(1, static_cast<int>(patience_.count() / 4));
  socket::Woken woken;
  if (!channel_.Wait(look_ms, &woken, &why_lost_)) return false;
  if (woken.other) {
    uint64_t times = 0;
    (void)!read(wake_.get(), &times, sizeof(times));
    std::lock_guard lock(sending_);
    (void)SendWithBatch(nullptr, {});
  }
  if (!woken.heard) return CheckAlive();
  Hear();
  return true;
}

// A host that has nothing to say is asked whether it is there. It is lost only where nothing has come after
// that and nothing lies there unread: it may be we who stood still.
bool SocketBackend::CheckAlive() {
  const auto now = Clock::now();
  if (!pinged_ && now - heard_ < patience_ / 4) return true;  // it was something of ours that woke us
  if (!pinged_) {
    ToHost message;
    message.set_ping(++pings_);
    pinged_ = now;
    return Send(message);
  }
  if (now - *pinged_ < patience_) return true;
  if (channel_.HasMore()) return true;  // we stood still after we had looked
  why_lost_ = fmt::format("it has not answered for {} ms", patience_.count());
  return false;
}

// False: nothing more has come, or it makes no sense, see why_lost_.
bool SocketBackend::Next(socket::Incoming* incoming) {
  const auto next = channel_.Next();
  if (!next) {
    if (why_lost_.empty()) why_lost_ = channel_.broken();
    return false;
  }
  Hear();  // what is in a ring also comes while nobody waits
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
  if (!received->message.ParseFromArray(incoming.message.data(), static_cast<int>(incoming.message.size()))) {
    why_lost_ = "it sent a frame that is no message";
    return false;
  }
  for (uint32_t i = 0; i < received->message.descriptors(); ++i) {
    received->descriptors.push_back(channel_.TakeDescriptor());
    if (received->descriptors.back().valid()) continue;
    why_lost_ = "it announced descriptors that did not come";
    return false;
  }
  return true;
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
    if (!fine || !why_lost_.empty()) return false;
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
        std::lock_guard lock(mutex_);
        versions_[message.adapter_arrived().address()] = message.adapter_arrived().interface_version();
      }
      events_->AdapterArrived(ToGuest(message.adapter_arrived()));
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
          channel_.UseRings(std::move(rings_));
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
  std::map<uint64_t, Pending>::node_type entry;
  {
    std::lock_guard lock(mutex_);
    entry = pending_.extract(number);
  }
  if (entry.empty()) {
    why_lost_ = fmt::format("it answered call {}, which it was not asked or has answered", number);
    return false;
  }
  const Pending& pending = entry.mapped();
  Message& into = *pending.call.reply;
  const bool fits = !transport.ok() || (into.ParseFromArray(reply.data(), static_cast<int>(reply.size())) &&
                                        ListsFit(pending.call, pending.version, &wire_));
  if (!fits) {
    why_lost_ =
        fmt::format("it answered {} with something that is no answer to it", pending.call.command->name);
    into.Clear();
    transport = Lost();
  }
  pending.completion.run(pending.completion.context, std::move(transport));
  return fits;
}

void SocketBackend::Run() {
  reader_id_ = std::this_thread::get_id();
  while (!stopping_ && HandleAll() && PollOnce()) {
  }
  Lose();
}

void SocketBackend::Lose() {
  const auto pending = Cut();
  if (!stopping_) {
    spdlog::error("the host process is lost: {}; its adapters are removed",
                  why_lost_.empty() ? "the connection broke" : why_lost_);
    events_->HostLost();
  }
  EndWith(pending);
  Release();
}

// From here on nothing is entered.
std::map<uint64_t, SocketBackend::Pending> SocketBackend::Cut() {
  channel_.Close();
  std::lock_guard lock(mutex_);
  lost_ = true;
  answered_.notify_all();
  return std::exchange(pending_, {});
}

void SocketBackend::EndWith(const std::map<uint64_t, Pending>& pending) {
  for (const auto& [number, each] : pending) {
    each.call.reply->Clear();
    each.completion.run(each.completion.context, Lost());
  }
}

// A lost host leaves nothing open, however long what was open on it stays so.
void SocketBackend::Release() {
  deferred_.clear();
  channel_.Release();
  std::lock_guard lock(sending_);
  wake_.reset();
  batch_.Clear();
}

// -- Start and end --------------------------------------------------------------------------------

Status SocketBackend::Start(BackendEvents* events) {
  events_ = events;
  ToHost message;
  *message.mutable_hello() = hello_;
  const auto began = Clock::now();
  reader_id_ = std::this_thread::get_id();  // who is told of an adapter may ask about it
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
    if (Clock::now() - began > kStartMax && !started_) {
      why_lost_ = "it does not say that it has started";
      there = false;
    }
  }
  reader_id_ = std::thread::id();
  if (!there) {
    EndWith(Cut());
    return Status::Refuse(ENODEV, "--backend: the host refuses: {}",
                          why_lost_.empty() ? "the connection broke" : why_lost_);
  }
  reader_ = std::thread([this] { Run(); });
  return Status::Ok();
}

void SocketBackend::Stop() {
  stopping_ = true;
  channel_.Close();
  if (reader_.joinable()) reader_.join();
}

}  // namespace

Result<std::unique_ptr<Backend>> CreateSocketBackend(const SocketOptions& options) {
  protocol::Hello hello;
  hello.set_version(socket::kProtocolVersion);
  hello.set_program("cuse-dxg");
  for (const std::string& name : options.profiles) {
    DXG_ASSIGN(*hello.add_adapters(), ReadProfileFile(name, "--profile"));
  }
  DXG_ASSIGN(UniqueFd connected, socket::Connect(options.path, "--backend=unix"));
  std::unique_ptr<socket::Rings> rings;
  if (options.rings) {
    DXG_ASSIGN(rings, socket::Rings::Make());
  }
  return std::unique_ptr<Backend>(
      new SocketBackend(std::move(connected), std::move(hello), options.patience, std::move(rings)));
}

}  // namespace dxg
