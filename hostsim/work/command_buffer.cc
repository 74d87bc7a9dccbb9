#include "hostsim/work/command_buffer.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "hostsim/memory/gpu_memory.h"
#include "hostsim/work/array_ops.h"
#include "hostsim/work/op.h"
#include "proto/abi/dxg_commands.h"

namespace dxg::hostsim {
namespace {

constexpr uint64_t kSmallOpCost = 64;

CommandStop Fill(const Op& op, ConstBytes bytes) {
  const auto fill = As<dxg_op_fill>(bytes);
  if (!fill || fill->reserved != 0 || fill->address % sizeof(uint32_t) != 0 ||
      fill->bytes % sizeof(uint32_t) != 0) {
    return op.Invalid();
  }
  GpuWindow target(op.environment, GpuAddress(fill->address), fill->bytes, true);
  for (uint64_t at = 0; at < fill->bytes;) {
    if (op.cancelled) return op.Stop(CommandStop::kCancelled);
    const uint64_t part = std::min(fill->bytes - at, kGpuChunkBytes);
    if (!target.Fill(at, part, fill->pattern)) return op.Fault(target.fault());
    at += part;
  }
  return op.Done();
}

CommandStop Copy(const Op& op, ConstBytes bytes) {
  const auto copy = As<dxg_op_copy>(bytes);
  if (!copy) return op.Invalid();
  const GpuAddress to(copy->destination);
  const GpuAddress from(copy->source);
  if (Overlap(to, copy->bytes, from, copy->bytes)) return op.Invalid();
  GpuWindow target(op.environment, to, copy->bytes, true);
  GpuWindow source(op.environment, from, copy->bytes, false);
  for (uint64_t at = 0; at < copy->bytes;) {
    if (op.cancelled) return op.Stop(CommandStop::kCancelled);
    const uint64_t part = std::min(copy->bytes - at, kGpuChunkBytes);
    if (!target.CopyFrom(at, source, part))
      return op.Fault(target.failed() ? target.fault() : source.fault());
    at += part;
  }
  return op.Done();
}

CommandStop Write64(const Op& op, ConstBytes bytes, bool add) {
  const auto write = As<dxg_op_write64>(bytes);
  if (!write || write->address % sizeof(uint64_t) != 0) return op.Invalid();
  GpuWindow word(op.environment, GpuAddress(write->address), sizeof(uint64_t), true);
  const bool written = add ? word.Add64(write->value) : word.Store64(write->value);
  return written ? op.Done() : op.Fault(word.fault());
}

CommandStop Wait64(const Op& op, ConstBytes bytes) {
  const auto wait = As<dxg_op_wait64>(bytes);
  if (!wait || wait->address % sizeof(uint64_t) != 0 || wait->reserved != 0 ||
      wait->compare > DXG_COMPARE_EQUAL) {
    return op.Invalid();
  }
  GpuWindow word(op.environment, GpuAddress(wait->address), sizeof(uint64_t), false);
  const std::optional<uint64_t> value = word.Load64();
  if (!value) return op.Fault(word.fault());
  const uint64_t masked = *value & wait->mask;
  const bool satisfied = wait->compare == DXG_COMPARE_EQUAL ? masked == wait->value : masked >= wait->value;
  return satisfied ? op.Done() : op.Stop(CommandStop::kWaiting);
}

CommandStop Timestamp(const Op& op, ConstBytes bytes) {
  const auto timestamp = As<dxg_op_timestamp>(bytes);
  if (!timestamp || timestamp->address % sizeof(uint64_t) != 0) return op.Invalid();
  GpuWindow word(op.environment, GpuAddress(timestamp->address), sizeof(uint64_t), true);
  return word.Store64(op.environment.Timestamp()) ? op.Done() : op.Fault(word.fault());
}

CommandStop Delay(const Op& op, ConstBytes bytes) {
  const auto delay = As<dxg_op_delay>(bytes);
  if (!delay || delay->ns > DXG_DELAY_NS_MAX) return op.Invalid();
  if (delay->ns == 0) return op.Done();
  CommandStop stop = op.Stop(CommandStop::kDelay);
  stop.delay_ns = delay->ns;
  return stop;
}

CommandStop Marker(const Op& op, ConstBytes bytes) {
  const auto marker = As<dxg_op_marker>(bytes);
  if (!marker) return op.Invalid();
  op.environment.Mark(marker->id);
  return op.Done();
}

CommandStop AskedFault(const Op& op, ConstBytes bytes) {
  const auto fault = As<dxg_op_fault>(bytes);
  if (!fault || fault->reserved != 0 || fault->code >> 31 != 0) return op.Invalid();
  CommandStop stop = op.Stop(CommandStop::kDeviceFault);
  stop.code = fault->code;
  return stop;
}

CommandStop Touch(const Op& op, ConstBytes bytes) {
  const auto touch = As<dxg_op_touch>(bytes);
  if (!touch || (touch->flags & ~DXG_TOUCH_WRITE) != 0 || touch->reserved != 0) return op.Invalid();
  std::vector<GpuSpan> spans;
  GpuFault fault;
  const bool write = (touch->flags & DXG_TOUCH_WRITE) != 0;
  return op.environment.Translate(GpuAddress(touch->address), 1, write, &spans, &fault) ? op.Done()
                                                                                        : op.Fault(fault);
}

CommandStop Execute(const Op& op, uint32_t number, ConstBytes bytes) {
  switch (number) {
    case DXG_OP_NOP:
      return op.Done();
    case DXG_OP_FILL:
      return Fill(op, bytes);
    case DXG_OP_COPY:
      return Copy(op, bytes);
    case DXG_OP_WRITE64:
      return Write64(op, bytes, false);
    case DXG_OP_ATOMIC_ADD64:
      return Write64(op, bytes, true);
    case DXG_OP_WAIT64:
      return Wait64(op, bytes);
    case DXG_OP_TIMESTAMP:
      return Timestamp(op, bytes);
    case DXG_OP_DELAY:
      return Delay(op, bytes);
    case DXG_OP_MARKER:
      return Marker(op, bytes);
    case DXG_OP_HANG:
      return bytes.size() == sizeof(dxg_op_header) ? op.Stop(CommandStop::kHang) : op.Invalid();
    case DXG_OP_FAULT:
      return AskedFault(op, bytes);
    case DXG_OP_TOUCH:
      return Touch(op, bytes);
    case DXG_OP_ADD:
      return ExecuteAdd(op, bytes);
    case DXG_OP_MAD:
      return ExecuteMad(op, bytes);
    case DXG_OP_REDUCE:
      return ExecuteReduce(op, bytes);
    case DXG_OP_MATMUL:
      return ExecuteMatmul(op, bytes);
    default:
      return op.Invalid();
  }
}

// Of an op that is what it says; of any other it does not matter.
uint64_t Cost(uint32_t number, ConstBytes bytes) {
  constexpr uint64_t kElementBytes = sizeof(uint64_t);
  auto array = [](uint64_t count) { return count > ~0ull / kElementBytes ? ~0ull : count * kElementBytes; };
  switch (number) {
    case DXG_OP_FILL:
      if (const auto fill = As<dxg_op_fill>(bytes)) return fill->bytes;
      break;
    case DXG_OP_COPY:
      if (const auto copy = As<dxg_op_copy>(bytes)) return copy->bytes;
      break;
    case DXG_OP_ADD:
      if (const auto add = As<dxg_op_add>(bytes)) return array(add->count);
      break;
    case DXG_OP_MAD:
      if (const auto mad = As<dxg_op_mad>(bytes)) return array(mad->count);
      break;
    case DXG_OP_REDUCE:
      if (const auto reduce = As<dxg_op_reduce>(bytes)) return array(reduce->count);
      break;
    case DXG_OP_MATMUL:
      return CommandRun::kUnlimited - 1;  // large enough to be, and not worth a look
    default:
      break;
  }
  return kSmallOpCost;
}

// Of the longest op that has members.
constexpr uint32_t kOpBytesMax = sizeof(dxg_op_matmul);

}  // namespace

CommandStop CommandRun::Run(CommandEnvironment& environment, const std::atomic<bool>& cancelled,
                            uint64_t budget) {
  GpuWindow buffer(environment, address_, bytes_, false);
  auto refuse = [this](CommandStop::Kind kind, const GpuFault& fault = {}) {
    CommandStop stop;
    stop.kind = kind;
    stop.fault = fault;
    stop.op_address = address_ + at_;
    return stop;
  };
  if (at_ == 0) {
    uint64_t magic = 0;
    auto foreign = [&] {
      return environment.LeaveOutForeign() ? CommandStop() : refuse(CommandStop::kDeviceFault);
    };
    if (bytes_ < sizeof magic) return foreign();
    if (!buffer.Read(0, &magic, sizeof magic)) return refuse(CommandStop::kPageFault, buffer.fault());
    if (magic != DXG_COMMANDS_MAGIC) return foreign();
    at_ = sizeof magic;
  }
  while (at_ < bytes_) {
    if (cancelled) return refuse(CommandStop::kCancelled);
    dxg_op_header header;
    if (bytes_ - at_ < sizeof header) return refuse(CommandStop::kInvalid);
    uint8_t bytes[kOpBytesMax];
    // Once, with what may follow: another one may write there meanwhile.
    const uint32_t ahead = std::min(bytes_ - at_, kOpBytesMax);
    const uint8_t* const there = buffer.At(at_, ahead);
    if (there) {
      std::memcpy(bytes, there, ahead);
      std::memcpy(&header, bytes, sizeof header);
    } else if (!buffer.Read(at_, &header, sizeof header)) {
      return refuse(CommandStop::kPageFault, buffer.fault());
    }
    const bool fits =
        header.bytes >= sizeof header && header.bytes % sizeof header == 0 && header.bytes <= bytes_ - at_;
    if (!fits || (header.op != DXG_OP_NOP && header.bytes > kOpBytesMax))
      return refuse(CommandStop::kInvalid);
    const uint32_t length = std::min(header.bytes, kOpBytesMax);
    if (!there && header.op != DXG_OP_NOP && !buffer.Read(at_, bytes, length)) {
      return refuse(CommandStop::kPageFault, buffer.fault());
    }
    if (budget != kUnlimited) {
      const uint64_t cost = Cost(header.op, {bytes, length});
      if (cost > budget) return refuse(CommandStop::kBudget);
      budget -= cost;
    }
    const Op op{environment, cancelled, address_ + at_};
    const CommandStop stop = Execute(op, header.op, {bytes, length});
    if (stop.kind == CommandStop::kDone || stop.kind == CommandStop::kDelay) at_ += header.bytes;
    if (stop.kind != CommandStop::kDone) return stop;
  }
  return {};
}

}  // namespace dxg::hostsim
