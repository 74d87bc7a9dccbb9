// Not of the published ABI: what a descriptor of a shared resource (LX_DXSHAREOBJECTS) can do on a node of
// cuse-dxg. The real driver answers ENOTTY to every ioctl on such a descriptor, so a program can ask and
// carry on without.
//
// Any process that holds the descriptor may ask; it need not have opened /dev/dxg.
#pragma once

#include <linux/ioctl.h>
#include <stdint.h>

enum {
  DXG_EXPORT_MEMFD = 1,   // an ordinary memory file: mmap it, pass it on. Its size is sealed.
  DXG_EXPORT_DMABUF = 2,  // a dma-buf of the same pages, by the kernel's udmabuf
};

struct dxg_export {
  uint32_t kind;              // in
  uint32_t allocation_index;  // in: which allocation of the resource, counted from 0
  uint64_t size;              // out: bytes, whole pages
  int32_t fd;                 // out: close-on-exec
  uint32_t reserved;          // in: 0
};

// 0, or EINVAL (kind, index or reserved member), ENODEV (a dma-buf where the kernel has no udmabuf), EPERM
// (memory that the host does not show as a file: existing memory of a client, or a real host's).
#define DXG_IOCTL_EXPORT _IOWR(0xd8, 0x10, struct dxg_export)
