#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "proto/abi/dxg_commands.h"
#include "tests/conformance/sync_client.h"

namespace dxg::conformance {

// An allocation that the GPU can use and the CPU can see.
struct GpuMemory {
  d3dkmthandle allocation;
  uint64_t gpu;  // its GPU virtual address
  std::byte* cpu;
  uint64_t bytes;

  template <typename T>
  std::span<T> as() const {
    return {reinterpret_cast<T*>(cpu), bytes / sizeof(T)};  // Safety: page memory of the node
  }
  // Reads a word that the GPU may be writing.
  uint64_t Word(size_t index = 0) const {
    return __atomic_load_n(reinterpret_cast<const uint64_t*>(cpu) + index,
                           __ATOMIC_ACQUIRE);  // Safety: page memory, of at least index + 1 words
  }
};

// A command buffer of the simulated GPU (docs/command-format.md), in memory of its own.
struct Commands {
  uint64_t gpu;
  uint32_t bytes;
};

// Execution states of a device.
inline constexpr uint32_t kActive = 1, kReset = 2, kHung = 3, kStopped = 4, kOutOfMemory = 5, kDmaFault = 6,
                          kPageFault = 7;

// A client of the simulated GPU: gives it memory, writes commands, submits them.
class WorkClient : public SyncClient {
 public:
  WorkClient() : paging(CreatePagingQueue()) {}

  PagingQueue paging;

  GpuMemory Allocate(uint64_t bytes = kPageBytes) const { return Attach(Create(bytes), bytes); }
  // Makes it resident, maps it for the GPU to write, and locks it.
  GpuMemory Attach(d3dkmthandle allocation, uint64_t bytes) const;
  // Maps the allocation for the GPU and waits until the mapping is done. Returns the GPU virtual address.
  uint64_t Map(d3dkmthandle allocation, uint64_t bytes, bool writable = true) const;

  // `write` appends ops to the dxg_commands that it is given.
  template <typename Write>
  Commands Compile(Write write) const {
    std::vector<uint64_t> memory(kCommandsMax / sizeof(uint64_t));
    dxg_commands commands = dxg_commands_begin(memory.data(), kCommandsMax);
    write(&commands);
    return Place(memory.data(), commands.used);
  }
  Commands Nothing() const {
    return Compile([](dxg_commands* commands) { dxg_push_nop(commands); });
  }

  int TrySubmitTo(d3dkmthandle context, const Commands& commands, uint32_t flags = 0) const {
    return TrySubmit({&context, 1}, commands.gpu, commands.bytes, flags);
  }
  void Submit(d3dkmthandle context, const Commands& commands, uint32_t flags = 0) const;
  void Submit(const HwQueue& queue, uint64_t progress, const Commands& commands) const;
  // Runs it on a context of the client's own and waits until it is done.
  void Run(const Commands& commands, uint32_t node_ordinal = 0) const;

  uint32_t State() const { return node.ExecutionState(device); }

 private:
  static constexpr size_t kCommandsMax = 65536;
  Commands Place(const void* bytes, size_t count) const;
};

// Whether the host announced asynchronous messages. Then it does not answer calls that only queue something.
// Determined once.
bool HostIsAsynchronous();

// Makes a call that the host refuses with `error`, and that an asynchronous host does not answer: with such a
// host the call returns 0. The client's device goes on. Each call has a client of its own.
void ExpectHostRefuses(int error, const std::function<int(WorkClient&)>& call);

// As above for a submission: an asynchronous host stops the client's device.
void ExpectHostRefusesWork(int error, const std::function<int(WorkClient&)>& call);

}  // namespace dxg::conformance
