#include "tests/golden/replay.h"

#include <fmt/format.h>

#include <algorithm>

#include "cuse-dxg/backend/vmbus/message.h"
#include "proto/contract/text.h"
#include "proto/contract/wire.h"

namespace dxg::golden {
namespace {

constexpr uint32_t kInterfaceVersionNewest = 40;
constexpr uint32_t kInterfaceVersionOld = 27;

uint64_t Number(const Json& text) { return std::stoull(text.get<std::string>(), nullptr, 0); }

std::string Label(const Json& record) { return record["label"].get<std::string>(); }

Replay::Verdict Differs(std::string why) { return {Outcome::kDiffers, std::move(why)}; }

// Something that happened to the machine: it was done here too, but there is nothing to compare in the record itself.
Replay::Verdict Applied() { return {Outcome::kNotRebuilt, "an event, applied; what it did shows in the calls that follow"}; }

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
    if (event["t"] == "pkt" && contract::FindHostCommand(event["cmd"].get<uint32_t>()) == nullptr) return event["name"];
  }
  return "";
}

bool AnyAnswer(const Json& record, bool (*is)(const Json& answer)) {
  return std::any_of(record["events"].begin(), record["events"].end(),
                     [&](const Json& event) { return event["t"] == "pkt" && is(event.value("resp", Json())); });
}

// "process" and "process/child" are one run of one program and what it forked.
std::string ProgramOf(const Json& record) {
  const std::string suite = record["suite"];
  return suite.substr(0, suite.find("/child"));
}

}  // namespace

class Replay::FakeOpen final : public attach::OpenRequest {
 public:
  FakeOpen(pid_t tid, std::shared_ptr<Answered> answer, uint64_t* file) : answer_(std::move(answer)), file_(file) { caller_.tid = tid; }
  const attach::Caller& caller() const override { return caller_; }
  void Accept(uint64_t file) override {
    *answer_ = {true, 0};
    *file_ = file;
  }
  void Refuse(int error) override { *answer_ = {true, -error}; }

 private:
  attach::Caller caller_;
  std::shared_ptr<Answered> answer_;
  uint64_t* file_;
};

class Replay::FakeIoctl final : public attach::IoctlRequest {
 public:
  FakeIoctl(pid_t tid, uint64_t file, uint32_t code, uint64_t argument, std::shared_ptr<Answered> answer)
      : file_(file), code_(code), argument_(argument), answer_(std::move(answer)) { caller_.tid = tid; }
  const attach::Caller& caller() const override { return caller_; }
  uint64_t file() const override { return file_; }
  uint32_t code() const override { return code_; }
  uint64_t argument() const override { return argument_; }
  std::span<const std::byte> in() const override { return {}; }
  bool kernel_copies_out() const override { return false; }
  void Answer(int32_t result, std::span<const std::byte>) override { *answer_ = {true, result}; }
  void OnInterrupt(std::function<void()>) override {}

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
  if (kind == "open") return Open(record);
  return kind == "ioctl" ? Ioctl(record) : Action(record);
}

// -- The machine comes up ----------------------------------------------------------------------------------------------

Replay::Verdict Replay::Load(const Json& record) {
  CloseAll();
  client_ = FakeClient();
  host_of_tgid_.clear();
  program_ = ProgramOf(record);
  host_ = std::make_unique<ScriptedHost>();
  driver_ = std::make_unique<guest::Driver>(*host_, client_);
  compute_only_ = record["mode"].get<std::string>().find("compute") != std::string::npos;
  return AdapterArrives(record);
}

// What the VMBus side negotiates when an adapter comes: PCI configuration space, then the first messages. The messages
// are checked in both directions through the codec.
Replay::Verdict Replay::AdapterArrives(const Json& record) {
  HostAdapter adapter;
  adapter.compute_only = compute_only_;
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
    version_ = offered == 0 ? kInterfaceVersionOld : std::min<uint64_t>(offered, kInterfaceVersionNewest);
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
    if (!head || !command->decode_request(head->bytes, request.get())) return Differs(fmt::format("{} does not decode", command->name));
    const auto again = vmbus::EncodeRequest(*command, {head->process, head->vgpu_luid, version_}, *request);
    if (const auto difference = Difference(data, again, {}); !difference.empty()) return Differs(fmt::format("packet {}: {}", command->name, difference));
    Bytes answer = FromHex(event["resp"]);
    answer.resize((answer.size() + 7) / 8 * 8);
    if (!command->decode_reply(answer, *request, version_, reply.get())) return Differs(fmt::format("the answer to {} does not decode", command->name));
    if (const auto* open = dynamic_cast<const host::OpenAdapter::Reply*>(reply.get())) adapter.host_handle = open->host_adapter_handle();
    if (const auto* info = dynamic_cast<const host::GetInternalAdapterInfo::Reply*>(reply.get())) {
      adapter.host_luid = info->host_adapter_luid();
      vgpu_luid = info->host_vgpu_luid();
      answered = true;
    }
  }
  if (!answered) return Differs("no adapter came up in this record");
  host_->set_vgpu_luid(vgpu_luid);
  driver_->AdapterArrived(adapter);
  luid_ = adapter.luid;
  return {Outcome::kMatch, ""};
}

// -- Open, close -------------------------------------------------------------------------------------------------------

Replay::Verdict Replay::Open(const Json& record) {
  const pid_t tid = record["tid"].get<pid_t>(), tgid = record["tgid"].get<pid_t>();
  if (const Json* packet = FirstPacket(record, "CREATEPROCESS")) {
    // The opener's task name is nowhere else in the record.
    const Bytes data = FromHex((*packet)["data"]);
    std::string name;
    for (size_t at = data.size() - 568 + 40; at + 1 < data.size() && data[at] != std::byte{0}; at += 2) name += static_cast<char>(data[at]);
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
  if (answer->result != expected) return Differs(fmt::format("open returned {} instead of {}", answer->result, expected));
  if (auto trouble = host_->Verdict(); !trouble.empty()) return Differs(trouble);
  return {Outcome::kMatch, ""};
}

uint64_t Replay::FileOf(pid_t tgid, int fd) {
  if (const auto file = files_.find({tgid, fd}); file != files_.end()) return file->second;
  // dup() is not recorded: any descriptor of the process is as good, they lead to one description or share all.
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

void Replay::CloseAll() {
  if (host_ != nullptr) host_->ExpectAnything();
  while (!files_.empty()) Close(files_.begin());
}

void Replay::CloseProcess(uint32_t host_process) {
  for (auto file = files_.begin(); file != files_.end();) {
    const auto each = file++;
    if (host_of_tgid_[each->first.first] == host_process) Close(each);
  }
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
    if (label.starts_with("SETGUESTDATA dword")) driver_->DeviceStateChanged();
    return Applied();
  }
  if (const Json* packet = FirstPacket(record, "DESTROYPROCESS")) {
    const auto head = vmbus::DecodeHead(FromHex((*packet)["data"]), version_ >= vmbus::kExtHeaderSince);
    CloseProcess(head->process);
  } else if (label == "close second fd" || label == "close from another thread") {
    const auto last = std::prev(files_.upper_bound({record["tgid"].get<pid_t>(), 1 << 30}));
    Close(last);
  } else if (!unserved.empty()) {
    return {Outcome::kNotServed, fmt::format("asks the host for {}, which is not served yet", unserved)};
  } else {
    return {Outcome::kNotRebuilt, "no call of the guest: " + label};
  }
  if (AnyAnswer(record, [](const Json& answer) { return answer.is_null(); })) return {Outcome::kNotRebuilt, "the recorded host never answered"};
  if (auto trouble = host_->Verdict(); !trouble.empty()) return Differs(trouble);
  if (!unserved.empty()) return {Outcome::kNotServed, fmt::format("also asks the host for {}, which is not served yet", unserved)};
  return {Outcome::kMatch, ""};
}

// -- Calls -------------------------------------------------------------------------------------------------------------

Replay::Verdict Replay::Ioctl(const Json& record) {
  const pid_t tid = record["tid"].get<pid_t>(), tgid = record["tgid"].get<pid_t>();
  const uint32_t code = static_cast<uint32_t>(Number(record["request"]));
  const uint64_t argument = Number(record["arg"]);
  const contract::Call* row = contract::FindCall(code);
  if (Label(record).find("O_PATH") != std::string::npos) return {Outcome::kNotRebuilt, "the kernel answers it before any driver"};
  if (row != nullptr && row->served && AnyAnswer(record, [](const Json& answer) { return answer.is_object(); })) {
    return {Outcome::kNotRebuilt, "the host's answer is given only as a digest"};
  }

  const bool readable = record["in"].is_string();
  if (readable) client_.Put(tgid, argument, FromHex(record["in"]));
  for (const Json& buffer : record["bufs"]) {
    if (buffer["in"].is_string()) client_.Put(tgid, Number(buffer["ptr"]), FromHex(buffer["in"]));
    if (buffer["in"].is_object() && row != nullptr && row->served) return {Outcome::kNotRebuilt, "a buffer is given only as a digest"};
  }
  const uint64_t file = FileOf(tgid, record["fd"].get<int>());
  if (file == 0) return {Outcome::kNotRebuilt, "its descriptor was opened outside the record"};

  auto answer = std::make_shared<Answered>();
  driver_->Ioctl(std::make_unique<FakeIoctl>(tid, file, code, argument, answer));
  if (!answer->answered) return Differs("the call was not answered");
  if (row != nullptr && !row->served) {
    if (answer->result != -ENOTTY) return Differs("a call that is not served answered something else than ENOTTY");
    return {Outcome::kNotServed, row->name};
  }
  if (answer->result != ExpectedResult(record)) {
    return Differs(fmt::format("returned {} instead of {}", contract::ResultText(answer->result), contract::ResultText(ExpectedResult(record))));
  }
  if (auto trouble = host_->Verdict(); !trouble.empty()) return Differs(trouble);
  if (readable && record["out"].is_string()) {
    const Bytes expected = FromHex(record["out"] == "=" ? record["in"].get<std::string>() : record["out"].get<std::string>());
    const auto difference = Difference(expected, client_.Get(tgid, argument, expected.size()), Volatile(record, "out"));
    if (!difference.empty()) return Differs("struct: " + difference);
  }
  for (size_t i = 0; i < record["bufs"].size(); ++i) {
    const Json& buffer = record["bufs"][i];
    if (!buffer["out"].is_string() || !buffer["in"].is_string()) continue;
    const Bytes expected = FromHex(buffer["out"] == "=" ? buffer["in"].get<std::string>() : buffer["out"].get<std::string>());
    const auto difference = Difference(expected, client_.Get(tgid, Number(buffer["ptr"]), expected.size()), Volatile(record, fmt::format("bufs[{}].out", i)));
    if (!difference.empty()) return Differs(fmt::format("{}: {}", buffer["field"].get<std::string>(), difference));
  }
  if (const auto unserved = UnservedCommand(record); !unserved.empty()) {
    return {Outcome::kNotServed, fmt::format("also asks the host for {}, which is not served yet", unserved)};
  }
  return {Outcome::kMatch, ""};
}

}  // namespace dxg::golden
