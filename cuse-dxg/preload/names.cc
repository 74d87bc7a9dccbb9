#include "cuse-dxg/preload/names.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cuse-dxg/preload/connection.h"
#include "cuse-dxg/preload/node_protocol.h"

namespace dxg::preload::node {
namespace {

constexpr int kDescriptorsKnown = 65536;

char name[kNameBytes + 1];  // empty: there is no device process
char secret[kSecretBytes];
uint8_t known[kDescriptorsKnown / 8];

socklen_t AddressOf(const char* text, size_t length, sockaddr_un* address) {
  memset(address, 0, sizeof(*address));
  address->sun_family = AF_UNIX;
  memcpy(address->sun_path + 1, text, length);
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + length);
}

}  // namespace

bool LoadName() {
  const char* const wanted = getenv(kVariable);
  if (wanted == nullptr || strlen(wanted) != kNameBytes + 1 + kSecretBytes || wanted[kNameBytes] != ':')
    return false;
  memcpy(name, wanted, kNameBytes);
  memcpy(secret, wanted + kNameBytes + 1, kSecretBytes);
  return true;
}

socklen_t ServerAddress(sockaddr_un* address) { return AddressOf(name, kNameBytes, address); }
const char* Secret() { return secret; }

// Gives a descriptor of the node its address.
bool GiveName(int descriptor, uint64_t number, unsigned access) {
  char text[64];
  char* at = text;
  memcpy(at, kFilePrefix, sizeof(kFilePrefix) - 1);
  at += sizeof(kFilePrefix) - 1;
  memcpy(at, name, kNameBytes);
  at += kNameBytes;
  *at++ = '-';
  char digits[24];
  int count = 0;
  do {
    digits[count++] = static_cast<char>('0' + number % 10);
    number /= 10;
  } while (number != 0);
  while (count > 0) *at++ = digits[--count];
  *at++ = '-';
  *at++ = static_cast<char>('0' + access % 4);
  sockaddr_un address;
  const socklen_t bytes = AddressOf(text, static_cast<size_t>(at - text), &address);
  return bind(descriptor, reinterpret_cast<sockaddr*>(&address), bytes) == 0;  // Safety: the interface's way
}

void Remember(int descriptor) {
  if (descriptor >= 0 && descriptor < kDescriptorsKnown)
    __atomic_fetch_or(&known[descriptor / 8], static_cast<uint8_t>(1u << descriptor % 8), __ATOMIC_RELAXED);
}

bool MayBeNode(int descriptor) {
  return descriptor >= 0 && descriptor < kDescriptorsKnown &&
         (__atomic_load_n(&known[descriptor / 8], __ATOMIC_RELAXED) >> descriptor % 8 & 1) != 0;
}

// Other libraries of the program may be initialized before this one, and libdxg opens the node then.
bool Served() {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, Load);
  return name[0] != '\0';
}

FileName NameOf(int descriptor) {
  sockaddr_un address;
  socklen_t bytes = sizeof(address);
  constexpr size_t kPrefix = sizeof(kFilePrefix) - 1;
  const int error = errno;
  // Safety: the interface's way.
  const long got = syscall(SYS_getsockname, descriptor, reinterpret_cast<sockaddr*>(&address), &bytes);
  errno = error;
  const size_t text = offsetof(sockaddr_un, sun_path) + 1;
  if (got != 0 || bytes <= text + kPrefix + kNameBytes + 3 || bytes > sizeof(address) ||
      address.sun_family != AF_UNIX || address.sun_path[0] != '\0' ||
      memcmp(address.sun_path + 1, kFilePrefix, kPrefix) != 0 ||
      memcmp(address.sun_path + 1 + kPrefix, name, kNameBytes) != 0)
    return {0, 0};
  const char* at = address.sun_path + 1 + kPrefix + kNameBytes + 1;
  const char* const end = address.sun_path + (bytes - offsetof(sockaddr_un, sun_path));
  uint64_t number = 0;
  while (at < end && *at >= '0' && *at <= '9') number = number * 10 + static_cast<uint64_t>(*at++ - '0');
  return {number, end - at == 2 ? at[1] - '0' : O_RDWR};
}

}  // namespace dxg::preload::node
