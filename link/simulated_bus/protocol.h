#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "link/vmbus/channel.h"
#include "link/vmbus/guid.h"

// A VMBus between processes: what a guest's kernel and its hypervisor tell each other, over a SOCK_SEQPACKET
// Unix socket. Each packet of the socket is a LinkHeader and its payload. Channel 0 carries control messages;
// other channels are named by the relid of their offer and carry what the rings of a channel would, unless
// the guest opened it with rings.
//
// Control messages begin with their number. Those below 0x100 are the VMBus's own, in its layout; the others
// stand for what a guest has besides: PCI functions, memory that both see, doorbells. docs/vmbus.md is their
// guide.

namespace dxg::vmbus::link {

inline constexpr uint32_t kControlChannel = 0;
inline constexpr size_t kDescriptorsMax = 2;

struct LinkHeader {
  uint32_t channel = kControlChannel;
  uint16_t type = 0;  // PacketType; 0 for control messages
  uint16_t flags = 0;
  uint64_t transaction = 0;
};
static_assert(sizeof(LinkHeader) == 16);

inline constexpr size_t kPacketBytesMax = sizeof(LinkHeader) + kMessageBytesMax;

// -- Control messages: plain bytes, little-endian, each with its number first.

enum : uint32_t {
  kOffer = 1,               // host
  kRescind = 2,             // host
  kRequestOffers = 3,       // guest
  kAllOffersDelivered = 4,  // host
  kOpen = 5,                // guest; answered by
  kOpenResult = 6,          // host
  kClose = 7,               // guest
  kGpadlHeader = 8,         // guest; when all pages are told, answered by
  kGpadlBody = 9,           // guest
  kGpadlCreated = 10,       // host
  kGpadlTeardown = 11,      // guest; answered by
  kGpadlTornDown = 12,      // host
  kRelidReleased = 13,      // guest
  kInitiateContact = 14,    // guest; answered by
  kVersionResponse = 15,    // host

  kFunctionArrived = 0x100,  // host
  kFunctionRemoved = 0x101,  // host
  kReadConfig = 0x102,       // guest; answered by
  kWriteConfig = 0x103,      // guest; answered by
  kConfigDone = 0x104,       // host
  kWindowFile = 0x110,       // host, with a descriptor, before kAllOffersDelivered
  kGuestMemory = 0x111,      // guest, with a descriptor
  kForgetMemory = 0x112,     // guest
  kDoorbells = 0x113,   // guest, with two eventfds: the one that the guest rings, the one that the host rings
  kControl = 0x120,     // guest: a ControlRequest; answered by
  kControlled = 0x121,  // host: a ControlReply
  kSendFailed = 0x122,  // host
  kPing = 0x130,        // guest, when it has not heard from the host for a while; answered by
  kPong = 0x131,        // host
};

struct Head {
  uint32_t number = 0;
  uint32_t padding = 0;
};

template <uint32_t kNumber>
struct Numbered {
  static constexpr uint32_t number = kNumber;
  Head head{kNumber, 0};
};

struct Offer : Numbered<kOffer> {
  Guid channel_class;
  Guid instance;
  uint8_t reserved[16] = {};
  uint16_t flags = 0;
  uint16_t mmio_megabytes = 0;
  uint8_t user_data[120] = {};
  uint16_t subchannel = 0;
  uint16_t mmio_megabytes_optional = 0;
  uint32_t relid = 0;
  uint8_t monitor_id = 0;
  uint8_t monitor_allotted = 0;
  uint16_t dedicated_interrupt = 0;
  uint32_t connection_id = 0;
};
static_assert(sizeof(Offer) == 196);

struct Rescind : Numbered<kRescind> {
  uint32_t relid = 0;
};
struct RequestOffers : Numbered<kRequestOffers> {};
struct AllOffersDelivered : Numbered<kAllOffersDelivered> {};

struct Open : Numbered<kOpen> {
  uint32_t relid = 0;
  uint32_t open_id = 0;
  uint32_t ring_gpadl = 0;  // 0: the channel's packets come over this socket
  uint32_t target_vcpu = 0;
  uint32_t downstream_page = 0;  // of the GPADL, where the host-to-guest ring begins
  uint8_t user_data[120] = {};
};
static_assert(sizeof(Open) == 148);

struct OpenResult : Numbered<kOpenResult> {
  uint32_t relid = 0;
  uint32_t open_id = 0;
  uint32_t status = 0;  // 0: open
};
struct Close : Numbered<kClose> {
  uint32_t relid = 0;
};

// Followed by as many page frame numbers as fit, at most kFramesInHeader.
struct GpadlHeader : Numbered<kGpadlHeader> {
  uint32_t relid = 0;
  uint32_t gpadl = 0;
  uint16_t range_bytes =
      0;  // 8 + 8 for each page, as far as 16 bits hold it: the pages follow from byte_count
  uint16_t range_count = 1;
  uint32_t byte_count = 0;
  uint32_t byte_offset = 0;
};
static_assert(sizeof(GpadlHeader) == 28);
inline constexpr size_t kFramesInHeader = 26;

// Followed by at most kFramesInBody page frame numbers.
struct GpadlBody : Numbered<kGpadlBody> {
  uint32_t sequence = 0;
  uint32_t gpadl = 0;
};
static_assert(sizeof(GpadlBody) == 16);
inline constexpr size_t kFramesInBody = 28;

struct GpadlCreated : Numbered<kGpadlCreated> {
  uint32_t relid = 0;
  uint32_t gpadl = 0;
  uint32_t status = 0;  // 0: created
};
struct GpadlTeardown : Numbered<kGpadlTeardown> {
  uint32_t relid = 0;
  uint32_t gpadl = 0;
};
struct GpadlTornDown : Numbered<kGpadlTornDown> {
  uint32_t gpadl = 0;
};
struct RelidReleased : Numbered<kRelidReleased> {
  uint32_t relid = 0;
};

inline constexpr uint32_t kVmbusVersion = 4u << 16;  // 4.0

struct InitiateContact : Numbered<kInitiateContact> {
  uint32_t version = kVmbusVersion;
  uint32_t target_vcpu = 0;
  uint64_t interrupt_page = 0;
  uint64_t monitor_pages[2] = {};
};
static_assert(sizeof(InitiateContact) == 40);
struct VersionResponse : Numbered<kVersionResponse> {
  uint8_t supported = 0;
  uint8_t state = 0;
  uint16_t reserved = 0;
  uint32_t version = 0;
};

struct FunctionArrived : Numbered<kFunctionArrived> {
  uint32_t function = 0;  // the host's name for it, never used twice
  uint16_t vendor = 0;
  uint16_t device = 0;
};
struct FunctionRemoved : Numbered<kFunctionRemoved> {
  uint32_t function = 0;
};
struct ReadConfig : Numbered<kReadConfig> {
  uint32_t function = 0;
  uint32_t offset = 0;
};
struct WriteConfig : Numbered<kWriteConfig> {
  uint32_t function = 0;
  uint32_t offset = 0;
  uint32_t value = 0;
};
struct ConfigDone : Numbered<kConfigDone> {
  uint32_t function = 0;
  uint32_t offset = 0;
  int32_t error = 0;  // 0, or an errno
  uint32_t value = 0;
};
struct WindowFile : Numbered<kWindowFile> {
  uint64_t bytes = 0;
  uint64_t file_offset = 0;
};
// Bytes of the guest's physical memory, whole pages, are those of a file.
struct GuestMemory : Numbered<kGuestMemory> {
  uint64_t address = 0;
  uint64_t bytes = 0;
  uint64_t file_offset = 0;
};
struct ForgetMemory : Numbered<kForgetMemory> {
  uint64_t address = 0;
};
// For the next Open of that channel.
struct Doorbells : Numbered<kDoorbells> {
  uint32_t relid = 0;
};
struct Control : Numbered<kControl> {};
struct Controlled : Numbered<kControlled> {};
// What a guest sent did not reach its host, as when a ring stays full. Only a simulated host does that to it.
struct SendFailed : Numbered<kSendFailed> {
  uint32_t relid = 0;
  int32_t error = 0;  // an errno
  uint64_t transaction = 0;
};
static_assert(sizeof(SendFailed) == 24);
struct Ping : Numbered<kPing> {};
struct Pong : Numbered<kPong> {};

// A message that is at least as long as its struct; what follows it is in `rest`.
template <class T>
std::optional<T> Read(std::span<const std::byte> payload, std::span<const std::byte>* rest = nullptr) {
  T message;
  if (payload.size() < sizeof(T)) return std::nullopt;
  std::memcpy(&message, payload.data(), sizeof(T));
  if (message.head.number != T::number) return std::nullopt;
  if (rest) *rest = payload.subspan(sizeof(T));
  return message;
}
// Its number; 0 where it is too short to have one.
uint32_t NumberOf(std::span<const std::byte> payload);

// -- The socket

struct Received {
  LinkHeader header;
  std::span<const std::byte> payload;  // until the next Receive
  std::vector<UniqueFd> descriptors;
};

// One end. Any thread sends; one receives.
class Socket {
 public:
  explicit Socket(UniqueFd socket) : socket_(std::move(socket)), buffer_(kPacketBytesMax) {}

  // Does not wait.
  Channel::Sent Send(const LinkHeader& header, std::span<const std::byte> payload,
                     std::span<const int> descriptors = {});
  // A control message, with what follows it. Waits for room, for at most a second; false: the other side is
  // gone or does not read.
  template <class T>
  bool Tell(const T& message, std::span<const int> descriptors = {}, std::span<const std::byte> rest = {}) {
    return SendControl(std::as_bytes(std::span(&message, 1)), rest, descriptors);
  }
  // Waits. -ENODEV: the other side has closed, or we have; -EPROTO: it sent what is no packet of this kind.
  Result<Received> Receive();
  // Whether the other side has closed; what it sent before may still be there to be received.
  bool IsClosedThere();
  void Close();
  // Gives the descriptor back. When nobody receives any more; who still sends has lost the other side.
  void Discard();
  int fd() const { return socket_.get(); }

 private:
  bool SendControl(std::span<const std::byte> message, std::span<const std::byte> rest,
                   std::span<const int> descriptors);

  SharedMutex discarding_;  // held shared by who sends, while it does, and alone by Discard
  // Only Discard changes it, when nobody receives any more: the receiver reads it without the lock, which
  // clang cannot be told.
  UniqueFd socket_;
  std::vector<std::byte> buffer_;  // the receiver's
};

}  // namespace dxg::vmbus::link
