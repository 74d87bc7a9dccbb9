#include "cuse-dxg/trial.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <string>

#include "base/page.h"
#include "base/unique_fd.h"
#include "proto/abi/d3dkmthk.h"

namespace dxg {
namespace {

// Safety: for the kernel.
uint64_t Address(const void* here) { return reinterpret_cast<uint64_t>(here); }

// The value at an address that the node has given; it is looked at as the kernel does, so that a false one is
// a "no" and no crash.
bool IsThere(uint64_t address, uint64_t value) {
  uint64_t there = ~value;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return false;
  UniqueFd reads(ends[0]), writes(ends[1]);
  // Safety: write answers EFAULT.
  return write(writes.get(), reinterpret_cast<const void*>(address), sizeof(there)) == sizeof(there) &&
         read(reads.get(), &there, sizeof(there)) == sizeof(there) && there == value;
}

class Trial {
 public:
  explicit Trial(int node) : node_(node) {}

  bool Run() {
    d3dkmt_enumadapters3 adapters = {};
    adapters.filter.include_compute_only = 1;
    if (!Step("node", Call(LX_DXENUMADAPTERS3, adapters), "EnumAdapters3")) return false;
    d3dkmt_adapterinfo adapter[64] = {};
    adapters.adapter_count = std::min<uint32_t>(adapters.adapter_count, std::size(adapter));
    adapters.adapters = Address(adapter);
    if (adapters.adapter_count == 0) return Say("node", "no", "it has no adapters");
    if (!Step("node", Call(LX_DXENUMADAPTERS3, adapters), "EnumAdapters3")) return false;
    Say("node", "ok", fmt::format("{} adapters", adapters.adapter_count));
    d3dkmt_createdevice device = {};
    device.adapter = adapter[0].adapter_handle;
    if (!Step("device", Call(LX_DXCREATEDEVICE, device), "CreateDevice")) return false;
    Say("device", "ok", "CreateDevice");
    const bool visited = Visit(device.device);
    const bool locked = Lock(device.device);
    const bool fenced = Fence(device.device);
    d3dkmt_destroydevice destroy = {device.device};
    return Step("device", Call(LX_DXDESTROYDEVICE, destroy), "DestroyDevice") && visited && locked && fenced;
  }

 private:
  template <class Args>
  int Call(unsigned long code, Args& args) {
    return ioctl(node_, code, &args) < 0 ? -errno : 0;
  }
  static bool Say(const char* what, const char* verdict, const std::string& how) {
    fmt::print("{}\t{}\t{}\n", what, verdict, how);
    return verdict == std::string("ok");
  }
  static bool Step(const char* what, int result, const char* call) {
    return result >= 0 || Say(what, "no", fmt::format("{}: {}", call, std::strerror(-result)));
  }

  // Its fence is memory of the device that is brought into this process.
  bool Visit(d3dkmthandle device) {
    d3dkmt_createpagingqueue queue = {};
    queue.device = device;
    if (!Step("visit", Call(LX_DXCREATEPAGINGQUEUE, queue), "CreatePagingQueue")) return false;
    if (!IsThere(queue.fence_cpu_virtual_address, 0))
      return Say("visit", "no", "CreatePagingQueue: its memory is not here");
    d3dddi_destroypagingqueue destroy = {queue.paging_queue};
    if (!Step("visit", Call(LX_DXDESTROYPAGINGQUEUE, destroy), "DestroyPagingQueue")) return false;
    return Say("visit", "ok", "memory can be brought into a program");
  }

  // A page of this process as an allocation.
  bool Lock(d3dkmthandle device) {
    void* page = mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    d3dkmt_createstandardallocation standard = {};
    standard.type = _D3DKMT_STANDARDALLOCATIONTYPE_EXISTINGHEAP;
    standard.existing_heap_data.size = kPageBytes;
    d3dddi_allocationinfo2 info = {};
    info.sysmem = Address(page);
    d3dkmt_createallocation create = {};
    create.device = device;
    create.standard_allocation = Address(&standard);
    create.alloc_count = 1;
    create.allocation_info = Address(&info);
    create.flags.standard_allocation = 1;
    create.flags.existing_sysmem = 1;
    if (!Step("lock", Call(LX_DXCREATEALLOCATION, create), "CreateAllocation")) return false;
    d3dkmt_lock2 lock = {};
    lock.device = device;
    lock.allocation = info.allocation;
    if (!Step("lock", Call(LX_DXLOCK2, lock), "Lock2")) return false;
    if (lock.data != Address(page)) return Say("lock", "no", "Lock2: it is not the memory of the allocation");
    return Say("lock", "ok", "the memory of an allocation");
  }

  bool Fence(d3dkmthandle device) {
    d3dkmt_createsynchronizationobject2 create = {};
    create.device = device;
    create.info.type = _D3DDDI_MONITORED_FENCE;
    create.info.flags.shared = 1;
    create.info.flags.nt_security_sharing = 1;
    if (!Step("fence", Call(LX_DXCREATESYNCHRONIZATIONOBJECT, create), "CreateSynchronizationObject"))
      return false;
    const uint64_t value = 7;
    d3dkmt_signalsynchronizationobjectfromcpu signal = {};
    signal.device = device;
    signal.object_count = 1;
    signal.objects = Address(&create.sync_object);
    signal.fence_values = Address(&value);
    d3dkmt_waitforsynchronizationobjectfromcpu wait = {};
    wait.device = device;
    wait.object_count = 1;
    wait.objects = signal.objects;
    wait.fence_values = signal.fence_values;
    if (!Step("fence", Call(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU, signal),
              "SignalSynchronizationObject") ||
        !Step("fence", Call(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, wait), "WaitForSynchronizationObject"))
      return false;
    if (!IsThere(create.info.monitored_fence.fence_cpu_virtual_address, value))
      return Say("fence", "no", "its value is not seen");
    Say("fence", "ok", "signalled, waited for, and seen");
    return Share(create.sync_object);
  }

  bool Share(d3dkmthandle object) {
    uint64_t shared = ~uint64_t{0};
    d3dkmt_shareobjects share = {};
    share.object_count = 1;
    share.objects = Address(&object);
    share.shared_handle = Address(&shared);
    if (!Step("descriptor", Call(LX_DXSHAREOBJECTS, share), "ShareObjects")) return false;
    const UniqueFd file(static_cast<int>(shared));
    if (fcntl(file.get(), F_GETFD) < 0) return Say("descriptor", "no", "ShareObjects: it is no descriptor");
    return Say("descriptor", "ok", "a shared object is a descriptor here");
  }

  const int node_;
};

}  // namespace

int RunTrial(const char* path) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const UniqueFd node(open(path, O_RDWR | O_CLOEXEC));
  if (!node.valid()) {
    fmt::print("node\tno\t{} cannot be opened: {}\n", path, std::strerror(errno));
    return 1;
  }
  return Trial(node.get()).Run() ? 0 : 1;
}

}  // namespace dxg
