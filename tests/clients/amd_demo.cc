// What a public demonstration for AMD's GPUs on WSL does (github.com/langyuxf/dxgkrnl_linux): its calls in
// their order, with its private data byte for byte. An allocation is memory of the program. Its first page is
// a stream of PM4 packets, of which the first one copies 8 bytes from the second page to the third. Then the
// program forks, and the child waits for the fence by looking at its page. The demonstration shows what
// becomes of memory that a driver did not pin: the parent has to find the copy. What the child finds depends
// on who was first.
//
// The program has passed when it ends with status 0.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/clients/node_calls.h"

namespace {

constexpr uint32_t kPage = 4096;
constexpr uint32_t kBytes = 4 * kPage;
constexpr uint64_t kCopied = 0xDEADBEEFDEADBEEF;
constexpr uint64_t kSignalled = 0x1234;
constexpr unsigned kSecondsMax = 100;  // for the whole program

int node;
d3dkmthandle device;

void WaitFor(d3dkmthandle fence, uint64_t value) {
  d3dkmt_waitforsynchronizationobjectfromcpu wait{};
  wait.device = device;
  wait.object_count = 1;
  wait.objects = PointerTo(&fence);
  wait.fence_values = PointerTo(&value);
  CALL(node, LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, &wait);
}

// 0, or a number that says that the call goes on.
template <class Args>
void CallAndWait(unsigned long code, Args* args, const char* name, d3dkmthandle paging_fence) {
  const int result = ioctl(node, code, args);
  if (result != 0 && result != DXG_STATUS_PENDING) FailWith(name, result, DXG_STATUS_PENDING);
  WaitFor(paging_fence, args->paging_fence_value);
}

d3dkmthandle CreateAllocation(void* memory) {
  uint32_t data[134] = {
      0x000001D8, 0,          0,          0, 0,          0,      0,          0,           //
      0,          0,          0,          0, 0,          0,      0,          0x00000001,  //
      0x000001D8, 0x00000001, 0x00000080, 0, 0x04000008, kBytes, 0x00001000, 0x00000001,  //
      0x00000004, 0,          0,          0, 0,          0,      0,          0,           //
      0,          0,          0,          0, 0,          0,      0,          0,           //
      0,          0,          kBytes,     0, 0,          0,      0,          0,           //
      0,          0,          0,          0, 0,          0,      0,          0,           //
      0,          0,          0,          0, 0x000000C4, 0,      0,          0,           //
      0,          0x00000114, 0,          0, 0x000000C4, 0,      0,          0,           //
  };
  static_assert(sizeof data == 536);
  d3dddi_allocationinfo2 info{};
  info.sysmem = PointerTo(memory);
  info.priv_drv_data = PointerTo(data);
  info.priv_drv_data_size = sizeof data;
  d3dkmt_createallocation creation{};
  creation.device = device;
  creation.allocation_info = PointerTo(&info);
  creation.alloc_count = 1;
  CALL(node, LX_DXCREATEALLOCATION, &creation);
  return info.allocation;
}

// The stream, and where it copies from and to.
void WriteCommands(uint32_t* words, uint64_t from, uint64_t to) {
  for (uint32_t i = 0; i < kPage / sizeof *words; ++i) words[i] = 0xFFFF1000;  // NOP
  const uint32_t copy[] = {0xC0055000,
                           0x60300000,
                           static_cast<uint32_t>(from),
                           static_cast<uint32_t>(from >> 32),
                           static_cast<uint32_t>(to),
                           static_cast<uint32_t>(to >> 32),
                           8};
  std::memcpy(words, copy, sizeof copy);
}

void Submit(d3dkmthandle context, uint64_t commands) {
  uint32_t data[18] = {0x00000005, 0x00000001, 0x00000000, 0x00000040, 0x00001000, 0, 0, 0, 0x30000000, 0};
  std::memcpy(data + 8, &commands, sizeof commands);
  d3dkmt_submitcommand submit{};
  submit.command_buffer = commands;
  submit.command_length = kPage;
  submit.broadcast_context_count = 1;
  submit.broadcast_context[0] = context;
  submit.priv_drv_data = PointerTo(data);
  submit.priv_drv_data_size = sizeof data;
  CALL(node, LX_DXSUBMITCOMMAND, &submit);
}

}  // namespace

int main() {
  alarm(kSecondsMax);
  node = open("/dev/dxg", O_RDWR | O_CLOEXEC);
  if (node < 0) return std::perror("/dev/dxg"), 1;

  d3dkmt_adapterinfo adapter{};
  d3dkmt_enumadapters2 list{};
  list.num_adapters = 1;
  list.adapters = PointerTo(&adapter);
  CALL(node, LX_DXENUMADAPTERS2, &list);
  d3dkmt_openadapterfromluid opening{};
  opening.adapter_luid = adapter.adapter_luid;
  CALL(node, LX_DXOPENADAPTERFROMLUID, &opening);
  d3dkmt_createdevice creation{};
  creation.adapter = opening.adapter_handle;
  CALL(node, LX_DXCREATEDEVICE, &creation);
  device = creation.device;
  d3dkmt_createcontextvirtual context{};
  context.device = device;
  context.node_ordinal = 1;
  context.engine_affinity = 1;
  context.client_hint = 3;  // OpenCL
  CALL(node, LX_DXCREATECONTEXTVIRTUAL, &context);

  void* const memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return std::perror("mmap"), 1;
  std::memset(memory, 0, kBytes);
  d3dkmthandle allocation = CreateAllocation(memory);
  d3dkmt_createpagingqueue paging{};
  paging.device = device;
  paging.priority = _D3DDDI_PAGINGQUEUE_PRIORITY_NORMAL;
  CALL(node, LX_DXCREATEPAGINGQUEUE, &paging);
  d3dddi_mapgpuvirtualaddress map{};
  map.paging_queue = paging.paging_queue;
  map.allocation = allocation;
  map.size_in_pages = kBytes / kPage;
  map.protection.write = 1;
  CallAndWait(LX_DXMAPGPUVIRTUALADDRESS, &map, "MapGpuVirtualAddress", paging.sync_object);
  d3dddi_makeresident resident{};
  resident.paging_queue = paging.paging_queue;
  resident.alloc_count = 1;
  resident.allocation_list = PointerTo(&allocation);
  CallAndWait(LX_DXMAKERESIDENT, &resident, "MakeResident", paging.sync_object);

  d3dkmt_createsynchronizationobject2 fence{};
  fence.device = device;
  fence.info.type = _D3DDDI_MONITORED_FENCE;
  fence.info.monitored_fence.engine_affinity = 1;
  CALL(node, LX_DXCREATESYNCHRONIZATIONOBJECT, &fence);
  // Safety: where the call says that the fence's value is.
  const auto* fence_value =
      reinterpret_cast<const volatile uint64_t*>(fence.info.monitored_fence.fence_cpu_virtual_address);

  auto* const words = static_cast<uint32_t*>(memory);
  auto* const source = static_cast<char*>(memory) + kPage;
  auto* const destination = source + kPage;
  WriteCommands(words, map.virtual_address + kPage, map.virtual_address + 2 * kPage);
  std::memcpy(source, &kCopied, sizeof kCopied);
  Submit(context.context, map.virtual_address);
  uint64_t value = kSignalled;
  d3dkmt_signalsynchronizationobjectfromgpu signal{};
  signal.context = context.context;
  signal.object_count = 1;
  signal.objects = PointerTo(&fence.sync_object);
  signal.monitored_fence_values = PointerTo(&value);
  CALL(node, LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU, &signal);

  auto copied = [destination] {
    uint64_t found = 0;
    std::memcpy(&found, destination, sizeof found);
    return found;
  };
  const pid_t child = fork();
  if (child == 0) {
    alarm(kSecondsMax);
    while (*fence_value != kSignalled) {
    }
    const uint64_t found = copied();
    std::printf("child: dst_cpu = %016lx\n", static_cast<unsigned long>(found));
    std::fflush(stdout);
    _exit(found == kCopied || found == 0 ? 0 : 1);
  }
  std::memset(destination + 1024, 0, sizeof(uint32_t));  // the parent gets a page of its own
  WaitFor(fence.sync_object, kSignalled);
  std::printf("parent: dst_cpu = %016lx\n", static_cast<unsigned long>(copied()));
  ExpectEqual("what the parent finds", copied(), kCopied);
  int status = 0;
  if (waitpid(child, &status, 0) != child) return std::perror("waitpid"), 1;
  ExpectEqual("the child's status", static_cast<uint64_t>(status), 0);
  return 0;
}
