#include "hostsim/work/eu/messages.h"

#include <fmt/core.h>

#include <cstring>
#include <utility>

namespace dxg::hostsim::eu {
namespace {

enum SharedFunction : uint8_t {
  kSampler = 2,
  kGateway = 3,
  kThreadSpawner = 7,
  kConstantCache = 9,
  kDataCache0 = 10,
  kDataCache1 = 12,
};

// Bits 7:0 of a descriptor: an index in the binding table, or one of these.
constexpr uint32_t kBindingTableMax = 239;
constexpr uint32_t kStatelessNonCoherent = 0xFD, kLocalMemory = 0xFE, kStateless = 0xFF;

const char* NameOf(uint8_t shared_function) {
  switch (shared_function) {
    case kSampler:
      return "the sampler";
    case 5:
    case 11:
      return "the render cache";
    case 6:
      return "the URB";
    case 8:
      return "video motion estimation";
    case kConstantCache:
      return "the constant cache";
    default:
      return "a shared function";
  }
}

}  // namespace

MessageResult Messages::Send(const Message& message, Thread& thread) {
  switch (message.sfid) {
    case kGateway:
      return Gateway(message, thread);
    case kThreadSpawner:
      if (message.eot) return {};
      return Refuse("a message to the thread spawner that does not end the thread");
    case kConstantCache:
      if (Field(message.descriptor, 14, 18) <= 1) return Block(message, thread, false);
      return Refuse(fmt::format("message {:#x} to the constant cache", message.descriptor));
    case kDataCache0:
      return DataCache0(message, thread);
    case kDataCache1:
      return DataCache1(message, thread);
    default:
      return Refuse(
          fmt::format("a message to {} ({}), which is not simulated", NameOf(message.sfid), message.sfid));
  }
}

MessageResult Messages::Gateway(const Message& message, Thread& thread) {
  constexpr uint32_t kBarrierSignal = 4;
  if (Field(message.descriptor, 0, 2) != kBarrierSignal)
    return Refuse(fmt::format("message {:#x} to the gateway, which is no barrier's", message.descriptor));
  if (thread.waits_at_barrier) return Refuse("a second signal to a barrier before it was passed");
  group_->Signal(thread);
  return {};
}

MessageResult Messages::DataCache0(const Message& message, Thread& thread) {
  if (Field(message.descriptor, 18, 18) != 0) return ScratchBlock(message, thread);
  switch (Field(message.descriptor, 14, 17)) {
    case 0:
    case 1:
      return Block(message, thread, false);
    case 4:
      return ByteScattered(message, thread, false);
    case 7:  // a fence: messages have their effects in their order here
      std::atomic_thread_fence(std::memory_order_seq_cst);
      return {};
    case 8:
      return Block(message, thread, true);
    case 12:
      return ByteScattered(message, thread, true);
    default:
      return Refuse(fmt::format("message {:#x} to the data cache", message.descriptor));
  }
}

MessageResult Messages::DataCache1(const Message& message, Thread& thread) {
  switch (Field(message.descriptor, 14, 18)) {
    case 0x01:
      return Untyped(message, thread, false, false);
    case 0x02:
      return Atomic(message, thread, false, false);
    case 0x05:
    case 0x06:
    case 0x0D:
      return Refuse("a typed message: images are not simulated");
    case 0x04:
    case 0x0A:
      return Refuse("a media block message: images are not simulated");
    case 0x09:
      return Untyped(message, thread, true, false);
    case 0x10:
      return ScatteredByAddress(message, thread, false);
    case 0x11:
      return Untyped(message, thread, false, true);
    case 0x12:
      return Atomic(message, thread, true, false);
    case 0x14:
      return BlockByAddress(message, thread, false);
    case 0x15:
      return BlockByAddress(message, thread, true);
    case 0x19:
      return Untyped(message, thread, true, true);
    case 0x1A:
      return ScatteredByAddress(message, thread, true);
    case 0x1B:
      return Atomic(message, thread, false, true);
    case 0x1D:
      return Atomic(message, thread, true, true);
    default:
      return Refuse(fmt::format("message {:#x} to the second data cache", message.descriptor));
  }
}

// -- What messages reach.

std::optional<Messages::Target> Messages::FindTarget(uint32_t index, MessageResult* result) {
  switch (index) {
    case kLocalMemory:
      // Compilers begin local memory at 2^28, so that no pointer into it is null.
      return Target{Target::kLocal, 0, group_->local.size(), (1u << 28) - 1};
    case kStateless:
    case kStatelessNonCoherent:
      return Target{Target::kMemory, bases_.general, 1ull << 32};
    default:
      break;
  }
  if (index > kBindingTableMax) {
    *result = Refuse(fmt::format("a message to the reserved surface {}", index));
    return std::nullopt;
  }
  Surface& surface = surfaces_[index];
  if (!surface.known && !ReadSurface(index, &surface)) {
    *result = Fault();
    return std::nullopt;
  }
  if (!surface.refused.empty()) {
    *result = Refuse(surface.refused);
    return std::nullopt;
  }
  return surface.target;
}

bool Messages::ReadSurface(uint32_t index, Surface* surface) {
  constexpr uint32_t kBuffer = 4, kNull = 7;
  uint32_t offset = 0, state[16];
  if (!pages_->Read(bases_.surface + bases_.binding_table + index * sizeof offset, &offset, sizeof offset))
    return false;
  if (!pages_->Read(bases_.surface + (offset & ~63u), state, sizeof state)) return false;
  surface->known = true;
  const uint32_t type = Field(state[0], 29, 31);
  if (type == kNull) {
    surface->target = {Target::kNothing, 0, 0};
  } else if (type == kBuffer) {
    const uint64_t last =
        Field(state[2], 0, 6) | Field(state[2], 16, 29) << 7 | uint64_t{Field(state[3], 21, 31)} << 21;
    surface->target = {Target::kMemory, state[8] | uint64_t{state[9]} << 32, last + 1};
  } else {
    surface->refused = fmt::format("surface {} is an image, which are not simulated", index);
  }
  return true;
}

bool Messages::Load(const Target& target, uint64_t offset, void* to, uint32_t bytes) {
  offset &= target.offset_mask;
  if (target.kind == Target::kNothing || offset >= target.bytes || bytes > target.bytes - offset) {
    std::memset(to, 0, bytes);
    return true;
  }
  if (target.kind == Target::kMemory) return pages_->Read(target.base + offset, to, bytes);
  std::memcpy(to, group_->local.data() + offset, bytes);
  return true;
}

bool Messages::Store(const Target& target, uint64_t offset, const void* from, uint32_t bytes) {
  offset &= target.offset_mask;
  if (target.kind == Target::kNothing || offset >= target.bytes || bytes > target.bytes - offset) return true;
  if (target.kind == Target::kMemory) return pages_->Write(target.base + offset, from, bytes);
  std::memcpy(group_->local.data() + offset, from, bytes);
  return true;
}

}  // namespace dxg::hostsim::eu
