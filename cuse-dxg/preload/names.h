#pragma once

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

// Names that the library and the device process have for each other, and for descriptors.

namespace dxg::preload::node {

// Whether this process is served at all.
bool Served();
// Reads the environment, once. False: there is no device process.
bool LoadName();
// Where the device process listens; the address's length.
socklen_t ServerAddress(sockaddr_un* address);
const char* Secret();  // kSecretBytes

// A descriptor of the node, as its address says. `number` is 0 where the descriptor is something else.
struct FileName {
  uint64_t number;
  int access;  // O_RDONLY, O_WRONLY or O_RDWR
};
FileName NameOf(int descriptor);
bool GiveName(int descriptor, uint64_t number, unsigned access);

// Which descriptors may be the node's: those that this library has met. A descriptor that it has not met may
// be one as well, as it was inherited or received.
void Remember(int descriptor);
bool MayBeNode(int descriptor);

}  // namespace dxg::preload::node
