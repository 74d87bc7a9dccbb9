#include "tests/golden/replay.h"

#include <fmt/format.h>

#include <algorithm>
#include <climits>

#include "base/status.h"
#include "link/vmbus/message.h"
#include "proto/abi/d3dkmthk.h"
#include "proto/abi/interface.h"
#include "proto/contract/text.h"
#include "proto/contract/wire.h"

namespace dxg::golden {
namespace {

uint64_t Number(const Json& text) { return std::stoull(text.get<std::string>(), nullptr, 0); }

std::string Label(const Json& record) { return record["label"].get<std::string>(); }

Replay::Verdict Differs(std::string why) { return {Outcome::kDiffers, std::move(why)}; }

// Records that we answer otherwise on purpose; docs/abi.md says so too.
const char* Decision(const std::string& label) {
  if (label == "createallocation: host returns more private data than was sent") {
    return "the driver writes behind the client's buffer before it refuses";
  }
  if (label == "waitforsynchronizationobject: object_count = 32")
    return "the driver sends its stack for the values that the struct has no room for";
  if (label == "createsyncfile: monitored_fence = device" ||
      label == "createsyncfile: monitored_fence = context")
    return "the driver takes any object for a fence";
  if (label == "opensyncobjectfromsyncfile: host returns handle in use")
    return "the driver hands out a handle that it could not enter";
  return nullptr;
}

// The same for all records of a call.
const char* Decision(const Json& record, const std::string& trouble) {
  if (!record.contains("ioctl") || !record["ioctl"].is_string()) return nullptr;
  const std::string call = record["ioctl"];
  // The value is at 40 behind the command header, with and without the transport's own in front.
  const bool other_value = trouble.starts_with("packet WAITFORSYNCOBJECTFROMGPU: offset 56:") ||
                           trouble.starts_with("packet WAITFORSYNCOBJECTFROMGPU: offset 40:");
  if (call == "LX_DXWAITSYNCFILE" && other_value) {
    return "the driver waits for one more than the value when that was reached, which may never be";
  }
  if ((call == "LX_DXWAITSYNCFILE" || call == "LX_DXOPENSYNCOBJECTFROMSYNCFILE") &&
      trouble.starts_with("DESTROYSYNCOBJECT was sent")) {
    return "the driver leaves what it opened with the host when it fails afterwards";
  }
  return nullptr;
}

// Something that happened to the machine: it was done here too, but there is nothing to compare in the record
// itself.
Replay::Verdict Applied() {
  return {Outcome::kNotRebuilt, "an event, applied; what it did shows in the calls that follow"};
}

int32_t ExpectedResult(const Json& record) {
  const int64_t ret = record["ret"].get<int64_t>();
  const int error = record["errno"].get<int>();
  return static_cast<int32_t>(ret < 0 && error != 0 ? -error : ret);
}

const Json* FirstPacket(const Json& record, const char* name) {
  for (const Json& event : record["events"]) {
    if (event["t"] == "pkt" && event["name"] == name) return &event;
  }
  return nullptr;
}

// A name of a command of the record that the contract does not have yet, or empty.
std::string UnservedCommand(const Json& record) {
  for (const Json& event : record["events"]) {
    if (event["t"] == "pkt" && contract::FindHostCommand(event["cmd"].get<uint32_t>()) == nullptr)
      return event["name"];
  }
  return "";
}

bool AnyAnswer(const Json& record, bool (*is)(const Json& answer)) {
  return std::any_of(record["events"].begin(), record["events"].end(), [&](const Json& event) {
    return event["t"] == "pkt" && is(event.value("resp", Json()));
  });
}

// Where the client sees memory of the host is chosen by its kernel: that there is an address counts, not
// which.
void TakeAddresses(const contract::CallRow* row, const Bytes& expected, Bytes* actual) {
  if (row == nullptr) return;
  for (const contract::Member& address : row->addresses) {
    if (address.size != 8 || address.offset + 8u > expected.size()) continue;
    const bool both = contract::wire::Get<8>(expected.data() + address.offset) != 0 &&
                      contract::wire::Get<8>(actual->data() + address.offset) != 0;
    if (both) std::copy_n(expected.begin() + address.offset, 8, actual->begin() + address.offset);
  }
}

// A CPU notification shows the number of its event, which depends on how many there were before.
void TakeEvent(const contract::CallRow* row, uint64_t event, const Bytes& expected, Bytes* actual) {
  constexpr uint32_t kCpuNotification = _D3DDDI_CPU_NOTIFICATION;
  constexpr size_t kType = offsetof(d3dkmt_createsynchronizationobject2, info.type);
  constexpr size_t kEvent = offsetof(d3dkmt_createsynchronizationobject2, info.cpu_notification.event);
  if (row == nullptr || row->code != LX_DXCREATESYNCHRONIZATIONOBJECT ||
      contract::wire::Get<4>(expected.data() + kType) != kCpuNotification)
    return;
  if (contract::wire::Get<8>(actual->data() + kEvent) == event)
    std::copy_n(expected.begin() + kEvent, 8, actual->begin() + kEvent);
}

// "process" and "process/child" are one run of one program and what it forked.
std::string ProgramOf(const Json& record) {
  const std::string suite = record["suite"];
  return suite.substr(0, suite.find("/child"));
}

}  // namespace

class Replay::FakeOpen final : public attach::OpenRequest {
 public:
  FakeOpen(pid_t tid, std::shared_ptr<Answered> answer, uint64_t* file)
      : answer_(std::move(answer)), file_(file) {
    caller_.tid = tid;
  }
  const attach::Caller& caller() const override { return caller_; }
  void Accept(uint64_t file) override {
    *answer_ = {true, 0, nullptr};
    *file_ = file;
  }
  void Refuse(int error) override { *answer_ = {true, -error, nullptr}; }

 private:
  attach::Caller caller_;
  std::shared_ptr<Answered> answer_;
  uint64_t* file_;
};

class Replay::FakeIoctl final : public attach::IoctlRequest {
 public:
  FakeIoctl(pid_t tid, uint64_t file, uint32_t code, uint64_t argument, std::shared_ptr<Answered> answer)
      : file_(file), code_(code), argument_(argument), answer_(std::move(answer)) {
    caller_.tid = tid;
  }
  const attach::Caller& caller() const override { return caller_; }
  uint64_t file() const override { return file_; }
  uint32_t code() const override { return code_; }
  uint64_t argument() const override { return argument_; }
  std::span<const std::byte> in() const override { return {}; }
  bool kernel_copies_out() const override { return false; }
  void Answer(int32_t result, std::span<const std::byte>) override {
    answer_->answered = true;
    answer_->result = result;
  }
  void OnInterrupt(std::function<void()> interrupted) override {
    answer_->interrupt = std::move(interrupted);
  }
  void OnKilled(std::function<bool()>) override {}

 private:
  attach::Caller caller_;
  uint64_t file_;
  uint32_t code_;
  uint64_t argument_;
  std::shared_ptr<Answered> answer_;
};

Replay::Verdict Replay::Run(const Json& record) {
  if (!record.contains("kind")) return {Outcome::kNotRebuilt, "a note, no call"};
  const std::string kind = record["kind"];
  if (kind == "action" && Label(record).starts_with("insmod")) return Load(record);
  if (driver_ == nullptr) return {Outcome::kNotRebuilt, "nothing was loaded before it"};
  client_.AddThread(record["tid"].get<pid_t>(), record["tgid"].get<pid_t>());
  if (ProgramOf(record) != program_) {
    // The end of a program is not always recorded, that a later one runs is.
    CloseAll();
    program_ = ProgramOf(record);
  }
  if (kind == "open") {
    // The same number again: it was closed meanwhile.
    host_->ExpectAnything();
    const auto old = files_.find({record["tgid"].get<pid_t>(), record["ret"].get<int>()});
    if (old != files_.end()) Close(old);
  }
  host_->Expect(record);
  Verdict verdict = kind == "open" ? Open(record) : kind == "ioctl" ? Ioctl(record) : Action(record);
  if (verdict.outcome == Outcome::kMatch && host_->pointers_left_out()) {
    verdict = {Outcome::kByDecision, "no address of the client goes to the host"};
  }
  const char* why = Decision(Label(record));
  if (why == nullptr) why = Decision(record, verdict.why);
  if (why != nullptr && verdict.outcome == Outcome::kDiffers) {
    verdict = {Outcome::kByDecision, why};
  }
  return verdict;
}

// -- The machine comes up -------------------------------------------------------------------------

Replay::Verdict Replay::Load(const Json& record) {
  CloseAll();
  client_ = FakeClient();
  host_of_tgid_.clear();
  delivery_.set_eventfd(-1);
  program_ = ProgramOf(record);
  driver_.reset();  // before the host that it may still tell something
  host_ = std::make_unique<ScriptedHost>();
  driver_ = std::make_unique<guest::Driver>(*host_, client_);
  driver_->set_delivery(&delivery_);
  driver_->teardown().Stop();  // everything on this thread, in the order of the records
  compute_only_ = record["mode"].get<std::string>().find("compute") != std::string::npos;
  map_guest_pages_ = record["mode"].get<std::string>().find("map") != std::string::npos;
  return AdapterArrives(record);
}

// What the VMBus side negotiates when an adapter comes: PCI configuration space, then the first messages. The
// messages are checked in both directions through the codec.
Replay::Verdict Replay::AdapterArrives(const Json& record) {
  HostAdapter adapter;
  adapter.compute_only = compute_only_;
  adapter.map_guest_pages = map_guest_pages_;
  host_->set_takes_frames(map_guest_pages_);
  uint64_t luid_low = 0, luid_high = 0, offered = 0;
  for (const Json& event : record["events"]) {
    if (event["t"] != "pci_read") continue;
    const uint64_t value = Number(event["value"]);
    if (event["offset"] == 208) offered = value;
    if (event["offset"] == 192) luid_low = value;
    if (event["offset"] == 196) luid_high = value;
  }
  adapter.luid = luid_low | luid_high << 32;
  if (record["label"].get<std::string>().starts_with("insmod")) {
    version_ = offered == 0 ? kInterfaceVersionOldest : std::min<uint64_t>(offered, kInterfaceVersionNewest);
  }
  adapter.interface_version = version_;
  host_->set_interface_version(version_);

  uint64_t vgpu_luid = 0;
  bool answered = false;
  for (const Json& event : record["events"]) {
    if (event["t"] != "pkt") continue;
    const auto* command = contract::FindHostCommand(event["cmd"].get<uint32_t>());
    if (command == nullptr) continue;
    const Bytes data = FromHex(event["data"]);
    const auto head = vmbus::DecodeHead(data, version_ >= vmbus::kExtHeaderSince);
    std::unique_ptr<contract::Message> request(command->request->New()), reply(command->reply->New());
    if (!head || !command->decode_request(head->bytes, request.get()))
      return Differs(fmt::format("{} does not decode", command->name));
    const auto again = vmbus::EncodeRequest(*command, {head->process, head->vgpu_luid, version_}, *request);
    if (const auto difference = Difference(data, again, {}); !difference.empty())
      return Differs(fmt::format("packet {}: {}", command->name, difference));
    Bytes answer = FromHex(event["resp"]);
    answer.resize((answer.size() + 7) / 8 * 8);
    if (!command->decode_reply(answer, *request, version_, reply.get()))
      return Differs(fmt::format("the answer to {} does not decode", command->name));
    if (const auto* open = dynamic_cast<const host::OpenAdapter::Reply*>(reply.get()))
      adapter.host_handle = open->host_adapter_handle();
    if (const auto* info = dynamic_cast<const host::GetInternalAdapterInfo::Reply*>(reply.get())) {
      adapter.host_luid = info->host_adapter_luid();
      vgpu_luid = info->host_vgpu_luid();
      adapter.async_messages = (info->bits() & kAdapterAsyncMessages) != 0;
      answered = true;
    }
  }
  if (!answered) return Differs("no adapter came up in this record");
  host_->set_vgpu_luid(vgpu_luid);
  driver_->AdapterArrived(adapter);
  luid_ = adapter.luid;
  return {Outcome::kMatch, ""};
}

// -- Open, close ----------------------------------------------------------------------------------

Replay::Verdict Replay::Open(const Json& record) {
  const pid_t tid = record["tid"].get<pid_t>(), tgid = record["tgid"].get<pid_t>();
  if (const Json* packet = FirstPacket(record, "CREATEPROCESS")) {
    // The opener's task name is nowhere else in the record.
    const Bytes data = FromHex((*packet)["data"]);
    std::string name;
    for (size_t at = data.size() - 568 + 40; at + 1 < data.size() && data[at] != std::byte{0}; at += 2)
      name += static_cast<char>(data[at]);
    client_.set_task_name(name);
    if (packet->contains("resp")) {
      const Bytes resp = FromHex((*packet)["resp"]);
      if (resp.size() >= 4) host_of_tgid_[tgid] = static_cast<uint32_t>(contract::wire::Get<4>(resp.data()));
    }
  }
  uint64_t file = 0;
  auto answer = std::make_shared<Answered>();
  driver_->Open(std::make_unique<FakeOpen>(tid, answer, &file));
  if (!answer->answered) return Differs("the open was not answered");
  const int64_t ret = record["ret"].get<int64_t>();
  if (ret >= 0 && answer->result == 0) files_[{tgid, static_cast<int>(ret)}] = file;
  const int32_t expected = ret >= 0 ? 0 : ExpectedResult(record);
  if (answer->result != expected)
    return Differs(fmt::format("open returned {} instead of {}", answer->result, expected));
  if (auto trouble = host_->Verdict(); !trouble.empty()) return Differs(trouble);
  return {Outcome::kMatch, ""};
}

uint64_t Replay::FileOf(pid_t tgid, int fd) {
  if (const auto file = files_.find({tgid, fd}); file != files_.end()) return file->second;
  // dup() is not recorded: any descriptor of the process is as good, they lead to one description or share
  // all.
  for (const auto& [key, file] : files_) {
    if (key.first == tgid) return file;
  }
  // Nor is fork(): a child uses what its parent opened under that number.
  for (const auto& [key, file] : files_) {
    if (key.second == fd) return file;
  }
  return 0;
}

void Replay::Close(std::map<std::pair<pid_t, int>, uint64_t>::iterator file) {
  driver_->Release(file->second);
  files_.erase(file);
}

void Replay::CloseObjects(pid_t tgid) {
  auto& objects = delivery_.objects();
  for (auto object = objects.begin(); object != objects.end();) {
    const auto each = object++;
    if (tgid != 0 && each->first.first != tgid) continue;
    driver_->Release(each->second);
    objects.erase(each);
  }
}

void Replay::CloseObjectsOf(uint32_t host_process) {
  for (const auto& [tgid, process] : host_of_tgid_) {
    if (process != host_process) continue;
    CloseObjects(tgid);
  }
}

uint64_t Replay::OpenNode() {
  uint64_t file = 0;
  auto answer = std::make_shared<Answered>();
  driver_->Open(std::make_unique<FakeOpen>(0, answer, &file));
  return file;
}

void Replay::CloseAll() {
  if (host_ != nullptr) host_->ExpectAnything();
  if (driver_ != nullptr) CloseObjects(0);
  while (!files_.empty()) Close(files_.begin());
}

void Replay::CloseProcess(uint32_t host_process) {
  for (auto file = files_.begin(); file != files_.end();) {
    const auto each = file++;
    if (host_of_tgid_[each->first.first] == host_process) Close(each);
  }
}

// Where the host's messages are only numbers in the record's label: the last event that a command named.
std::optional<Replay::Verdict> Replay::SignalAction(const std::string& label) {
  // How much the eventfd's counter grew.
  static const std::map<std::string, uint64_t> kSignals = {
      {"signal it", 1}, {"signal it twice", 0},       {"late signal after the interrupted wait", 0},
      {"signal", 1},    {"signal notification 1", 1}, {"signal notification 2 (stays registered)", 1}};
  const auto expected = kSignals.find(label);
  if (expected == kSignals.end() && label != "signal an unknown event id" && label != "signal event id 0")
    return std::nullopt;
  const uint64_t before = delivery_.signals();
  driver_->GuestEvent(label == "signal event id 0" ? 0
                      : expected == kSignals.end() ? 0x7777
                                                   : host_->last_event());
  const uint64_t grown = delivery_.signals() - before,
                 should = expected == kSignals.end() ? 0 : expected->second;
  if (grown != should)
    return Differs(fmt::format("the eventfd was raised {} times instead of {}", grown, should));
  return Verdict{Outcome::kMatch, ""};
}

// Which descriptor of an object was closed says only the label: it names one of the record, or counts from
// the newest.
std::map<std::pair<pid_t, int>, uint64_t>::iterator Replay::ClosedObject(const Json& record) {
  const std::string label = Label(record);
  auto& objects = delivery_.objects();
  const pid_t tgid = record["tgid"].get<pid_t>();
  if (label.starts_with("close sync fd"))
    return objects.find({tgid, static_cast<int>(Number(record["objs"]["sync_fd"]))});
  if (label.starts_with("close resource fd"))
    return objects.find({tgid, static_cast<int>(Number(record["objs"]["resource_fd"]))});
  static const std::map<std::string, int> kFromNewest = {
      {"close", 1}, {"close second", 1}, {"close shared resource fd", 1}, {"close first", 2}};
  const auto found = kFromNewest.find(label);
  if (found == kFromNewest.end() || FirstPacket(record, "DESTROYPROCESS") != nullptr) return objects.end();
  if (label == "close" && FirstPacket(record, "DESTROYNTSHAREDOBJECT") == nullptr) return objects.end();
  auto object = objects.upper_bound({tgid, INT_MAX});
  for (int i = 0; i < found->second; ++i) {
    if (object == objects.begin() || std::prev(object)->first.first != tgid) return objects.end();
    --object;
  }
  return object;
}

std::optional<Replay::Verdict> Replay::CloseObjectAction(const Json& record) {
  const auto object = ClosedObject(record);
  if (object == delivery_.objects().end()) return std::nullopt;
  driver_->Release(object->second);
  delivery_.objects().erase(object);
  if (auto trouble = host_->Verdict(); !trouble.empty()) return Differs(trouble);
  return Verdict{Outcome::kMatch, ""};
}

Replay::Verdict Replay::Action(const Json& record) {
  const std::string label = Label(record);
  const std::string unserved = UnservedCommand(record);
  if (label == "vgpu channel rescinded") {
    driver_->AdapterStopped(luid_);
    return Applied();
  }
  if (label == "pci device removed") {
    // The CLOSEADAPTER that the driver sends here is the VMBus side's business, not the guest's.
    driver_->AdapterRemoved(luid_);
    return Applied();
  }
  if (label == "pci device comes back") return AdapterArrives(record);
  if (label == "global channel rescinded") {
    host_->set_global_lost();
    return Applied();
  }
  if (label.starts_with("SETGUESTDATA")) {
    // The record has no bytes for these; whether the notice counted shows in the calls that follow.
    if (label.starts_with("SETGUESTDATA dword")) driver_->DeviceStateChanged(guest::kStateCookie);
    if (label == "SETGUESTDATA wrong pointer") driver_->DeviceStateChanged(guest::kStateCookie + 1);
    return Applied();
  }
  if (auto verdict = SignalAction(label)) return *verdict;
  if (auto verdict = CloseObjectAction(record)) return *verdict;
  if (const Json* packet = FirstPacket(record, "DESTROYPROCESS")) {
    const auto head = vmbus::DecodeHead(FromHex((*packet)["data"]), version_ >= vmbus::kExtHeaderSince);
    if (FirstPacket(record, "DESTROYNTSHAREDOBJECT") != nullptr) CloseObjectsOf(head->process);
    CloseProcess(head->process);
  } else if (label == "close second fd" || label == "close from another thread") {
    const auto last = std::prev(files_.upper_bound({record["tgid"].get<pid_t>(), 1 << 30}));
    Close(last);
  } else if (!unserved.empty()) {
    return {Outcome::kNotServed, fmt::format("asks the host for {}, which is not served yet", unserved)};
  } else {
    return {Outcome::kNotRebuilt, "no call of the guest: " + label};
  }
  if (AnyAnswer(record, [](const Json& answer) { return answer.is_null(); }))
    return {Outcome::kNotRebuilt, "the recorded host never answered"};
  if (auto trouble = host_->Verdict(); !trouble.empty()) return Differs(trouble);
  if (!unserved.empty())
    return {Outcome::kNotServed, fmt::format("also asks the host for {}, which is not served yet", unserved)};
  return {Outcome::kMatch, ""};
}

// -- Calls ----------------------------------------------------------------------------------------

std::string Replay::Signal(const Json& record, const contract::CallRow* row, Answered& answer) {
  if (row == nullptr || !row->served) return "";
  const bool blocked = !answer.answered;
  const uint64_t before = delivery_.signals();
  const auto signals = host_->TakeSignals();
  for (const uint64_t event : signals) driver_->GuestEvent(event);
  const bool no_eventfd = blocked || answer.result < 0 || row->code == LX_DXCREATESYNCFILE;
  const uint64_t grown = delivery_.signals() - before, should = no_eventfd ? 0 : signals.size();
  if (grown != should) return fmt::format("the eventfd was raised {} times instead of {}", grown, should);
  // A signal reached the caller: nothing else is left that could have ended the recorded call.
  if (!answer.answered && answer.interrupt && ExpectedResult(record) == -EINTR) {
    answer.interrupt();
    if (answer.answered && answer.result == -kErestartsys) answer.result = -EINTR;  // the kernel does that
  }
  return "";
}

Replay::Verdict Replay::Ioctl(const Json& record) {
  const pid_t tid = record["tid"].get<pid_t>(), tgid = record["tgid"].get<pid_t>();
  const uint32_t code = static_cast<uint32_t>(Number(record["request"]));
  const uint64_t argument = Number(record["arg"]);
  const contract::CallRow* row = contract::FindCall(code);
  if (Label(record).find("O_PATH") != std::string::npos)
    return {Outcome::kNotRebuilt, "the kernel answers it before any driver"};
  if (row != nullptr && row->served &&
      AnyAnswer(record, [](const Json& answer) { return answer.is_object(); })) {
    return {Outcome::kNotRebuilt, "the host's answer is given only as a digest"};
  }

  const bool readable = record["in"].is_string();
  if (readable) client_.Put(tgid, argument, FromHex(record["in"]));
  for (const Json& buffer : record["bufs"]) {
    if (buffer["in"].is_string()) client_.Put(tgid, Number(buffer["ptr"]), FromHex(buffer["in"]));
    if (buffer["in"].is_object() && row != nullptr && row->served)
      return {Outcome::kNotRebuilt, "a buffer is given only as a digest"};
  }
  const uint64_t file = FileOf(tgid, record["fd"].get<int>());
  if (file == 0) return {Outcome::kNotRebuilt, "its descriptor was opened outside the record"};

  for (const Json& buffer : record["bufs"]) {
    if (buffer["field"] != "shared_handle" || !buffer["out"].is_string() || buffer["out"] == "=") continue;
    const Bytes number = FromHex(buffer["out"]);
    if (number.size() == 8)
      delivery_.set_next_descriptor(static_cast<int>(contract::wire::Get<4>(number.data())));
  }

  if (row != nullptr && row->code == LX_DXCREATESYNCFILE && record["out"].is_string() &&
      record["out"] != "=") {
    const Bytes out = FromHex(record["out"]);
    delivery_.set_next_descriptor(static_cast<int>(
        contract::wire::Get<4>(out.data() + offsetof(d3dkmt_createsyncfile, sync_file_handle))));
  }
  if (record.contains("objs") && record["objs"].contains("eventfd"))
    delivery_.set_eventfd(static_cast<int>(Number(record["objs"]["eventfd"])));
  auto answer = std::make_shared<Answered>();
  driver_->Ioctl(std::make_unique<FakeIoctl>(tid, file, code, argument, answer));
  if (auto trouble = Signal(record, row, *answer); !trouble.empty()) return Differs(trouble);
  if (!answer->answered) return Differs("the call was not answered");
  // Descriptors that did not come to be after all.
  for (const auto& closed : delivery_.TakeClosed()) {
    if (const auto object = delivery_.objects().extract(closed); !object.empty())
      driver_->Release(object.mapped());
  }
  if (row != nullptr && !row->served) {
    if (answer->result != -ENOTTY)
      return Differs("a call that is not served answered something else than ENOTTY");
    return {Outcome::kNotServed, row->name};
  }
  if (answer->result != ExpectedResult(record)) {
    return Differs(fmt::format("returned {} instead of {}", contract::ResultText(answer->result),
                               contract::ResultText(ExpectedResult(record))));
  }
  if (auto trouble = host_->Verdict(); !trouble.empty()) return Differs(trouble);
  if (readable && record["out"].is_string()) {
    const Bytes expected =
        FromHex(record["out"] == "=" ? record["in"].get<std::string>() : record["out"].get<std::string>());
    Bytes actual = client_.Get(tgid, argument, expected.size());
    TakeAddresses(row, expected, &actual);
    TakeEvent(row, host_->last_event(), expected, &actual);
    const auto difference = Difference(expected, actual, Volatile(record, "out"));
    if (!difference.empty()) return Differs("struct: " + difference);
  }
  for (size_t i = 0; i < record["bufs"].size(); ++i) {
    const Json& buffer = record["bufs"][i];
    if (!buffer["out"].is_string() || !buffer["in"].is_string()) continue;
    const Bytes expected =
        FromHex(buffer["out"] == "=" ? buffer["in"].get<std::string>() : buffer["out"].get<std::string>());
    const auto difference = Difference(expected, client_.Get(tgid, Number(buffer["ptr"]), expected.size()),
                                       Volatile(record, fmt::format("bufs[{}].out", i)));
    if (!difference.empty())
      return Differs(fmt::format("{}: {}", buffer["field"].get<std::string>(), difference));
  }
  if (const auto unserved = UnservedCommand(record); !unserved.empty()) {
    return {Outcome::kNotServed, fmt::format("also asks the host for {}, which is not served yet", unserved)};
  }
  return {Outcome::kMatch, ""};
}

}  // namespace dxg::golden
