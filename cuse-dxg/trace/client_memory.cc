#include "cuse-dxg/trace/client_memory.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <iterator>
#include <string>

#include "base/page.h"
#include "proto/contract/calls.gen.h"

namespace dxg::trace {
namespace {

template <class Call>
const typename Call::Request& RequestOf(const guest::CallReport& report) {
  return static_cast<const typename Call::Request&>(*report.request);
}
template <class Call>
const typename Call::Reply& ReplyOf(const guest::CallReport& report) {
  return static_cast<const typename Call::Reply&>(*report.reply);
}

}  // namespace

void ClientMemory::ProcessOpened(pid_t process) {
  MutexLock lock(mutex_);
  ++processes_[process].files;
}

void ClientMemory::ProcessClosed(pid_t process) {
  MutexLock lock(mutex_);
  const auto found = processes_.find(process);
  if (found == processes_.end() || --found->second.files > 0) return;
  known_ -= found->second.shown.size() + found->second.mapped.size();
  processes_.erase(found);
}

void ClientMemory::ProcessEnded(pid_t process) {
  MutexLock lock(mutex_);
  const auto found = processes_.find(process);
  if (found == processes_.end()) return;
  known_ -= found->second.shown.size() + found->second.mapped.size();
  processes_.erase(found);
}

bool ClientMemory::MayKnowMore() {
  if (known_ == kKnownMax) return false;
  ++known_;
  return true;
}

ClientMemory::Place ClientMemory::Commands(const Process& process, uint64_t gpu_address,
                                           uint64_t bytes) const {
  auto range = process.mapped.upper_bound(gpu_address);
  if (range == process.mapped.begin()) return {};
  --range;
  const auto shown = process.shown.find(range->second.allocation);
  if (gpu_address >= range->second.end || shown == process.shown.end()) return {};
  const uint64_t offset = range->second.offset + (gpu_address - range->first);
  if (offset >= shown->second.bytes) return {};
  return {shown->second.address + offset, std::min(bytes, shown->second.bytes - offset)};
}

ClientMemory::Place ClientMemory::Look(const guest::CallReport& report) {
  MutexLock lock(mutex_);
  const auto found = processes_.find(report.pid);
  if (found == processes_.end()) return {};
  Process& process = found->second;
  switch (report.code) {
    case calls::CreateAllocation::kCode:
    case calls::Lock2::kCode:
      for (const guest::NamedMemory& memory : report.memory) {
        if (!process.shown.contains(memory.allocation) && !MayKnowMore()) continue;
        process.shown[memory.allocation] = {memory.address, memory.bytes};
      }
      if (report.code == calls::Lock2::kCode || report.memory.empty()) return {};
      return {report.memory[0].address, report.memory[0].bytes};
    case calls::Unlock2::kCode: {
      const auto shown = process.shown.find(RequestOf<calls::Unlock2>(report).allocation());
      return shown == process.shown.end() ? Place() : shown->second;
    }
    case calls::DestroyAllocation2::kCode:
      for (const uint32_t allocation : RequestOf<calls::DestroyAllocation2>(report).allocations())
        known_ -= process.shown.erase(allocation);
      return {};
    case calls::MapGpuVirtualAddress::kCode: {
      const auto& request = RequestOf<calls::MapGpuVirtualAddress>(report);
      const uint64_t begin = ReplyOf<calls::MapGpuVirtualAddress>(report).virtual_address();
      if (!process.mapped.contains(begin) && !MayKnowMore()) return {};
      process.mapped[begin] = {begin + request.size_in_pages() * kPageBytes, request.allocation(),
                               request.offset_in_pages() * kPageBytes};
      return {};
    }
    case calls::FreeGpuVirtualAddress::kCode:
      known_ -= process.mapped.erase(RequestOf<calls::FreeGpuVirtualAddress>(report).base_address());
      return {};
    case calls::SubmitCommand::kCode: {
      const auto& request = RequestOf<calls::SubmitCommand>(report);
      return Commands(process, request.command_buffer(), request.command_length());
    }
    case calls::SubmitCommandToHwQueue::kCode: {
      const auto& request = RequestOf<calls::SubmitCommandToHwQueue>(report);
      return Commands(process, request.command_buffer(), request.command_length());
    }
    default:
      return {};
  }
}

size_t ClientMemory::Allow(uint64_t bytes) {
  MutexLock lock(mutex_);
  const auto now = std::chrono::steady_clock::now();
  if (now - second_ >= std::chrono::seconds(1)) second_ = now, of_second_ = 0;
  const size_t allowed = std::min<uint64_t>({bytes, kOfCallMax, kOfSecondMax - of_second_});
  of_second_ += allowed;
  return allowed;
}

void ClientMemory::Record(pid_t tid, const Place& place, TraceCall* call) {
  const size_t allowed = Allow(place.bytes);
  std::string bytes;
  const bool read = allowed != 0 && reader_.Read(tid, place.address, allowed, &bytes);
  TraceMemory* memory = call->add_memory();
  memory->set_address(place.address);
  memory->set_bytes(read ? allowed : place.bytes);
  if (!read) return;
  if (memory_ == TraceHeader::FULL) {
    memory->set_contents(std::move(bytes));
  } else {
    memory->set_hash(XXH64(bytes.data(), bytes.size(), 0));
  }
  if (allowed == place.bytes) return;
  memory = call->add_memory();  // the rest
  memory->set_address(place.address + allowed);
  memory->set_bytes(place.bytes - allowed);
}

void ClientMemory::AddTo(const guest::CallReport& report, TraceCall* call) {
  if (report.request == nullptr || report.reply == nullptr || !report.status->ok()) return;
  const Place place = Look(report);
  if (place.bytes != 0) Record(report.tid, place, call);
  // The others of an allocation with several elements.
  for (size_t i = 1; i < report.memory.size() && report.code == calls::CreateAllocation::kCode; ++i)
    Record(report.tid, {report.memory[i].address, report.memory[i].bytes}, call);
}

}  // namespace dxg::trace
