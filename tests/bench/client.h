#pragma once

#include <vector>

#include "base/page.h"
#include "proto/abi/d3dkmthk.h"
#include "tests/bench/bench.h"

namespace dxg::bench {

using dxg::kPageBytes;

// A client with a device; every call of it works or ends the program.
class Client {
 public:
  explicit Client(int fd);

  d3dkmthandle adapter() const { return adapter_; }
  d3dkmthandle device() const { return device_; }

  // -- Memory
  void GetState();          // of the device: answered without the host
  void QueryVideoMemory();  // asks the host
  void CreateQueue();       // a paging queue, for MakeResident and Map
  d3dkmthandle Create(uint64_t bytes);
  void Destroy(d3dkmthandle allocation);
  char* Lock(d3dkmthandle allocation);
  void Unlock(d3dkmthandle allocation);
  void MakeResident(d3dkmthandle allocation);
  uint64_t Map(d3dkmthandle allocation, uint64_t pages = 1);  // its GPU virtual address, writable
  void Free(uint64_t address);

  // -- Time and work
  struct Fence {
    d3dkmthandle handle{};
    const volatile uint64_t* value = nullptr;
  };
  Fence CreateFence(bool shared = false);
  int Share(const Fence& fence);  // a descriptor
  Fence Open(int descriptor);
  void Signal(const Fence& fence, uint64_t value);
  void Wait(const Fence& fence, uint64_t value);  // blocks
  void WaitEvent(const Fence& fence, uint64_t value, int eventfd);
  d3dkmthandle CreateContext(uint32_t node, bool for_hardware_queues = false);
  struct HwQueue {
    d3dkmthandle handle{};
    Fence progress;
  };
  HwQueue CreateHwQueue(d3dkmthandle context);
  void Submit(d3dkmthandle context, uint64_t address, uint32_t bytes);
  void Submit(const HwQueue& queue, uint64_t address, uint32_t bytes, uint64_t progress);
  void WaitFromGpu(d3dkmthandle context, const Fence& fence, uint64_t value);
  void SignalFromGpu(d3dkmthandle context, const Fence& fence, uint64_t value);

 private:
  template <typename Args>
  int Do(unsigned long code, Args* args) {
    const int result = ioctl(fd_, code, args);
    if (result < 0) Fail(fmt::format("ioctl {:#x}: errno {}", code, errno));
    return result;
  }

  const int fd_;
  d3dkmthandle adapter_{}, device_{}, queue_{};
  Fence paging_;
};

}  // namespace dxg::bench
