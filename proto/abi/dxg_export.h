// An ioctl of cuse-dxg that is not in the published ABI: it exports the memory behind a descriptor of a
// shared resource (LX_DXSHAREOBJECTS). The real driver answers ENOTTY to every ioctl on such a descriptor, so
// a program can try it and continue without it.
//
// Any process that holds the descriptor may use it, also one that has not opened /dev/dxg.
#pragma once

#include <linux/ioctl.h>
#include <stdint.h>

enum {
  DXG_EXPORT_MEMFD = 1,   // an ordinary memory file, to map or to pass on. Its size is sealed.
  DXG_EXPORT_DMABUF = 2,  // a dma-buf of the same pages, made by the kernel's udmabuf
};

struct dxg_export {
  uint32_t kind;              // in
  uint32_t allocation_index;  // in: which allocation of the resource, counted from 0
  uint64_t size;              // out: bytes, whole pages
  int32_t fd;                 // out: close-on-exec
  uint32_t reserved;          // in: 0
};

// Returns 0; or -1 with EINVAL (bad kind, index or reserved member), ENODEV (a dma-buf, and the kernel has no
// udmabuf), or EPERM (the host does not show the memory as a file: it is existing memory of a client, or the
// host is a real one).
#define DXG_IOCTL_EXPORT _IOWR(0xd8, 0x10, struct dxg_export)
