#include "cuse-dxg/replay/replay_host.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/page.h"
#include "cuse-dxg/guest/bring_in.h"
#include "cuse-dxg/guest/calls/share.h"
#include "cuse-dxg/guest/client_event.h"
#include "cuse-dxg/guest/driver.h"
#include "cuse-dxg/replay/layout.h"
#include "proto/dxg/host.pb.h"
#include "proto/dxg/meaning.pb.h"

namespace dxg::replay {

namespace {

constexpr uint64_t kPagesMax = 1ull << 26;       // that an allocation is taken to have
constexpr uint64_t kUnknownBytes = 64ull << 20;  // an allocation of which no call tells the size
constexpr uint64_t kWaitMaxNs = 60'000'000'000;  // that an answer takes, whatever a file says

// Goes on elsewhere, because the client's memory is touched next; where nobody else can be had, here.
struct Beside {
  guest::Call& call;
  bool await_ready() const { return false; }
  bool await_suspend(std::coroutine_handle<> waiter) const {
    return call.driver.host().beside().Resume(call.process->host_handle, waiter);
  }
  void await_resume() const {}
};

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
  return std::unique_ptr<ReplayHost>(new ReplayHost(std::move(recording), options));
}

ReplayHost::ReplayHost(std::unique_ptr<Recording> recording, const Options& options)
    : recorded_times_(options.recorded_times),
      answers_(std::move(recording), options.strict),
      fidelity_(Deadlines::NowNs()) {
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
    if (pages <= kPagesMax) size = std::max(size, pages * kPageBytes);
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
  return deadlines_.Start();
}

// The driver tells of its processes; for whatever else it asks when a process ends, any answer will do.
void ReplayHost::Submit(const HostCall& call, Completion completion) {
  if (const auto* create = dynamic_cast<const host::CreateProcess::Request*>(call.request)) {
    const uint64_t process = answers_.Begin(NarrowName(create->process_name()));
    memory_.Begin(static_cast<uint32_t>(process));
    static_cast<host::CreateProcess::Reply*>(call.reply)->set_process(static_cast<uint32_t>(process));
  } else if (dynamic_cast<const host::DestroyProcess::Request*>(call.request) != nullptr) {
    answers_.End(call.process);
    memory_.Forget(call.process);
  }
  completion.run(completion.context, Status::Ok());
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
  if (recorded_times_)
    DXG_CO_TRY(co_await WaitUntil(call, begin_ns + std::min(recorded.duration_ns(), kWaitMaxNs)));
  const std::unique_ptr<Message> reply = recorded.Reply();
  co_return co_await Give(call, recorded, *reply);
}

// A signal, and so the thread's death, ends the wait and not the call: its answer is taken from the recording
// already, and one that is restarted would be another question.
guest::Task ReplayHost::WaitUntil(guest::Call& call, uint64_t at_ns) {
  call.charge = guest::Charge(call.process->account, guest::Charged::kWaitPoints, 1);
  if (!call.charge)
    co_return Status::Refuse(
        ENOMEM, "pending waits of this process have {} objects, and it or its user may not have another one",
        call.process->account->used(guest::Charged::kWaitPoints));
  Deadlines::Place place;
  if (!deadlines_.Add(at_ns, call.Park(), &place)) co_return Status::Ok();
  call.ForgetNear();
  call.EndBySignal();
  const guest::ParkedCall::End end = co_await call.Ended();
  if (end != guest::ParkedCall::End::kEvent) deadlines_.Remove(place);
  // Whoever ended it has others to tell.
  co_await Beside{call};
  call.charge = {};
  if (end == guest::ParkedCall::End::kGone)
    co_return Status::Refuse(EINTR, "thread {} was killed while its call waited", call.tid());
  co_return Status::Ok();
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
  const bool waits = request.GetDescriptor()->FindFieldByName("fence_value") != nullptr;
  const uint64_t value = NumberIn(request, "fence_value");
  const uint32_t process = call.process->host_handle;
  for (const uint64_t handle : Numbers(request, request, Kind::kHandle)) {
    auto object =
        waits ? memory_.Watch({process, answers_.ObjectOf(process, handle)}, value, number) : nullptr;
    if (object != nullptr) return object;
  }
  return std::make_shared<ReplayedObject>(number, true);
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
    if (const uint64_t address = memory_.Own({process, object}); address != 0) {
      call.SetAddress(MemberOf(call.row, maps.member()), address);
      *shown = true;
      continue;
    }
    bool is_new = false;
    const uint64_t size = fence ? kPageBytes : SizeOf(object);
    DXG_CO_ASSIGN(const auto memory, memory_.For({process, object}, call.process->account, size, &is_new));
    if (fence && is_new) {
      memory_.Raise({process, object}, InitialValue(call.request_message()));
      // A queue's fence is raised by what names the queue.
      for (const Made& made : recorded.handles) memory_.Share({process, made.object}, memory);
    }
    if (!fence && is_new) {
      const uint64_t known =
          recorded.memory.empty() ? 0 : ReplayMemory::Fill(*memory, recorded.memory.front().contents);
      if (known < memory->size)
        Note(call, FidelityKind::kApproximated, "memory without recorded contents",
             "the client sees zeros where the recording does not have what was there");
    }
    DXG_CO_ASSIGN(const ClientAddress address,
                  co_await guest::BringIn(call, memory->window_address, memory->size));
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
  for (size_t i = 0; i < std::min(objects.size(), addresses.size()); ++i) {
    if (addresses[i] != 0) memory_.KeepOwn({process, objects[i]}, addresses[i]);
  }
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
    memory_.Raise({process, answers_.ObjectOf(process, objects[i])}, listed[i]);
  for (const uint64_t value : alone) {
    for (const uint64_t handle : of_request)
      memory_.Raise({process, answers_.ObjectOf(process, handle)}, value);
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
  if (request.has_status() || request.has_live()) return;  // of a host there is nothing to tell
  reply->set_error("a replayed recording takes no orders; expected `cuse-dxg ctl report` or `status`");
}

}  // namespace dxg::replay
