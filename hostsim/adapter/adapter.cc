#include "hostsim/adapter/adapter.h"

#include <fmt/format.h>

#include <algorithm>

#include "hostsim/machine/call.h"
#include "hostsim/machine/commands.h"
#include "hostsim/machine/utf16.h"
#include "hostsim/work/engine.h"
#include "proto/abi/interface.h"
#include "proto/abi/ntstatus.h"

namespace dxg::hostsim {
namespace {

// GetInternalAdapterInfo
constexpr uint32_t kSecureVirtualMachine = 1u << 0;
constexpr uint32_t kHwSchEnabled = 1u << 3;
constexpr uint32_t kHwSchCapable = 1u << 4;
constexpr uint32_t kHwSupportStateShift = 7;
constexpr uint32_t kHwSupportStable = 2;
constexpr size_t kDescriptionFieldUnits = 80;
constexpr size_t kInstanceIdUnits = 260;

// Where a host puts the window for guest memory: whole pages of 64 KiB.
constexpr uint64_t kIospaceAlignment = 64 * 1024;

std::string MakeGuid(const AdapterProfile& profile, const AdapterInfo& info) {
  std::string guid = profile.guid();
  if (guid.empty()) {
    guid = fmt::format("{{51474755-0000-4000-8000-{:012x}}}", info.host_luid);
  }
  std::transform(guid.begin(), guid.end(), guid.begin(), [](unsigned char c) { return std::toupper(c); });
  return guid;
}

std::vector<Segment> MakeSegments(const AdapterProfile::Memory& memory) {
  if (memory.dedicated_video_bytes() == 0) {
    return {{kLocal, memory.dedicated_system_bytes() + memory.shared_system_bytes(), true}};
  }
  std::vector<Segment> segments = {{kLocal, memory.dedicated_video_bytes(), false}};
  if (memory.shared_system_bytes() != 0) segments.push_back({kNonLocal, memory.shared_system_bytes(), true});
  return segments;
}

// By type, and within a type in the order of the profile.
std::vector<std::vector<Adapter::Turns>> GroupAnswers(const AdapterProfile& profile) {
  std::vector<std::vector<Adapter::Turns>> by_type(Adapter::kAnswerTypes);
  uint32_t groups = 0;
  for (const AdapterProfile::Answer& answer : profile.answers()) {
    auto same_question = [&answer](const Adapter::Turns& turns) {
      const AdapterProfile::Answer& first = *turns.answers.front();
      return first.has_bytes() == answer.has_bytes() && first.bytes() == answer.bytes() &&
             first.input() == answer.input();
    };
    std::vector<Adapter::Turns>& all = by_type[answer.type()];
    const auto found = std::find_if(all.begin(), all.end(), same_question);
    if (found != all.end()) {
      found->answers.push_back(&answer);
    } else {
      all.push_back({groups++, {&answer}});
    }
  }
  return by_type;
}

std::string Utf16Field(std::string_view text, size_t units) {
  std::string field(units * sizeof(char16_t), '\0');
  PutUtf16(BytesOf(field), 0, units, text);
  return field;
}

}  // namespace

Adapter::Adapter(AdapterProfile profile, AdapterInfo info, Machine& machine, uint64_t seed)
    : profile_(std::move(profile)),
      info_(std::move(info)),
      guid_(MakeGuid(profile_, info_)),
      answers_(GroupAnswers(profile_)),
      memory_(profile_),
      video_memory_(
          std::make_shared<VideoMemory>(MakeSegments(profile_.memory()), memory_, profile_.trouble())),
      paging_(std::make_shared<PagingEngine>(machine, profile_.paging())),
      engines_(std::make_shared<Engines>(machine, profile_, info_.luid, seed)),
      fail_allocation_(profile_.trouble().fail_allocation()) {}

Adapter::~Adapter() { engines_->Stop(); }

const Adapter::Turns* Adapter::FindAnswers(uint32_t type, std::string_view data) const {
  if (type >= kAnswerTypes) return nullptr;
  for (const Turns& turns : answers_[type]) {
    const AdapterProfile::Answer& question = *turns.answers.front();
    if (question.has_bytes() && question.bytes() != data.size()) continue;
    if (data.starts_with(question.input())) return &turns;
  }
  return nullptr;
}

bool Adapter::HangsTooOften(uint64_t now_ns) {
  const AdapterProfile::Engines& engines = profile_.engines();
  const uint64_t within_ns = uint64_t{engines.tdr_limit_seconds()} * 1'000'000'000;
  MutexLock lock(hangs_mutex_);
  hangs_ns_.push_back(now_ns);
  while (hangs_ns_.front() + within_ns < now_ns) hangs_ns_.pop_front();
  return engines.tdr_limit_count() != 0 && hangs_ns_.size() > engines.tdr_limit_count();
}

std::string Adapter::DriverStorePath(const std::string& file) const {
  const std::string folder =
      R"(C:\Windows\System32\HostDriverStore\FileRepository\)" + profile_.driver().store_directory();
  return file.empty() ? folder : folder + "\\" + file;
}

// Where its memory shows in files of its own, the host needs no window of the guest's; only its shape is
// checked then.
int32_t Commands::Handle(CommandContext& call, const host::SetIospaceRegion::Request& request,
                         host::SetIospaceRegion::Reply*) {
  const bool valid = request.length() != 0 && request.start() % kIospaceAlignment == 0 &&
                     request.length() <= UINT64_MAX - request.start();
  return valid && call.machine.SetWindow(request.start(), request.length()) ? kStatusSuccess
                                                                            : kStatusInvalidParameter;
}

int32_t Commands::Handle(CommandContext& call, const host::OpenAdapter::Request& request,
                         host::OpenAdapter::Reply* reply) {
  if (!call.adapter) return kStatusInvalidParameter;
  if (call.adapter->removed()) return kStatusDeviceRemoved;
  const uint32_t version = call.adapter->info().interface_version;
  const bool speaks_ours = request.interface_version() >= kInterfaceVersionLastCompatible;
  const bool accepts_ours = request.last_compatible_interface_version() <= version;
  if (!speaks_ours || !accepts_ours) return kStatusNotSupported;
  reply->set_host_adapter_handle(call.adapter->info().host_handle);
  reply->set_interface_version(version);
  reply->set_last_compatible_interface_version(kInterfaceVersionLastCompatible);
  return kStatusSuccess;
}

// Opening takes nothing, so closing gives nothing back. An adapter that went away can be closed.
void Commands::Handle(CommandContext& call, const host::CloseAdapter::Request& request,
                      host::CloseAdapter::Reply*) {
  if (!call.adapter || request.host_handle() != call.adapter->info().host_handle) call.Refuse();
}

void Commands::Handle(CommandContext& call, const host::GetInternalAdapterInfo::Request&,
                      host::GetInternalAdapterInfo::Reply* reply) {
  if (!call.adapter || call.adapter->removed()) return call.Refuse();  // this reply has no status
  const AdapterProfile& profile = call.adapter->profile();
  const AdapterInfo& info = call.adapter->info();
  uint32_t bits = 0;
  if (profile.policy().secure()) bits |= kSecureVirtualMachine;
  if (profile.hardware_scheduling() == AdapterProfile::ENABLED) bits |= kHwSchEnabled;
  if (profile.hardware_scheduling() != AdapterProfile::OFF) {
    bits |= kHwSchCapable | kHwSupportStable << kHwSupportStateShift;
  }
  if (info.async_messages) bits |= kAdapterAsyncMessages;
  reply->set_driver_ddi_version(profile.driver_version());
  reply->set_bits(bits);
  reply->set_host_adapter_luid(info.host_luid);
  reply->set_device_description(Utf16Field(info.description, kDescriptionFieldUnits));
  const AdapterProfile::Pci& pci = profile.pci();
  reply->set_device_instance_id(
      Utf16Field(fmt::format(R"(PCI\VEN_{:04X}&DEV_{:04X}&SUBSYS_{:04X}{:04X}&REV_{:02X}\{:X})", pci.vendor(),
                             pci.device(), pci.subsystem(), pci.subvendor(), pci.revision(), info.host_luid),
                 kInstanceIdUnits));
  reply->set_host_vgpu_luid(info.address);
}

// Nothing is deferred yet that a flush would have to wait for.
int32_t Commands::Handle(CommandContext& call, const host::FlushHeapTransitions::Request&,
                         host::FlushHeapTransitions::Reply*) {
  return call.CheckLiveAdapter();
}

}  // namespace dxg::hostsim
