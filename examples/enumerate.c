// enumerate.c: the adapters of /dev/dxg, their names and their memory for the CPU's and the GPU's use.
//   cc enumerate.c $(pkg-config --cflags cuse-dxg) -o enumerate && cuse-dxg run -- ./enumerate
#define _GNU_SOURCE
#include <d3dkmthk.h>
#include <fcntl.h>
#include <qaitype.h>
#include <stdio.h>
#include <sys/ioctl.h>

// The driver's answers are NTSTATUS or 0; a negative ioctl() is errno.
static int query(int node, struct d3dkmthandle adapter, uint32_t type, void* data, uint32_t bytes) {
  struct d3dkmt_queryadapterinfo args = {.adapter = adapter, .type = type, .private_data_size = bytes};
  args.private_data = (uintptr_t)data;
  return ioctl(node, LX_DXQUERYADAPTERINFO, &args);
}

int main(void) {
  const int node = open("/dev/dxg", O_RDONLY | O_CLOEXEC);
  if (node < 0) return perror("/dev/dxg"), 1;
  static struct d3dkmt_adapterinfo adapters[D3DKMT_ADAPTERS_MAX];
  struct d3dkmt_enumadapters3 list = {.adapter_count = D3DKMT_ADAPTERS_MAX, .adapters = (uintptr_t)adapters};
  list.filter.include_compute_only = 1;
  if (ioctl(node, LX_DXENUMADAPTERS3, &list) != 0) return perror("LX_DXENUMADAPTERS3"), 1;
  for (uint32_t i = 0; i < list.adapter_count; ++i) {
    static uint16_t name[4096];  // UTF-16
    struct d3dkmt_queryvideomemoryinfo memory = {.adapter = adapters[i].adapter_handle};
    printf("adapter %u: ", i);
    if (query(node, adapters[i].adapter_handle, KMTQAITYPE_DRIVER_DESCRIPTION, name, sizeof(name)) == 0)
      for (const uint16_t* unit = name; *unit != 0; ++unit) putchar(*unit < 0x7f ? *unit : '?');
    if (ioctl(node, LX_DXQUERYVIDEOMEMORYINFO, &memory) != 0) return perror("LX_DXQUERYVIDEOMEMORYINFO"), 1;
    printf(", LUID %08x-%08x, budget %llu MiB\n", adapters[i].adapter_luid.b, adapters[i].adapter_luid.a,
           (unsigned long long)memory.budget >> 20);
  }
  return 0;  // the end of the process closes the handles
}
