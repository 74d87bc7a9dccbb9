#include "cuse-dxg/replay/replay_host.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/page.h"
#include "base/shared_memory.h"
#include "cuse-dxg/guest/bring_in.h"
#include "cuse-dxg/guest/calls/share.h"
#include "cuse-dxg/guest/client_event.h"
#include "cuse-dxg/guest/driver.h"
#include "cuse-dxg/guest/open_file.h"
#include "cuse-dxg/replay/layout.h"
#include "proto/dxg/host.pb.h"
#include "proto/dxg/meaning.pb.h"

namespace dxg::replay {

// A descriptor's other end: an object of the recording, which is ready to be read when its fence is reached,
// and at once where it waits for none.
struct ReplayedObject final : guest::SharedObject {
  explicit ReplayedObject(uint32_t object, bool is_ready)
      : SharedObject(Kind::kSyncObject), object(object), ready(is_ready) {}
  std::unique_ptr<guest::OpenFile> Open(guest::Driver& driver, std::shared_ptr<SharedObject> self) override;

  uint32_t Poll(std::unique_ptr<attach::PollWaiter> next) DXG_EXCLUDES(waiting) {
    MutexLock lock(waiting);
    if (next != nullptr) waiter.swap(next);
    return ready ? POLLIN : 0;
  }
  void BecomeReady() DXG_EXCLUDES(waiting) {
    MutexLock lock(waiting);
    ready = true;
    if (waiter != nullptr) waiter->Wake();
  }

  const uint32_t object;
  Mutex waiting;
  bool ready DXG_GUARDED_BY(waiting);
  std::unique_ptr<attach::PollWaiter> waiter DXG_GUARDED_BY(waiting);
};

namespace {

constexpr uint64_t kFileBytes = 256ull << 30;         // of which only what is touched is there
constexpr uint64_t kUnknownBytes = 64ull << 20;       // an allocation of which no call tells the size
constexpr uint64_t kWindowBegins = 0x1000'0000'0000;  // anywhere

ClientMemory MemoryOf(guest::Call& call) {
  ClientMemory memory;
  memory.read = [&call](uint64_t address, std::span<std::byte> to) {
    return call.access().Read(call.tid(), address, to);
  };
  memory.write = [&call](uint64_t address, std::span<const std::byte> from) {
    return call.access().Write(call.tid(), address, from);
  };
  return memory;
}

class ReplayedFile final : public guest::SharedObjectFile {
 public:
  ReplayedFile(guest::Driver& driver, const std::shared_ptr<ReplayedObject>& object)
      : SharedObjectFile(driver, object), object_(object) {}
  uint32_t Poll(std::unique_ptr<attach::PollWaiter> waiter) override {
    return object_->Poll(std::move(waiter));
  }

 private:
  const std::shared_ptr<ReplayedObject> object_;
};

std::vector<uint64_t> Numbers(const Message& message, const Message& request, Kind kind) {
  std::vector<uint64_t> numbers;
  ForEachValue(message, request, [&](const Value& value) {
    if (value.kind == kind) numbers.push_back(value.number);
  });
  return numbers;
}

bool HasField(const Message& message, const std::string& name) {
  const FieldDescriptor* const field = message.GetDescriptor()->FindFieldByName(name);
  if (field == nullptr) return false;
  return field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE
             ? message.GetReflection()->HasField(message, field)
             : NumberIn(message, name) != 0;
}

// What a fence begins with, where the call says it.
uint64_t InitialValue(const Message& request) {
  uint64_t value = 0;
  for (int i = 0; i < request.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* const field = request.GetDescriptor()->field(i);
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !field->is_repeated() &&
        request.GetReflection()->HasField(request, field))
      value = std::max(value,
                       NumberIn(request.GetReflection()->GetMessage(request, field), "initial_fence_value"));
  }
  return value;
}

const google::protobuf::MessageOptions& OptionsOf(const contract::CallRow& row) {
  return row.request->GetDescriptor()->containing_type()->options();
}

// The address that such a member is at, among those of the row, which begin as its option has them.
contract::Member MemberOf(const contract::CallRow& row, const std::string& name) {
  const auto& addresses = OptionsOf(row).GetExtension(dxg::call).addresses();
  const auto found = std::ranges::find(addresses, name);
  DXG_CHECK(found != addresses.end());
  return row.addresses[static_cast<size_t>(found - addresses.begin())];
}

std::string NarrowName(const std::string& wide) {
  std::string name;
  for (size_t i = 0; i + 1 < wide.size() && (wide[i] != 0 || wide[i + 1] != 0); i += 2) name += wide[i];
  return name;
}

}  // namespace

std::unique_ptr<guest::OpenFile> ReplayedObject::Open(guest::Driver& driver,
                                                      std::shared_ptr<SharedObject> self) {
  return std::make_unique<ReplayedFile>(driver, std::static_pointer_cast<ReplayedObject>(self));
}

ReplayHost::Options ReplayHost::Parse(const std::string& text, bool recorded_times) {
  constexpr std::string_view kStrict = ",strict";
  Options options{.file = text, .strict = text.ends_with(kStrict), .recorded_times = recorded_times};
  if (options.strict) options.file.resize(text.size() - kStrict.size());
  return options;
}

Result<std::unique_ptr<ReplayHost>> ReplayHost::Create(const Options& options) {
  DXG_ASSIGN(auto recording, Recording::Open(options.file));
  return Create(std::move(recording), options);
}

Result<std::unique_ptr<ReplayHost>> ReplayHost::Create(std::unique_ptr<Recording> recording,
                                                       const Options& options) {
  if (recording->calls().empty())
    return Status::Refuse(EINVAL, "{}: there is no call in it that could be answered", recording->name());
  if (!recording->end_text().empty())
    spdlog::warn("{}", std::string_view(recording->end_text()).substr(0, recording->end_text().size() - 1));
  DXG_ASSIGN(UniqueFd file, MakeSharedMemory("dxg-replay", kFileBytes));
  return std::unique_ptr<ReplayHost>(new ReplayHost(std::move(recording), options, std::move(file)));
}

ReplayHost::ReplayHost(std::unique_ptr<Recording> recording, const Options& options, UniqueFd file)
    : recorded_times_(options.recorded_times),
      answers_(std::move(recording), options.strict),
      file_(std::make_shared<UniqueFd>(std::move(file))),
      fidelity_(Deadlines::NowNs()),
      end_(0) {
  // Whatever maps an allocation to the GPU says how many pages of it there are.
  for (const RecordedCall& call : answers_.recording().calls()) {
    const auto* const fields = call.row->request->GetDescriptor();
    if (fields->FindFieldByName("allocation") == nullptr ||
        fields->FindFieldByName("size_in_pages") == nullptr)
      continue;
    const std::unique_ptr<Message> question(call.row->request->New());
    if (!question->ParseFromString(call.question.substr(1))) continue;
    const uint64_t pages = NumberIn(*question, "size_in_pages") + NumberIn(*question, "offset_in_pages");
    uint64_t& size = sizes_[NumberIn(*question, "allocation") & kObjectMask];
    if (pages <= kFileBytes / kPageBytes) size = std::max(size, pages * kPageBytes);
  }
}

Status ReplayHost::Start(BackendEvents* events) {
  for (const TraceAdapter& adapter : answers_.recording().adapters()) {
    HostAdapter info;
    info.luid = info.host_luid = adapter.luid();
    info.compute_only = adapter.compute_only();
    if (adapter.interface_version() != 0) info.interface_version = adapter.interface_version();
    events->AdapterArrived(info);
  }
  return deadlines_.Start([this](uint32_t process, std::coroutine_handle<> waiter) {
    // Where nobody else can be had, here.
    if (!driver_.load()->host().beside().Resume(process, waiter)) waiter.resume();
  });
}

// The driver tells of its processes; for whatever else it asks when a process ends, any answer will do.
void ReplayHost::Submit(const HostCall& call, Completion completion) {
  if (const auto* create = dynamic_cast<const host::CreateProcess::Request*>(call.request)) {
    const uint64_t process = answers_.Begin(NarrowName(create->process_name()));
    static_cast<host::CreateProcess::Reply*>(call.reply)->set_process(static_cast<uint32_t>(process));
  } else if (dynamic_cast<const host::DestroyProcess::Request*>(call.request) != nullptr) {
    answers_.End(call.process);
    MutexLock lock(mutex_);
    std::erase_if(own_memory_, [&](const auto& each) { return each.first.first == call.process; });
    std::erase_if(memory_, [&](const auto& each) { return each.first.first == call.process; });
  }
  completion.run(completion.context, Status::Ok());
}

std::optional<HostRegion> ReplayHost::FindRegion(WindowAddress address) {
  MutexLock lock(mutex_);
  if (address.value < kWindowBegins) return std::nullopt;
  const uint64_t offset = address.value - kWindowBegins;
  auto found = regions_.upper_bound(offset);
  if (found == regions_.begin()) return std::nullopt;
  --found;
  if (offset - found->first >= found->second) return std::nullopt;
  HostRegion region;
  region.window_address = WindowAddress(kWindowBegins + found->first);
  region.size = found->second;
  region.file = file_->get();
  region.file_offset = found->first;
  region.keep = file_;
  return region;
}

Result<ReplayHost::Memory> ReplayHost::MemoryFor(OfProcess object, uint64_t size, bool* is_new) {
  MutexLock lock(mutex_);
  const auto known = memory_.find(object);
  *is_new = known == memory_.end();
  if (!*is_new) return known->second;
  size = (size + kPageBytes - 1) / kPageBytes * kPageBytes;
  if (size > kFileBytes - end_)
    return Status::Refuse(ENOMEM, "a replay has no more than {} bytes of memory", kFileBytes);
  const Memory memory{end_, size};
  end_ += size;
  regions_[memory.offset] = size;
  memory_[object] = memory;
  return memory;
}

uint64_t ReplayHost::SizeOf(uint32_t object) const {
  const auto found = sizes_.find(object);
  return found == sizes_.end() || found->second == 0 ? kUnknownBytes : found->second;
}

void ReplayHost::Note(const guest::Call& call, FidelityKind kind, std::string_view what,
                      std::string_view why) {
  fidelity_.Note(
      {.kind = kind, .call = call.row.name, .what = what},
      [&] {
        return FidelityFirst{.process = static_cast<uint64_t>(call.process->identity.tgid),
                             .thread = static_cast<uint32_t>(call.tid()),
                             .ns = Deadlines::NowNs()};
      },
      why);
}

// -- A call ---------------------------------------------------------------------------------------

guest::Task ReplayHost::Answer(guest::Call& call) {
  const uint64_t begin_ns = Deadlines::NowNs();
  driver_.store(&call.driver, std::memory_order_relaxed);
  const Message& request = call.request_message();
  ReadBuffers(call.row, call.args(), MemoryOf(call), &call.request_message());
  std::map<uint64_t, uint32_t> descriptors;
  const std::vector<uint64_t> named = Numbers(request, request, Kind::kDescriptor);
  for (const uint64_t descriptor : named) {
    std::shared_ptr<guest::SharedObject> object = co_await guest::FindSharedObject(call, descriptor);
    // Safety: this driver's files lead to no other objects.
    if (object != nullptr) descriptors[descriptor] = static_cast<ReplayedObject&>(*object).object;
  }
  const uint32_t process = call.process->host_handle;
  const Answers::Question question{.process = process,
                                   .thread = static_cast<uint32_t>(call.tid()),
                                   .pid = static_cast<uint32_t>(call.process->identity.own_pid),
                                   .row = call.row,
                                   .request = request,
                                   .descriptor = [&descriptors](uint64_t name) {
                                     const auto found = descriptors.find(name);
                                     return found == descriptors.end() ? 0 : found->second;
                                   }};
  auto found = answers_.Find(question);
  if (!found.ok()) {
    Note(call, FidelityKind::kRefused, "not in the recording", found.status().why());
    co_return found.status();
  }
  const RecordedCall& recorded = *found->call;
  if (found->again)
    Note(call, FidelityKind::kApproximated, "answered again",
         "it was asked more often than it was recorded, and got the last answer");
  if (recorded_times_) co_await deadlines_.Until(begin_ns + recorded.duration_ns(), process);
  const std::unique_ptr<Message> reply = recorded.Reply();
  co_return co_await Give(call, recorded, *reply);
}

guest::Task ReplayHost::Give(guest::Call& call, const RecordedCall& recorded, Message& reply) {
  bool write = reply.ByteSizeLong() != 0;
  if (recorded.result >= 0) {
    DXG_CO_TRY(co_await GiveDescriptors(call, recorded, reply));
    bool shown = false;
    DXG_CO_TRY(co_await ShowMemory(call, recorded, reply, &shown));
    write |= shown;
    // Before what is there is written over.
    KeepOwnMemory(call, OwnMemoryIn(call.row, call.args(), MemoryOf(call)), reply);
    DXG_CO_TRY(WriteBuffers(call.row, call.args(), MemoryOf(call), reply));
  }
  call.reply_message().CopyFrom(reply);
  // A reply with nothing in it was not written either.
  if (write) DXG_CO_TRY(call.OutNowAll());
  if (recorded.result < 0) {
    if (recorded.result < -kErrnoMax) co_return Status::Raw(recorded.result, recorded.reason.c_str());
    co_return Status::Refuse(-recorded.result, "{}",
                             recorded.reason.empty() ? "as recorded" : recorded.reason);
  }
  BringFences(call, reply);
  DXG_CO_TRY(co_await SignalEvents(call));
  co_return Status(recorded.result);
}

guest::Task ReplayHost::GiveDescriptors(guest::Call& call, const RecordedCall& recorded, Message& reply) {
  std::map<uint64_t, uint64_t> given;
  for (const Made& made : recorded.descriptors) {
    std::shared_ptr<ReplayedObject> object = ObjectFor(call, made.object);
    {
      MutexLock lock(object->mutex);
      object->descriptors = 1;
    }
    auto descriptor = co_await guest::GiveDescriptor(call.driver, call, std::move(object));
    if (!descriptor.ok()) co_return descriptor.status();
    given[made.name] = *descriptor;
  }
  if (!given.empty()) {
    Rewrite(&reply, call.request_message(), [&](const Value& value) {
      const auto live = value.kind == Kind::kDescriptor ? given.find(value.number) : given.end();
      return live == given.end() ? value.number : live->second;
    });
  }
  co_return Status::Ok();
}

// Of a call that names a fence and a value of it, the object waits for that.
std::shared_ptr<ReplayedObject> ReplayHost::ObjectFor(guest::Call& call, uint32_t number) {
  const Message& request = call.request_message();
  const uint64_t value = NumberIn(request, "fence_value");
  MutexLock lock(mutex_);
  for (const uint64_t handle : Numbers(request, request, Kind::kHandle)) {
    const auto fence =
        memory_.find({call.process->host_handle, answers_.ObjectOf(call.process->host_handle, handle)});
    if (fence == memory_.end() || request.GetDescriptor()->FindFieldByName("fence_value") == nullptr)
      continue;
    auto object = std::make_shared<ReplayedObject>(number, ValueAt(fence->second) >= value);
    std::erase_if(waiting_, [](const auto& each) { return each.second.object.expired(); });
    waiting_.emplace(fence->second.offset, Waiting{value, object});
    return object;
  }
  return std::make_shared<ReplayedObject>(number, true);
}

uint64_t ReplayHost::ValueAt(const Memory& memory) const {
  uint64_t value = 0;
  const ssize_t got = pread(file_->get(), &value, sizeof(value), static_cast<off_t>(memory.offset));
  return got == sizeof(value) ? value : 0;
}

guest::Task ReplayHost::ShowMemory(guest::Call& call, const RecordedCall& recorded, const Message& reply,
                                   bool* shown) {
  const auto& options = OptionsOf(call.row);
  const uint32_t process = call.process->host_handle;
  for (int i = 0; i < options.ExtensionSize(dxg::maps); ++i) {
    const Maps& maps = options.GetExtension(dxg::maps, i);
    if (!maps.when().empty() && !HasField(reply, maps.when())) continue;
    const bool fence = reply.GetDescriptor()->FindFieldByName(maps.of()) != nullptr;
    const uint64_t handle = NumberIn(fence ? reply : call.request_message(), maps.of());
    const uint32_t object = answers_.ObjectOf(process, handle);
    if (object == 0) continue;
    if (const uint64_t address = OwnMemory({process, object}); address != 0) {
      call.SetAddress(MemberOf(call.row, maps.member()), address);
      *shown = true;
      continue;
    }
    bool is_new = false;
    const uint64_t size = fence ? kPageBytes : SizeOf(object);
    DXG_CO_ASSIGN(const Memory memory, MemoryFor({process, object}, size, &is_new));
    if (fence && is_new) {
      Raise({process, object}, InitialValue(call.request_message()));
      // A queue's fence is raised by what names the queue.
      MutexLock lock(mutex_);
      for (const Made& made : recorded.handles) memory_.try_emplace({process, made.object}, memory);
    }
    if (!fence && is_new) {
      uint64_t known = 0;
      if (!recorded.memory.empty()) {
        const std::string& contents = recorded.memory.front().second;
        known = std::min<uint64_t>(contents.size(), memory.size);
        if (pwrite(file_->get(), contents.data(), known, static_cast<off_t>(memory.offset)) < 0)
          co_return Status::Refuse(ENOMEM, "no room for the recorded contents of locked memory");
      }
      if (known < memory.size)
        Note(call, FidelityKind::kApproximated, "memory without recorded contents",
             "the client sees zeros where the recording does not have what was there");
    }
    DXG_CO_ASSIGN(const ClientAddress address,
                  co_await guest::BringIn(call, WindowAddress(kWindowBegins + memory.offset), memory.size));
    call.SetAddress(MemberOf(call.row, maps.member()), address.value);
    *shown = true;
  }
  co_return Status::Ok();
}

// The elements of a reply are in the order of the request's.
void ReplayHost::KeepOwnMemory(guest::Call& call, const std::vector<uint64_t>& addresses,
                               const Message& reply) {
  if (addresses.empty()) return;
  const uint32_t process = call.process->host_handle;
  std::vector<uint32_t> objects;
  ForEachValue(reply, call.request_message(), [&](const Value& value) {
    if (value.kind == Kind::kHandle && value.field.name() == "allocation")
      objects.push_back(answers_.ObjectOf(process, value.number));
  });
  MutexLock lock(mutex_);
  for (size_t i = 0; i < std::min(objects.size(), addresses.size()); ++i) {
    if (addresses[i] != 0) own_memory_[{process, objects[i]}] = addresses[i];
  }
}

uint64_t ReplayHost::OwnMemory(OfProcess object) {
  MutexLock lock(mutex_);
  const auto found = own_memory_.find(object);
  return found == own_memory_.end() ? 0 : found->second;
}

void ReplayHost::Raise(OfProcess object, uint64_t value) {
  std::vector<std::shared_ptr<ReplayedObject>> ready;
  {
    MutexLock lock(mutex_);
    const auto found = memory_.find(object);
    if (found == memory_.end() || ValueAt(found->second) >= value) return;
    const auto at = static_cast<off_t>(found->second.offset);
    if (pwrite(file_->get(), &value, sizeof(value), at) < 0)
      spdlog::error("a fence of the replay cannot be raised");
    const auto [begin, end] = waiting_.equal_range(found->second.offset);
    for (auto each = begin; each != end; ++each) {
      if (auto still = each->second.value <= value ? each->second.object.lock() : nullptr)
        ready.push_back(std::move(still));
    }
  }
  for (const auto& each : ready) each->BecomeReady();
}

// Lists of values are beside lists of objects; a value that stands alone is of whatever the call names.
void ReplayHost::BringFences(guest::Call& call, const Message& reply) {
  const Message& request = call.request_message();
  const uint32_t process = call.process->host_handle;
  std::vector<uint64_t> alone, listed, named, objects;
  const auto sort = [&](const Value& value) {
    if (value.kind == Kind::kFenceValue) (value.field.is_repeated() ? listed : alone).push_back(value.number);
    if (value.kind == Kind::kHandle)
      (value.field.name() == "objects" ? objects : named).push_back(value.number);
  };
  ForEachValue(request, request, sort);
  std::vector<uint64_t> of_request;
  of_request.swap(named);
  ForEachValue(reply, request, sort);
  for (size_t i = 0; i < std::min(listed.size(), objects.size()); ++i)
    Raise({process, answers_.ObjectOf(process, objects[i])}, listed[i]);
  for (const uint64_t value : alone) {
    for (const uint64_t handle : of_request) Raise({process, answers_.ObjectOf(process, handle)}, value);
  }
}

// When a wait with an eventfd ended is not recorded.
guest::Task ReplayHost::SignalEvents(guest::Call& call) {
  std::vector<uint64_t> events;
  ForEachValue(call.request_message(), call.request_message(), [&](const Value& value) {
    if (value.kind == Kind::kEvent && value.number != 0) events.push_back(value.number);
  });
  for (const uint64_t descriptor : events) {
    auto event = co_await guest::AddClientEvent(call, descriptor, guest::EventTable::Lifetime::kOnce);
    if (!event.ok()) co_return event.status();
    call.driver.events().Happened(*event);
    Note(call, FidelityKind::kApproximated, "an eventfd",
         "it was signalled at once; when that happened is not recorded");
  }
  co_return Status::Ok();
}

void ReplayHost::Serve(const ControlRequest& request, ControlReply* reply) {
  if (request.has_report()) return fidelity_.AddTo(reply);
  reply->set_error("a replayed recording takes no orders; expected `cuse-dxg ctl report`");
}

}  // namespace dxg::replay
