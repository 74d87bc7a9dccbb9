#include "hostsim/adapter/escape.h"

#include "hostsim/adapter/adapter_reset.h"
#include "hostsim/adapter/driver_model.h"
#include "hostsim/adapter/query_adapter_info.h"
#include "hostsim/machine/bytes.h"
#include "hostsim/machine/call.h"
#include "hostsim/machine/commands.h"
#include "hostsim/memory/paging_queue.h"
#include "hostsim/work/context.h"
#include "proto/abi/d3dkmthk.h"
#include "proto/abi/flags.h"
#include "proto/abi/ntstatus.h"
#include "proto/abi/qaitype.h"

namespace dxg::hostsim {
namespace {

// D3DKMT_ESCAPETYPE
constexpr uint32_t kDriverPrivate = _D3DKMT_ESCAPE_DRIVERPRIVATE;
constexpr uint32_t kMemory = 1;
constexpr uint32_t kTdrDebugControl = 2;

// D3DKMT_TDRDBGCTRLTYPE, the first number of a kTdrDebugControl escape
constexpr uint32_t kForceTdr = 0;
constexpr uint32_t kGpuTdr = 5;

// D3DDDI_ESCAPEFLAGS
constexpr uint32_t kHardwareAccess = DXG_ESCAPE_HARDWARE_ACCESS;
constexpr uint32_t kDeviceStatusQuery = DXG_ESCAPE_DEVICE_STATUS_QUERY;
constexpr uint32_t kChangeFrameLatency = DXG_ESCAPE_CHANGE_FRAME_LATENCY;
constexpr uint32_t kNoAdapterSynchronization = DXG_ESCAPE_NO_ADAPTER_SYNCHRONIZATION;
constexpr uint32_t kDriverKnownEscape = DXG_ESCAPE_DRIVER_KNOWN;
constexpr uint32_t kDriverCommonEscape = DXG_ESCAPE_DRIVER_COMMON;
constexpr uint32_t kKnownFlags = kHardwareAccess | kDeviceStatusQuery | kChangeFrameLatency |
                                 kNoAdapterSynchronization | kDriverKnownEscape | kDriverCommonEscape;

bool ValidFlags(uint32_t flags) {
  if ((flags & ~kKnownFlags) != 0) return false;
  return (flags & kHardwareAccess) == 0 || (flags & (kDeviceStatusQuery | kChangeFrameLatency)) == 0;
}

// A device is optional, and so is a context of it. A device in error is only for asking about its state.
bool ValidObjects(const CommandContext& call, const host::Escape::Request& request) {
  if (request.device() == 0) return request.context() == 0;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  const Device* device = FindDevice(call, process, request.device());
  if (!device || (!device->active() && (request.flags() & kDeviceStatusQuery) == 0)) return false;
  if (request.context() == 0) return true;
  const Context* context = process.Find<Context>(request.context());
  return context && &context->device == device;
}

bool HasOwnMagic(ConstBytes data) {
  return data.size() >= kEscapeHeaderBytes && Get<uint32_t>(data, 0) == kEscapeMagic;
}

bool DriverPrivate(const Adapter& adapter, Bytes data) {
  if (!HasOwnMagic(data)) return false;
  const auto op = Get<uint32_t>(data, 4);
  switch (op) {
    case kEscapePing:
      break;
    case kEscapeQueryVersion:
      if (data.size() < kEscapeQueryVersionBytes) return false;
      Put<uint32_t>(data, 8, kEscapesVersion);
      Put<uint32_t>(data, 12, adapter.profile().driver_version());
      if (QueryTypes()[KMTQAITYPE_KMD_DRIVER_VERSION].answer(adapter, data.subspan(16)) != kStatusSuccess) {
        return false;
      }
      break;
    default:
      return false;
  }
  Put<uint32_t>(data, 4, op | kEscapeReply);
  return true;
}

bool TdrDebugControl(CommandContext& call, Bytes data) {
  if (data.size() < sizeof(uint32_t)) return false;
  const auto control = Get<uint32_t>(data, 0);
  if (control != kForceTdr && control != kGpuTdr) return false;
  ResetAdapter(call.machine, *call.adapter, &call.aftermath);
  return true;
}

// D3DKMT_VIDMM_ESCAPETYPE, the first number of a kMemory escape; docs/simulated-gpu.md has the layouts.
constexpr uint32_t kSetFault = 0;
constexpr uint32_t kEvictAll = 5;
constexpr uint32_t kSetBudget = 8;
constexpr uint32_t kGetBudget = 11;
constexpr uint32_t kDelayExecution = 16;

constexpr uint32_t kAlwaysDiscard = 1u << 0;
constexpr uint32_t kNeverDiscard = 1u << 1;
constexpr uint64_t kNsPerMs = 1'000'000;
constexpr uint32_t kStallForever = ~0u;

bool SetFault(Adapter& adapter, ConstBytes data) {
  const auto flags = Get<uint32_t>(data, 8);
  if ((flags & ~(kAlwaysDiscard | kNeverDiscard)) != 0) return false;
  adapter.video_memory()->SetDiscard((flags & kAlwaysDiscard) != 0, (flags & kNeverDiscard) != 0);
  adapter.FailAllocation(Get<uint32_t>(data, 12));
  return true;
}

// One queue of the process, or the whole engine; for some time, for ever, or no longer.
bool DelayExecution(CommandContext& call, ConstBytes data) {
  const auto handle = Get<uint32_t>(data, 8);
  const auto ms = Get<uint32_t>(data, 12);
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  PagingQueue* queue = handle == 0 ? nullptr : FindPagingQueue(call, process, handle);
  if (handle != 0 && !queue) return false;
  const uint64_t until_ns = ms == 0               ? 0
                            : ms == kStallForever ? PagingEngine::kForever
                                                  : call.machine.NowNs() + ms * kNsPerMs;
  call.adapter->paging().Stall(queue ? queue->lane.get() : nullptr, until_ns, &call.aftermath);
  return true;
}

bool MemoryControl(CommandContext& call, Bytes data) {
  constexpr size_t kBytes = 24;
  if (data.size() < kBytes) return false;
  Adapter& adapter = *call.adapter;
  switch (Get<uint32_t>(data, 0)) {
    case kSetFault:
      return SetFault(adapter, data);
    case kEvictAll:
      adapter.video_memory()->Trim();
      return true;
    case kSetBudget:
      adapter.memory().SetUsable(kLocal, Get<uint64_t>(data, 8));
      adapter.memory().SetUsable(kNonLocal, Get<uint64_t>(data, 16));
      return true;
    case kGetBudget:
      Put<uint64_t>(data, 8, adapter.memory().usable(kLocal));
      Put<uint64_t>(data, 16, adapter.memory().usable(kNonLocal));
      return true;
    case kDelayExecution:
      return DelayExecution(call, data);
    default:
      return false;
  }
}

bool Serve(CommandContext& call, const host::Escape::Request& request, Bytes data) {
  const DriverModel::Escape* rule = FindRule(call.adapter->profile().driver_model().escapes(), data);
  if (rule && rule->refuse()) return false;
  if (rule && !HasOwnMagic(data)) return ApplyWrites(rule->writes(), *call.adapter, 0, data);
  const AdapterProfile::Policy& policy = call.adapter->profile().policy();
  // A secure VM passes only escapes whose form the host knows, and it knows none that gets here.
  if (policy.secure() || (request.flags() & kDriverKnownEscape) != 0) return false;
  switch (request.type()) {
    case kDriverPrivate:
      return DriverPrivate(*call.adapter, data);
    case kMemory:
      return policy.test_escapes() && MemoryControl(call, data);
    case kTdrDebugControl:
      return policy.test_escapes() && TdrDebugControl(call, data);
    default:
      return false;
  }
}

}  // namespace

// The reply has no status: a refusal is a reply without the data, which only one of some data can be.
void Commands::Handle(CommandContext& call, const host::Escape::Request& request,
                      host::Escape::Reply* reply) {
  const std::string& sent = request.priv_drv_data();
  const bool valid = call.CheckLiveAdapter() == kStatusSuccess &&
                     request.adapter() == call.adapter->info().host_handle &&
                     sent.size() == request.priv_drv_data_size() && sent.size() < kMessageBytesMax &&
                     ValidFlags(request.flags()) && ValidObjects(call, request);
  std::string* data = reply->mutable_priv_drv_data();
  data->assign(sent);
  if (valid && Serve(call, request, BytesOf(*data))) return;
  data->clear();
  if (!sent.empty()) call.Refuse();
}

}  // namespace dxg::hostsim
