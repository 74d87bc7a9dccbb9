#include "cuse-dxg/replay/played_memory.h"

#include <sys/uio.h>
#include <unistd.h>

#include <cstring>
#include <iterator>

#include "base/page.h"
#include "proto/contract/calls.gen.h"

namespace dxg::replay {
namespace {

template <class Call>
typename Call::Request RequestOf(const RecordedCall& call) {
  typename Call::Request request;
  (void)request.ParseFromString(call.request);  // it was looked at when it was read
  return request;
}

template <class Call>
typename Call::Reply ReplyOf(const RecordedCall& call) {
  typename Call::Reply reply;
  (void)reply.ParseFromString(call.reply);
  return reply;
}

// The memory of each element: what is beyond the limit of a copy is a piece of its own, behind the copy.
std::vector<RecordedMemory> OwnOf(const RecordedCall& call) {
  std::vector<RecordedMemory> own;
  for (const RecordedMemory& memory : call.memory) {
    const bool is_rest = !own.empty() && memory.contents.empty() && !own.back().contents.empty() &&
                         own.back().address + own.back().bytes == memory.address;
    if (is_rest) {
      own.back().bytes += memory.bytes;
    } else {
      own.push_back(memory);
    }
  }
  return own;
}

// By the kernel: what the recorded client had mapped may be gone here.
void Write(uint64_t address, const std::string& bytes) {
  const iovec from{const_cast<char*>(bytes.data()), bytes.size()};
  const iovec to{reinterpret_cast<void*>(address), bytes.size()};  // Safety: never touched but by the kernel
  (void)process_vm_writev(getpid(), &from, 1, &to, 1, 0);
}

// Commands have addresses of the GPU in them; those of this project's simulator lie at multiples of 4.
std::string Renamed(std::string bytes, const PlayedMemory::Rename& rename) {
  constexpr size_t kStep = 4;
  for (size_t at = 0; at + sizeof(uint64_t) <= bytes.size();) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, sizeof(word));
    const uint64_t here = rename(word);
    std::memcpy(bytes.data() + at, &here, sizeof(here));
    at += here == word ? kStep : sizeof(here);
  }
  return bytes;
}

}  // namespace

uint64_t PlayedMemory::OwnBytes(const RecordedCall& call, size_t element) {
  const std::vector<RecordedMemory> own = OwnOf(call);
  return element < own.size() ? own[element].bytes : 0;
}

const PlayedMemory::Range* PlayedMemory::RangeOf(uint64_t gpu_address) const {
  const auto after = mapped_.upper_bound(gpu_address);
  if (after == mapped_.begin()) return nullptr;
  const Range& range = std::prev(after)->second;
  return gpu_address < range.end ? &range : nullptr;
}

void PlayedMemory::Put(const Range& range) {
  std::erase_if(mapped_, [&range](const auto& each) {
    return each.second.begin < range.end && range.begin < each.second.end;
  });
  mapped_[range.begin] = range;
}

void PlayedMemory::Name(uint64_t gpu_address, uint64_t live) {
  Put({gpu_address, gpu_address + kPageBytes, 0, live});
}

uint64_t PlayedMemory::Mapped(uint64_t gpu_address) const {
  const Range* const range = RangeOf(gpu_address);
  return range == nullptr ? 0 : range->live + (gpu_address - range->begin);
}

bool PlayedMemory::HasReached(const RecordedPaging& paging) const {
  const auto page = pages_.find(paging.queue);
  if (page == pages_.end()) return true;
  uint64_t value = 0;
  const iovec to{&value, sizeof(value)};
  const iovec from{reinterpret_cast<void*>(page->second), sizeof(value)};  // Safety: the kernel reads it
  return process_vm_readv(getpid(), &to, 1, &from, 1, 0) != sizeof(value) || value >= paging.value;
}

// Where that is which the call hands on.
PlayedMemory::Place PlayedMemory::PlaceOf(const RecordedCall& call) const {
  uint32_t allocation = 0;
  if (call.row->code == calls::Unlock2::kCode) {
    allocation = RequestOf<calls::Unlock2>(call).allocation();
  } else if (const Range* const range = RangeOf(contract::NumberIn(*call.Request(), "command_buffer"))) {
    allocation = range->allocation;
  }
  const auto shown = shown_.find(allocation);
  return shown == shown_.end() ? Place() : shown->second;
}

void PlayedMemory::Put(const RecordedCall& call, const std::vector<uint64_t>& own,
                       const Rename& rename) const {
  if (call.memory.empty()) return;
  if (call.row->code == calls::CreateAllocation::kCode) {
    const std::vector<RecordedMemory> recorded = OwnOf(call);
    for (size_t i = 0; i < recorded.size() && i < own.size(); ++i) Write(own[i], recorded[i].contents);
    return;
  }
  const Place place = PlaceOf(call);
  const bool commands = call.row->code != calls::Unlock2::kCode;
  for (const RecordedMemory& memory : call.memory) {
    if (place.live == 0 || memory.contents.empty() || memory.address < place.recorded) continue;
    Write(place.live + (memory.address - place.recorded),
          commands ? Renamed(memory.contents, rename) : memory.contents);
  }
}

void PlayedMemory::Learn(const RecordedCall& call, const std::vector<uint64_t>& own, const ClientCall& made,
                         const Message& reply) {
  switch (call.row->code) {
    case calls::CreateAllocation::kCode: {
      const auto request = RequestOf<calls::CreateAllocation>(call);
      const auto answer = ReplyOf<calls::CreateAllocation>(call);
      const std::vector<RecordedMemory> recorded = OwnOf(call);
      size_t next = 0;
      for (int i = 0; i < request.allocation_info_size() && i < answer.allocation_info_size(); ++i) {
        if (!request.allocation_info(i).has_sysmem()) continue;
        if (next < recorded.size() && next < own.size())
          shown_[answer.allocation_info(i).allocation()] = {recorded[next].address, own[next]};
        ++next;
      }
      return;
    }
    case calls::CreatePagingQueue::kCode:
      if (!call.handles.empty())
        pages_[call.handles.front().object] = made.AddressIn(call.row->addresses.front());
      return;
    case calls::Lock2::kCode:
      if (!call.addresses.empty())
        shown_[RequestOf<calls::Lock2>(call).allocation()] = {call.addresses.front(),
                                                              made.AddressIn(call.row->addresses.front())};
      return;
    case calls::DestroyAllocation2::kCode: {
      const auto request = RequestOf<calls::DestroyAllocation2>(call);
      for (const uint32_t allocation : request.allocations()) shown_.erase(allocation);
      return;
    }
    case calls::MapGpuVirtualAddress::kCode: {
      const auto request = RequestOf<calls::MapGpuVirtualAddress>(call);
      const uint64_t begin = ReplyOf<calls::MapGpuVirtualAddress>(call).virtual_address();
      Put({begin, begin + request.size_in_pages() * kPageBytes, request.allocation(),
           NumberIn(reply, "virtual_address")});
      return;
    }
    case calls::FreeGpuVirtualAddress::kCode:
      mapped_.erase(RequestOf<calls::FreeGpuVirtualAddress>(call).base_address());
      return;
    default:
      return;
  }
}

}  // namespace dxg::replay
