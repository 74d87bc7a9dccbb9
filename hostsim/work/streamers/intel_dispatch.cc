#include "hostsim/work/streamers/intel_dispatch.h"

#include <fmt/core.h>

#include <algorithm>
#include <span>

#include "base/page.h"
#include "hostsim/work/streamers/intel_commands.h"

namespace dxg::hostsim::intel {
namespace {

constexpr uint32_t kDescriptorWords = 8;
constexpr uint64_t kPayloadBytesMax = 1u << 17;
constexpr uint64_t kAddressMask = (1ull << 48) - 1;  // a branch may lead to before address 0

}  // namespace

void ComputeState::SetBases(const uint32_t* words, uint32_t count) {
  const auto set = [words, count](uint64_t* base, uint32_t at) {
    if (at + 1 < count && (words[at] & 1) != 0) *base = AddressAt(&words[at]) & ~0xFFFull;
  };
  set(&general, 1);
  set(&surface, 4);
  set(&dynamic, 6);
  set(&indirect, 8);
  set(&instruction, 10);
}

void ComputeState::SetFrontEnd(const uint32_t* words) {
  scratch_code = Field(words[1], 0, 3);
  scratch = (words[1] & ~0x3FFu) | uint64_t{Field(words[2], 0, 15)} << 32;
}

bool ReadOrder(PageMemory& memory, const ComputeState& state, const uint32_t* walker,
               eu::DispatchOrder* order, std::string* refusal) {
  uint32_t descriptor[kDescriptorWords];
  const uint64_t at =
      state.dynamic + state.descriptors + Field(walker[1], 0, 5) * uint64_t{sizeof descriptor};
  if (!memory.Read(at, descriptor, sizeof descriptor)) return false;
  order->kernel = state.instruction + ((descriptor[0] & ~63u) | uint64_t{Field(descriptor[1], 0, 15)} << 32);
  order->lanes = 8u << Field(walker[4], 30, 31);
  order->threads =
      (Field(walker[4], 0, 5) + 1) * (Field(walker[4], 8, 13) + 1) * (Field(walker[4], 16, 21) + 1);
  order->last_mask = walker[13];
  constexpr uint32_t kFirst[] = {5, 8, 11}, kEnd[] = {7, 10, 12};
  for (int i = 0; i < 3; ++i) {
    order->first[i] = walker[kFirst[i]];
    order->end[i] = walker[kEnd[i]];
  }
  order->common_registers = Field(descriptor[7], 0, 7);
  order->own_registers = Field(descriptor[5], 16, 31);
  const uint32_t local = Field(descriptor[6], 16, 20);
  order->local_bytes = local == 0 ? 0 : 1024u << std::min(local - 1, 21u);
  order->rounding = Field(descriptor[6], 22, 23);
  order->binding_table = descriptor[4] & 0xFFE0;
  order->samplers = descriptor[3] & ~31u;
  order->scratch = state.scratch;
  order->scratch_code = state.scratch_code;
  order->bases = {state.general, state.surface, order->binding_table};

  constexpr uint32_t kAlternativeFloats = 1u << 16, kIndirectExtent = 1u << 10, kPredicated = 1u << 8;
  const uint64_t payload_bytes =
      (order->common_registers + uint64_t{order->threads} * order->own_registers) * eu::kRegisterBytes;
  *refusal = eu::Dispatch::Refusal(*order);
  if (!refusal->empty()) return true;
  if ((walker[0] & (kIndirectExtent | kPredicated)) != 0) {
    *refusal = "a walker whose extent is in registers, or that has a predicate";
  } else if ((descriptor[2] & kAlternativeFloats) != 0) {
    *refusal = "a kernel in the alternative mode of floats";
  } else if (state.scratch_code > 11) {
    *refusal = fmt::format("scratch memory with the code {}", state.scratch_code);
  } else if (payload_bytes > kPayloadBytesMax) {
    *refusal = fmt::format("a payload of {} bytes", payload_bytes);
  }
  if (!refusal->empty()) return true;
  order->payload.resize(payload_bytes);
  return payload_bytes == 0 ||
         memory.Read(state.indirect + (walker[3] & ~63u), order->payload.data(), payload_bytes);
}

std::shared_ptr<const eu::Kernel> KernelCache::Find(PageMemory& memory, const std::atomic<bool>& cancelled,
                                                    uint64_t address, const Room& room) {
  // As much as there is, page by page.
  const auto fetch = [&](int64_t offset, std::span<std::byte> to) -> size_t {
    size_t done = 0;
    while (done < to.size() && !cancelled) {
      const uint64_t at = (address + static_cast<uint64_t>(offset) + done) & kAddressMask;
      const uint64_t part = std::min<uint64_t>(to.size() - done, kPageBytes - at % kPageBytes);
      if (!memory.Read(at, &to[done], part)) break;
      done += part;
    }
    return done;
  };
  ++finds_;
  if (const auto known = kernels_.find(address); known != kernels_.end()) {
    known->second.used = finds_;
    if (known->second.kernel->IsStill(fetch)) return known->second.kernel;
    Drop(known, room);
  }
  std::shared_ptr<const eu::Kernel> kernel = eu::Kernel::Load(fetch);
  if (cancelled || (kernels_.size() >= kKernelsMax && !DropOldest(room))) return kernel;
  bool taken = false;
  while (!(taken = room.take(kernel->memory_bytes())) && DropOldest(room)) {
  }
  if (taken) kernels_[address] = {kernel, finds_};
  return kernel;
}

void KernelCache::Drop(Kernels::iterator known, const Room& room) {
  room.give(known->second.kernel->memory_bytes());
  kernels_.erase(known);
}

// False: there is none.
bool KernelCache::DropOldest(const Room& room) {
  const auto oldest = std::min_element(kernels_.begin(), kernels_.end(), [](const auto& a, const auto& b) {
    return a.second.used < b.second.used;
  });
  if (oldest == kernels_.end()) return false;
  Drop(oldest, room);
  return true;
}

}  // namespace dxg::hostsim::intel
