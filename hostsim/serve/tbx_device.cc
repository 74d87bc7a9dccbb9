#include "hostsim/serve/tbx_device.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "base/monotonic.h"
#include "base/page.h"
#include "hostsim/serve/guest_session.h"
#include "hostsim/serve/tbx_protocol.h"
#include "hostsim/work/streamers/intel.h"
#include "hostsim/work/streamers/intel_commands.h"

namespace dxg::hostsim::serve {
namespace {

// Registers of an engine, from where its registers begin, as the programmer's reference manuals have them
// ("Command Reference: Registers").
constexpr uint32_t kRegisterSpaceBytes = 8u << 20;
constexpr uint32_t kEngineBytes = 0x1000;
constexpr uint32_t kOldSubmitPort = 0x230;  // before Gen11
constexpr uint32_t kExecutionListStatus = 0x234;
constexpr uint32_t kSubmitQueue = 0x510;    // the context's descriptor, 8 bytes
constexpr uint32_t kSubmitControl = 0x550;  // bit 0: load the queue
constexpr uint32_t kIdle = 0x100, kBusy = 0x80;

// Of a context's descriptor.
constexpr uint64_t kValid = 1u << 0, kWide = 1u << 4, kOwnTables = 1u << 8;
constexpr uint64_t kImageBits = 0xFFFF'F000;

// Where a context's image has the value of a register.
constexpr uint64_t kRingHead = 0x1014, kRingTail = 0x101C, kRingStart = 0x1024, kRingControl = 0x102C;
constexpr uint64_t kTablesHigh = 0x10C4, kTablesLow = 0x10CC;
constexpr uint32_t kRingSizeBits = 0x1F'F000, kRingEnabled = 1, kRingOffsetBits = 0x1F'FFFC;

constexpr uint64_t kNsPerSecond = 1'000'000'000;
constexpr uint32_t kBatchStartWords = 3;
constexpr size_t kNotedMax = 64;

}  // namespace

const TbxDevice::Engine TbxDevice::kEngines[] = {{"render", 0x2000}, {"compute", 0x1A000}, {"copy", 0x22000}};

// What one Run of a batch needs of its GPU.
class TbxDevice::Environment final : public CommandEnvironment {
 public:
  Environment(TbxDevice& device, uint64_t tables) : device_(device), tables_(tables) {}

  bool Translate(GpuAddress address, uint64_t bytes, bool write, std::vector<GpuSpan>* spans,
                 GpuFault* fault) override {
    return device_.memory_.Translate(tables_, address, bytes, write, spans, fault);
  }
  // No two reads give the same.
  uint64_t Timestamp() override {
    const uint64_t hz = device_.gpu_.clock_hz, seconds = device_.now_ns_ / kNsPerSecond;
    return seconds * hz + device_.now_ns_ % kNsPerSecond * hz / kNsPerSecond + ++device_.ticks_read_;
  }
  void Mark(uint64_t) override {}
  Aftermath* aftermath() override { return &device_.aftermath_; }
  void Note(FidelityKind kind, std::string_view what) override {
    if (kind == FidelityKind::kUnknown) {
      device_.unknown_ = what;
    } else if (device_.noted_.size() < kNotedMax && device_.noted_.emplace(what).second) {
      spdlog::warn("{}: not as a GPU does it: {}", device_.name_, what);
    }
  }
  // Nobody could read in a report that a result is none, so nothing is left out in silence.
  bool LeaveOut(const GpuDispatch& dispatch) override {
    device_.left_out_ =
        fmt::format("kernel {:016x} {}", dispatch.kernel_hash,
                    dispatch.why.empty() ? "is of a kind that nothing here executes" : dispatch.why.c_str());
    return false;
  }
  ExecutionRules Execution() override { return device_.gpu_.execution; }
  void Executed(const GpuDispatch&, uint64_t instructions) override {
    ++device_.kernels_;
    device_.instructions_ += instructions;
  }

 private:
  TbxDevice& device_;
  const uint64_t tables_;
};

TbxDevice::TbxDevice(std::string name, const TbxGpu& gpu, std::shared_ptr<TbxRoom> room,
                     std::function<bool()> stopped)
    : name_(std::move(name)),
      gpu_(gpu),
      stopped_(std::move(stopped)),
      start_ns_(MonotonicNs()),
      memory_(std::move(room)) {}

TbxDevice::~TbxDevice() = default;

const TbxDevice::Engine* TbxDevice::EngineOf(uint32_t offset) {
  for (const Engine& engine : kEngines)
    if (offset >= engine.registers && offset - engine.registers < kEngineBytes) return &engine;
  return nullptr;
}

Status TbxDevice::WriteRegister(uint32_t offset, uint32_t value) {
  if (offset % sizeof value != 0 || offset >= kRegisterSpaceBytes)
    return Status::Refuse(EPROTO, "register {:#x}: expected a multiple of 4 below {:#x}", offset,
                          kRegisterSpaceBytes);
  if (registers_.size() >= kRegistersMax && !registers_.contains(offset))
    return Status::Refuse(EPROTO, "register {:#x}: {} others are written, which is the most", offset,
                          kRegistersMax);
  registers_[offset] = value;
  const uint32_t in_engine = offset % kEngineBytes;
  const Engine* const engine = EngineOf(offset);
  if (engine && in_engine == kSubmitControl && (value & 1) != 0) return Submit(*engine);
  if (engine && in_engine == kOldSubmitPort)
    return Status::Refuse(EPROTO,
                          "register {:#x} is the submit port of GPUs before Gen11, and this is a "
                          "Gen12LP; set ProductFamilyOverride=tgllp",
                          offset);
  if (!engine && in_engine == kSubmitControl && (value & 1) != 0 && offset >= 0x1C0000 && offset < 0x200000)
    return Status::Refuse(EPROTO, "register {:#x} submits to an engine for video, which is not simulated",
                          offset);
  return Status::Ok();
}

uint32_t TbxDevice::ReadRegister(uint32_t offset) const {
  const Engine* const engine = EngineOf(offset);
  if (engine && offset - engine->registers == kExecutionListStatus)
    return waiting_.contains(engine->registers) ? kBusy : kIdle;
  const auto found = registers_.find(offset);
  return found == registers_.end() ? 0 : found->second;
}

Result<TbxDevice::Run> TbxDevice::ReadContext(uint64_t image) const {
  const auto head = memory_.LoadGlobal(image + kRingHead), tail = memory_.LoadGlobal(image + kRingTail);
  const auto start = memory_.LoadGlobal(image + kRingStart),
             control = memory_.LoadGlobal(image + kRingControl);
  const auto high = memory_.LoadGlobal(image + kTablesHigh), low = memory_.LoadGlobal(image + kTablesLow);
  if (!head || !tail || !start || !control || !high || !low)
    return Status::Refuse(EPROTO, "the context at {:#x} is not all in the global table", image);
  Run run;
  run.image = image;
  run.ring = *start & ~uint32_t{kPageBytes - 1};
  run.ring_bytes = (*control & kRingSizeBits) + static_cast<uint32_t>(kPageBytes);
  run.head = *head & kRingOffsetBits;
  run.tail = *tail & kRingOffsetBits;
  run.tables = (*low | uint64_t{*high} << 32) & (tbx::kPhysicalEnd - kPageBytes);
  if ((*control & kRingEnabled) == 0 || run.head >= run.ring_bytes || run.tail >= run.ring_bytes)
    return Status::Refuse(EPROTO,
                          "the context at {:#x} has a ring of {:#x} bytes, head {:#x}, tail {:#x}, "
                          "control {:#x}: expected one that is enabled, and both in it",
                          image, run.ring_bytes, *head, *tail, *control);
  return run;
}

Status TbxDevice::Submit(const Engine& engine) {
  const uint64_t descriptor = ReadRegister(engine.registers + kSubmitQueue) |
                              uint64_t{ReadRegister(engine.registers + kSubmitQueue + 4)} << 32;
  if ((descriptor & kValid) == 0) return Status::Ok();
  if ((descriptor & kWide) == 0 || (descriptor & kOwnTables) == 0)
    return Status::Refuse(EPROTO, "{} engine: the context {:#x} has no page tables of four levels of its own",
                          engine.name, descriptor);
  const uint64_t image = descriptor & kImageBits;
  ++submissions_;
  now_ns_ = std::max(now_ns_, MonotonicNs() - start_ns_);
  if (const auto before = waiting_.find(engine.registers); before != waiting_.end()) {
    if (before->second.image != image)
      return Status::Refuse(EPROTO, "{} engine: the context at {:#x} comes while that at {:#x} waits",
                            engine.name, image, before->second.image);
    DXG_ASSIGN(const Run again, ReadContext(image));
    before->second.tail = again.tail;
    return MemoryChanged();
  }
  DXG_ASSIGN(Run run, ReadContext(image));
  if (!contexts_.contains(image) && contexts_.size() >= kContextsMax)
    return Status::Refuse(EPROTO, "{} engine: {} contexts are there, which is the most", engine.name,
                          kContextsMax);
  bool waits = false;
  DXG_TRY(GoOn(engine, run, &waits));
  if (waits) waiting_.emplace(engine.registers, std::move(run));
  return Status::Ok();
}

Status TbxDevice::MemoryChanged() {
  for (const Engine& engine : kEngines) {
    const auto found = waiting_.find(engine.registers);
    if (found == waiting_.end()) continue;
    bool waits = false;
    DXG_TRY(GoOn(engine, found->second, &waits));
    if (!waits) waiting_.erase(found);
  }
  return Status::Ok();
}

// Until the ring is empty, or its batch waits for memory.
Status TbxDevice::GoOn(const Engine& engine, Run& run, bool* waits) {
  Environment environment(*this, run.tables);
  while (true) {
    if (!run.batch) {
      if (run.head == run.tail) return Status::Ok();
      DXG_TRY(Command(engine, run));
      continue;
    }
    const CommandStop stop = run.batch->Run(environment, cancelled_, CommandStreamer::kUnlimited);
    switch (stop.kind) {
      case CommandStop::kDone:
        run.batch = nullptr;
        break;
      case CommandStop::kDelay:
      case CommandStop::kSlice:
        now_ns_ += stop.delay_ns;
        if (stopped_()) return Status::Refuse(ECONNRESET, "the program has gone");
        break;
      case CommandStop::kCancelled:
        return Status::Refuse(ECONNRESET, "the server stops");
      case CommandStop::kWaiting:
        *waits = true;
        return Status::Ok();
      default:
        return Explain(engine, run, stop);
    }
  }
}

// The command at the head of the ring.
Status TbxDevice::Command(const Engine& engine, Run& run) {
  uint32_t words[kBatchStartWords] = {};
  const auto fetch = [&](uint32_t index) {
    const auto word = memory_.LoadGlobal(run.ring + (run.head + index * sizeof *words) % run.ring_bytes);
    if (word) words[index] = *word;
    return word.has_value();
  };
  const auto outside = [&] {
    return Status::Refuse(EPROTO, "{} engine: offset {:#x} of the ring at {:#x} is not in the global table",
                          engine.name, run.head, run.ring);
  };
  if (!fetch(0)) return outside();
  const uint32_t opcode = Field(words[0], 23, 28);
  uint32_t count = 1;
  if (intel::ClientOf(words[0]) == intel::Client::kMi && opcode >= intel::kMiHasLength)
    count = Field(words[0], 0, 7) + 2;
  if (intel::ClientOf(words[0]) == intel::Client::kMi && opcode == intel::kMiBatchBufferStart &&
      count == kBatchStartWords && Field(words[0], 8, 8) != 0) {
    if (!fetch(1) || !fetch(2)) return outside();
    // A batch says itself where it ends.
    run.batch = MakeIntelStreamer({GpuAddress(intel::AddressAt(&words[1]) & ~3ull), sizeof(uint32_t)},
                                  &contexts_[run.image].state);
  } else if (words[0] >> 23 != intel::kMiNoop && words[0] >> 23 != intel::kMiLoadRegisterImm) {
    // What is loaded here is of the ring itself and of preemption.
    return Status::Refuse(
        EPROTO,
        "{} engine: command {:#010x} in the ring: expected MI_NOOP, MI_LOAD_REGISTER_IMM or "
        "MI_BATCH_BUFFER_START by the context's page tables",
        engine.name, words[0]);
  }
  const uint32_t left = run.head <= run.tail ? run.tail - run.head : run.ring_bytes - run.head + run.tail;
  if (count * sizeof *words > left)
    return Status::Refuse(EPROTO, "{} engine: command {:#010x} in the ring goes on behind its tail {:#x}",
                          engine.name, words[0], run.tail);
  run.head = (run.head + count * static_cast<uint32_t>(sizeof *words)) % run.ring_bytes;
  if (!memory_.StoreGlobal(run.image + kRingHead, run.head)) return outside();
  return Status::Ok();
}

Status TbxDevice::Explain(const Engine& engine, const Run& run, const CommandStop& stop) const {
  const uint64_t at = stop.op_address.value;
  switch (stop.kind) {
    case CommandStop::kPageFault:
      return Status::Refuse(EPROTO, "{} engine, context {:#x}: page fault at {:#x} ({} of {}){}{}",
                            engine.name, run.image, stop.fault.address.value,
                            stop.fault.write ? "write" : "read",
                            stop.fault.reason == GpuFault::kReadOnly      ? "a page that takes none"
                            : stop.fault.reason == GpuFault::kNotResident ? "memory that there is no room for"
                                                                          : "what is not mapped",
                            left_out_.empty() ? "" : ", ", left_out_);
    case CommandStop::kDeviceFault:
      return Status::Refuse(EPROTO, "{} engine, context {:#x}: not executed: {}", engine.name, run.image,
                            left_out_);
    case CommandStop::kHang:
    case CommandStop::kHung:
      return Status::Refuse(EPROTO, "{} engine, context {:#x}: the command at {:#x} hangs", engine.name,
                            run.image, at);
    default:
      return Status::Refuse(EPROTO, "{} engine, context {:#x}: no valid command at {:#x}{}{}", engine.name,
                            run.image, at, unknown_.empty() ? "" : ": ", unknown_);
  }
}

}  // namespace dxg::hostsim::serve
