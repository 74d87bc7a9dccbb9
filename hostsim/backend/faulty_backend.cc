#include "hostsim/backend/faulty_backend.h"

#include <google/protobuf/message.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "proto/abi/interface.h"
#include "proto/abi/ntstatus.h"

namespace dxg::hostsim {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using Point = MessageFaults::Point;

constexpr uint64_t kGarbage = 0xCCCCCCCCCCCCCCCC;
constexpr unsigned char kGarbageByte = 0xCC;
constexpr size_t kExcessBytes = 4096;

Status Lost() { return Status::Refuse(ENODEV, "the channel to the host is lost"); }

void SetGarbage(Message* message, const FieldDescriptor* field) {
  const auto* reflection = message->GetReflection();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32:
      return reflection->SetUInt32(message, field, static_cast<uint32_t>(kGarbage));
    case FieldDescriptor::CPPTYPE_UINT64:
      return reflection->SetUInt64(message, field, kGarbage);
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection->SetInt32(message, field, static_cast<int32_t>(kGarbage));
    case FieldDescriptor::CPPTYPE_INT64:
      return reflection->SetInt64(message, field, static_cast<int64_t>(kGarbage));
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection->SetString(
          message, field,
          std::string(reflection->GetString(*message, field).size(), static_cast<char>(kGarbageByte)));
    default:
      return;  // lists and messages stay
  }
}

// A refusal with garbage behind it. False: the answer has no status that could refuse.
bool MakeGarbage(Message* reply) {
  const auto* status = reply->GetDescriptor()->FindFieldByName("status");
  if (!status) return false;
  for (int i = 0; i < reply->GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = reply->GetDescriptor()->field(i);
    if (!field->is_repeated()) SetGarbage(reply, field);
  }
  reply->GetReflection()->SetInt32(reply, status, kStatusInvalidParameter);
  return true;
}

// As bytes, with more of them than were asked for: whoever decodes an answer takes no more than the request
// has room for.
void MakeTooLong(const HostCall& call) {
  const uint32_t size = call.command->reply_size(*call.request, kInterfaceVersionNewest);
  std::vector<std::byte> bytes(size + kExcessBytes, std::byte{kGarbageByte});
  std::fill_n(bytes.begin(), size, std::byte{0});
  call.command->encode_reply(*call.request, *call.reply, kInterfaceVersionNewest, bytes.data());
  call.reply->Clear();
  DXG_CHECK(call.command->decode_reply(bytes, *call.request, kInterfaceVersionNewest, call.reply));
}

class FaultyBackend final : public Backend, public BackendEvents {
 public:
  FaultyBackend(std::unique_ptr<Backend> inner, MessageFaults& faults)
      : faults_(faults), inner_(std::move(inner)) {}
  ~FaultyBackend() override { Stop(); }

  // Backend
  Status Start(BackendEvents* events) override {
    events_ = events;
    return inner_->Start(this);
  }
  void Stop() override;
  void Submit(const HostCall& call, Completion completion) override;
  HostControl* control() override { return inner_->control(); }
  std::optional<HostRegion> FindRegion(WindowAddress address) override { return inner_->FindRegion(address); }
  std::optional<HostRegion> HomeRegion(uint32_t process) override { return inner_->HomeRegion(process); }
  std::optional<HostRegion> FindShared(uint32_t nt_handle, uint32_t allocation_index) override {
    return inner_->FindShared(nt_handle, allocation_index);
  }
  Result<uint32_t> AddClientPages(std::shared_ptr<ClientPages> pages) override {
    if (Strike(Point::kClientMemoryRefused))
      return Status::Refuse(ENOMEM, "the host takes no more client pages (a fault)");
    return inner_->AddClientPages(std::move(pages));
  }
  void RemoveClientPages(uint32_t list) override { inner_->RemoveClientPages(list); }
  bool ClientFrames(uint32_t list, uint64_t page, std::span<uint64_t> frames) override {
    return inner_->ClientFrames(list, page, frames);
  }

  // BackendEvents
  void AdapterArrived(const HostAdapter& adapter) override {
    {
      MutexLock lock(ways_->mutex);
      address_of_[adapter.luid] = adapter.address;
    }
    events_->AdapterArrived(adapter);
  }
  void AdapterStopped(uint64_t luid) override { events_->AdapterStopped(luid); }
  // Of a lost channel the guest only learns that nothing works any more.
  void AdapterRemoved(uint64_t luid) override {
    IsLost(AddressOf(luid)) ? events_->AdapterStopped(luid) : events_->AdapterRemoved(luid);
  }
  void DeviceStateChanged(uint64_t cookie) override {
    OnEvent([this, cookie] { events_->DeviceStateChanged(cookie); });
  }
  void GuestEvent(uint64_t event) override {
    OnEvent([this, event] { events_->GuestEvent(event); });
  }
  void HostLost() override { events_->HostLost(); }

 private:
  using Event = std::function<void()>;

  // A command whose answer has trouble.
  struct Troubled {
    FaultyBackend* backend;
    HostCall call;
    Completion completion;
    bool loss = false, cut = false, excess = false, garbage = false;
    uint64_t delay_ns = 0;
    Status transport;

    bool any() const { return loss || cut || excess || garbage || delay_ns != 0; }
  };

  // What is on its way later. Calls of the clock may come when we are gone, and find it stopped and empty.
  struct Ways {
    Mutex mutex;
    bool stopped DXG_GUARDED_BY(mutex) = false;
    uint64_t next DXG_GUARDED_BY(mutex) = 1;
    std::map<uint64_t, std::unique_ptr<Troubled>> held DXG_GUARDED_BY(mutex);
    std::map<uint64_t, Event> late DXG_GUARDED_BY(mutex);
    std::set<uint64_t> reordered DXG_GUARDED_BY(mutex);  // of them, those that wait for the next event
  };

  std::optional<MessageFaults::Fault> Strike(Point point, const HostCall* call = nullptr) {
    return faults_.any_armed() ? faults_.Strike(point, call) : std::nullopt;
  }
  static void Complete(const Completion& completion, Status transport) {
    completion.run(completion.context, std::move(transport));
  }

  static void Answered(void* context, Status transport);
  void Hold(std::unique_ptr<Troubled> troubled);
  static void Finish(std::unique_ptr<Troubled> troubled);
  void LoseChannel(uint64_t address);
  bool IsLost(uint64_t address);
  uint64_t AddressOf(uint64_t luid);

  void OnEvent(const Event& event);
  void DeliverLater(const Event& event, uint64_t delay_ns, bool reordered);
  static Event TakeLate(Ways& ways, uint64_t id) DXG_REQUIRES(ways.mutex);

  MessageFaults& faults_;
  BackendEvents* events_ = nullptr;
  const std::shared_ptr<Ways> ways_ = std::make_shared<Ways>();
  std::map<uint64_t, uint64_t> address_of_ DXG_GUARDED_BY(ways_->mutex);  // by LUID
  std::set<uint64_t> lost_ DXG_GUARDED_BY(ways_->mutex);                  // addresses whose channel is lost
  std::atomic<bool> any_lost_{false};
  std::atomic<bool> any_reordered_{false};
  const std::unique_ptr<Backend> inner_;  // last: its end is the end of all calls that come later
};

void FaultyBackend::Stop() {
  {
    MutexLock lock(ways_->mutex);
    ways_->stopped = true;
  }
  inner_->Stop();
  std::map<uint64_t, std::unique_ptr<Troubled>> held;
  {
    MutexLock lock(ways_->mutex);
    held.swap(ways_->held);
    ways_->late.clear();
    ways_->reordered.clear();
  }
  for (auto& [id, troubled] : held) Complete(troubled->completion, Lost());
}

bool FaultyBackend::IsLost(uint64_t address) {
  if (!any_lost_.load(std::memory_order_acquire)) return false;
  MutexLock lock(ways_->mutex);
  return lost_.contains(address);
}

uint64_t FaultyBackend::AddressOf(uint64_t luid) {
  MutexLock lock(ways_->mutex);
  const auto found = address_of_.find(luid);
  return found == address_of_.end() ? 0 : found->second;
}

void FaultyBackend::Submit(const HostCall& call, Completion completion) {
  if (IsLost(call.adapter)) return Complete(completion, Lost());
  if (!faults_.any_armed()) return inner_->Submit(call, completion);
  if (Strike(Point::kMessageTooLarge, &call))
    return Complete(completion, Status::Refuse(EINVAL, "{} is larger than a message may be (a fault)",
                                               call.command->name));
  if (Strike(Point::kRingFull, &call))
    return Complete(completion,
                    Status::Refuse(EAGAIN, "no room in the ring for {} (a fault)", call.command->name));

  auto troubled =
      std::make_unique<Troubled>(Troubled{.backend = this, .call = call, .completion = completion});
  troubled->loss = Strike(Point::kChannelLoss, &call).has_value();
  if (!call.asynchronous) {
    troubled->cut = Strike(Point::kReplyShort, &call).has_value();
    troubled->excess = Strike(Point::kReplyExcess, &call).has_value();
    troubled->garbage = Strike(Point::kReplyGarbage, &call).has_value();
    if (const auto slow = Strike(Point::kHostSlow, &call)) troubled->delay_ns += slow->delay_ns;
    if (const auto held = Strike(Point::kAnswerHeld, &call)) troubled->delay_ns += held->delay_ns;
  }
  if (!troubled->any()) return inner_->Submit(call, completion);
  inner_->Submit(call, {&FaultyBackend::Answered, troubled.release()});
}

void FaultyBackend::Answered(void* context, Status transport) {
  std::unique_ptr<Troubled> troubled(static_cast<Troubled*>(context));
  troubled->transport = std::move(transport);
  if (troubled->delay_ns == 0) return Finish(std::move(troubled));
  FaultyBackend& backend = *troubled->backend;
  backend.Hold(std::move(troubled));
}

void FaultyBackend::Hold(std::unique_ptr<Troubled> troubled) {
  const uint64_t delay_ns = troubled->delay_ns;
  const Completion completion = troubled->completion;
  uint64_t id = 0;
  {
    MutexLock lock(ways_->mutex);
    if (!ways_->stopped) {
      id = ways_->next++;
      ways_->held.emplace(id, std::move(troubled));
    }
  }
  if (id == 0) return Complete(completion, Lost());
  faults_.CallAfter(delay_ns, [ways = ways_, id] {
    std::unique_ptr<Troubled> due;
    {
      MutexLock lock(ways->mutex);
      const auto found = ways->held.find(id);
      if (found == ways->held.end()) return;
      due = std::move(found->second);
      ways->held.erase(found);
    }
    Finish(std::move(due));
  });
}

void FaultyBackend::Finish(std::unique_ptr<Troubled> troubled) {
  Message* reply = troubled->call.reply;
  if (troubled->loss) {
    troubled->backend->LoseChannel(troubled->call.adapter);
    reply->Clear();
    return Complete(troubled->completion, Lost());
  }
  if (!troubled->transport.ok()) return Complete(troubled->completion, std::move(troubled->transport));
  if (troubled->cut || (troubled->garbage && !MakeGarbage(reply))) {
    reply->Clear();
    return Complete(troubled->completion, Status::Refuse(EOVERFLOW, "the answer to {} is too short (a fault)",
                                                         troubled->call.command->name));
  }
  if (troubled->excess) MakeTooLong(troubled->call);
  Complete(troubled->completion, Status::Ok());
}

void FaultyBackend::LoseChannel(uint64_t address) {
  if (address == 0) return;  // a message of the VM is lost alone
  {
    MutexLock lock(ways_->mutex);
    lost_.insert(address);
    any_lost_.store(true, std::memory_order_release);
  }
  faults_.LoseAdapter(address);
}

// -- Events

void FaultyBackend::OnEvent(const Event& event) {
  if (!faults_.any_armed() && !any_reordered_.load(std::memory_order_acquire)) return event();
  if (const auto unknown = Strike(Point::kEventUnknown)) events_->GuestEvent(unknown->value);
  if (Strike(Point::kEventLost)) return;
  if (const auto late = Strike(Point::kEventLate)) return DeliverLater(event, late->delay_ns, false);
  if (const auto next = Strike(Point::kEventReordered)) return DeliverLater(event, next->delay_ns, true);
  event();
  if (Strike(Point::kEventTwice)) event();

  std::vector<Event> after;
  {
    MutexLock lock(ways_->mutex);
    any_reordered_.store(false, std::memory_order_release);
    for (const uint64_t id : std::exchange(ways_->reordered, {})) after.push_back(TakeLate(*ways_, id));
  }
  for (const Event& waited : after) {
    if (waited) waited();
  }
}

void FaultyBackend::DeliverLater(const Event& event, uint64_t delay_ns, bool reordered) {
  uint64_t id = 0;
  {
    MutexLock lock(ways_->mutex);
    if (ways_->stopped) return;
    id = ways_->next++;
    ways_->late.emplace(id, event);
    if (reordered) ways_->reordered.insert(id);
    if (reordered) any_reordered_.store(true, std::memory_order_release);
  }
  faults_.CallAfter(delay_ns, [ways = ways_, id] {
    Event due;
    {
      MutexLock lock(ways->mutex);
      due = TakeLate(*ways, id);
      ways->reordered.erase(id);
    }
    if (due) due();
  });
}

// Empty where it has come already, or never will.
FaultyBackend::Event FaultyBackend::TakeLate(Ways& ways, uint64_t id) {
  auto node = ways.late.extract(id);
  return node.empty() ? Event() : std::move(node.mapped());
}

}  // namespace

std::unique_ptr<Backend> WithFaults(std::unique_ptr<Backend> inner, MessageFaults& faults) {
  return std::make_unique<FaultyBackend>(std::move(inner), faults);
}

}  // namespace dxg::hostsim
