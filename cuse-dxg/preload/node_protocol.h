#pragma once

#include <stdint.h>

// What the library in a program of `cuse-dxg run --attach=preload` and the device process say to each other,
// over a SOCK_SEQPACKET socket of each calling thread. The library is loaded into programs of any kind, so
// this header takes nothing from ours.
//
//     library                                      device process
//     Said kHello, once
//     Said kRing, at most once; calls may then go by a page in common (node_ring.h)
//         <------------------------------------------ Told kRing, with the page and the bell, or -errno
//     Said kOpen ---------------------------------->
//         <------------------------------------------ Told kOpened, with the new descriptor
//     Said kIoctl, with the struct ---------------->
//         <------------------------------------------ Told kMap (and so on): what the thread is to do
//     Said kDone ---------------------------------->
//     Said kInterrupt, where a signal came -------->
//         <------------------------------------------ Told kAnswer, with the struct
//
// One call of a connection at a time. A descriptor of the node is one end of a socket pair: so that dup,
// fork, exec, SCM_RIGHTS, select and close-on-exec do with it what they do with any descriptor, and its last
// close, wherever that is, is the end of the other end. Its address, an abstract one that the library gives
// it, says which file it is (FileName). That is a hint and no right: who names a file to the device process
// for the first time on a connection has to show it the descriptor (kShowFile).

namespace dxg::preload::node {

// "NAME:SECRET" in the program's environment: the abstract address at which the device process listens, and
// what a connection has to begin with. Addresses can be read by everybody, the environment cannot.
inline constexpr char kVariable[] = "DXG_NODE_SOCKET";
inline constexpr char kPath[] = "/dev/dxg";
inline constexpr uint32_t kVersion = 2;
inline constexpr uint32_t kNameBytes = 16;    // hexadecimal digits
inline constexpr uint32_t kSecretBytes = 32;  // the same

// The first byte of an abstract address is 0, then "dxg-NAME-" and a file's number, "-" and its access mode
// (O_RDONLY, O_WRONLY or O_RDWR), both in decimal.
inline constexpr char kFilePrefix[] = "dxg-";

// What fstat says of a descriptor: a character device with a number that no driver has (the major number is
// the largest of 12 bits).
inline constexpr unsigned kMajor = 4095, kMinor = 0;

// The size in an ioctl's code has 14 bits, so no struct is larger.
inline constexpr uint32_t kStructBytesMax = 1u << 14;

// Of one kLoad or kStore.
inline constexpr uint32_t kPieceBytesMax = 1u << 16;

namespace say {
enum Kind : uint32_t { kHello, kOpen, kIoctl, kInterrupt, kDone, kRing };
}

struct Said {
  uint32_t kind;              // of namespace say
  uint32_t number;            // of the call, from 1 on; kDone: of what was asked
  uint64_t file;              // kIoctl
  uint64_t argument;          // kIoctl: the third argument; kDone: the result
  uint32_t code;              // kIoctl; kHello: kVersion
  int32_t error;              // kDone: 0 or a positive errno
  uint32_t flags;             // kOpen: of open(2); kIoctl and kDone: of namespace flag
  int32_t tid;                // kHello: the thread, as it sees itself
  char secret[kSecretBytes];  // kHello
};
static_assert(sizeof(Said) == 72);

namespace flag {
// The struct could not be read by the kernel: the device process finds out in its own order.
inline constexpr uint32_t kWithoutStruct = 1;
// kDone of a kMap: there is no number for the descriptor, and the next time there will be.
inline constexpr uint32_t kAgain = 2;
}  // namespace flag

namespace tell {
enum Kind : uint32_t {
  kAnswer,    // the call's result; the bytes of the struct follow
  kOpened,    // the same, with the descriptor of `file`
  kShowFile,  // send the descriptor that you have just named
  kMap,       // as client::Step has them
  kUnmap,
  kGiveFile,
  kGiveNode,  // the descriptor that comes along is one of the node, `file`
  kCloseFile,
  kTakeFile,  // send a copy of descriptor `address`
  kLoad,      // send `size` bytes of memory from `address` on, behind the kDone
  kStore,     // the next message is `size` bytes for `address`
  kRing,      // the page and an eventfd, the bell, come along, unless the result is not 0
};
}

struct Told {
  uint32_t kind;    // of namespace tell
  uint32_t number;  // of the call, or of what is asked
  int32_t result;   // kAnswer, kOpened: 0 or more, or -errno, or an NTSTATUS
  uint32_t writable;
  uint32_t replace;
  uint32_t unused;
  uint64_t file;
  uint64_t offset;
  uint64_t size;
  uint64_t address;
};
static_assert(sizeof(Told) == 56);

}  // namespace dxg::preload::node
