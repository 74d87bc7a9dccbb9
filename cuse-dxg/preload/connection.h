#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "cuse-dxg/preload/node_protocol.h"

// The library's end of the connections to the device process: one of each thread that makes calls.

namespace dxg::preload::node {

// A descriptor of the node, as its address says. `number` is 0 where the descriptor is something else.
struct FileName {
  uint64_t number;
  int access;  // O_RDONLY, O_WRONLY or O_RDWR
};
FileName NameOf(int descriptor);

// Whether this process is served at all. Reads the environment when the library is loaded.
bool Served();
void Load();

// open(2) of the node: a descriptor, or -errno.
int Open(int flags);
// ioctl(2) on a descriptor of the node: the result as the driver gives it, or -errno.
int32_t Ioctl(int descriptor, uint64_t file, unsigned long code, unsigned long argument);

// Which descriptors may be the node's: those that this library has met. A descriptor that it has not met may
// be one as well, as it was inherited or received.
void Remember(int descriptor);
bool MayBeNode(int descriptor);

}  // namespace dxg::preload::node
