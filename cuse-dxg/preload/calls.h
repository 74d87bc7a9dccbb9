#pragma once

#include <stdint.h>

// The calls of /dev/dxg, as the library says them to the device process.

namespace dxg::preload::node {

// open(2) of the node: a descriptor, or -errno.
int Open(int flags);
// ioctl(2) on a descriptor of the node: the result as the driver gives it, or -errno.
int32_t Ioctl(int descriptor, uint64_t file, unsigned long code, unsigned long argument);

}  // namespace dxg::preload::node
