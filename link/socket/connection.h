#pragma once

#include <google/protobuf/message_lite.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "link/backlog.h"
#include "link/socket/rings.h"

// Frames over a Unix stream socket (proto/dxg/protocol.proto), with descriptors beside them.

namespace dxg::socket {

// Of the protocol; both sides say it in their greeting.
inline constexpr uint32_t kProtocolVersion = 1;
// What a greeting may offer besides; both have to (docs/protocol.md).
inline constexpr char kFeatureRings[] = "rings";
template <class Hello>
bool Has(const Hello& hello, std::string_view feature) {
  return std::find(hello.features().begin(), hello.features().end(), feature) != hello.features().end();
}
// No frame is longer: a command has at most 128 KiB, a list of adapters that a device asks for less than the
// rest.
inline constexpr uint32_t kFrameBytesMax = 1u << 20;
// No frame has more descriptors.
inline constexpr uint32_t kDescriptorsMax = 4;

// Finds the frames in a stream of bytes, whoever sends it.
class FrameReader {
 public:
  // Where the next bytes go, and how many have come there.
  std::span<std::byte> Room();
  void Came(size_t bytes) { end_ += bytes; }
  // The next whole frame, which stays until Room is asked for; nothing: more has to come, or the stream is
  // broken.
  std::optional<std::span<const std::byte>> Next();
  // A frame was announced that is longer than any may be.
  bool broken() const { return broken_; }

 private:
  std::vector<std::byte> buffer_;
  size_t begin_ = 0, end_ = 0;
  bool broken_ = false;
};

// What has come, and stays until the next call of Next or of Wait.
struct Incoming {
  std::span<const std::byte> message;     // of a frame
  const vmbus::Packet* packet = nullptr;  // a call or an answer by itself (packets.h), and no frame
};

// What one wait was ended by.
struct Woken {
  bool heard = false;  // something has come
  bool other = false;  // the other descriptor is readable
};

// One end of a connection. Any number of threads send, without waiting: what the socket does not take is
// kept, up to a limit, and sent by Wait. One thread waits and receives.
//
// Once both ends use rings, what has no descriptors goes through them, and only what has some through the
// socket: those two are in no order with each other.
class Connection {
 public:
  // What may be kept while the other side does not read.
  static constexpr size_t kKeptBytesMax = kBacklogBytesMax;
  static constexpr size_t kKeptDescriptorsMax = 1024;  // each is one of this process until it is sent

  // `other` is watched as well, where it is not -1.
  explicit Connection(UniqueFd socket, int other = -1);

  // By the thread that receives, at the same place among the frames as the other end.
  void UseRings(std::unique_ptr<Rings> rings);

  // False: the connection is over. A message that is too long for a frame, or too much that is kept, ends it:
  // whoever waits for an answer hears of that, and would never hear of what was not sent.
  bool Send(const google::protobuf::MessageLite& message, std::span<const int> descriptors = {});
  // False: there are no rings, it has no room there now, or something waits before it: Send can keep it.
  bool SendPacket(const vmbus::Packet& packet);
  // Waits until something has come, the other descriptor is readable, or so many ms are over (-1: without
  // end); takes what has come, and sends what was kept. Refused: the connection is over, or what came on it
  // makes no sense (EPROTO).
  Result<Woken> Wait(int timeout_ms);
  // Whether something waits for the other side to take what it has.
  bool keeps() DXG_EXCLUDES(sending_) {
    MutexLock lock(sending_);
    return !kept_.empty();
  }
  // Whether something has come that Wait has not taken.
  bool HasMore();
  // The next that is whole; nothing: more has to come, or what comes is broken.
  std::optional<Incoming> Next();
  // OK, or why what has come makes no sense.
  Status Check() const;
  // The next descriptor that came; not valid: none has.
  UniqueFd TakeDescriptor();

  // Both sides hear of it at once; threads may still be sending.
  void Close();
  // Closes, and gives back the descriptors and all that is kept. By the thread that receives, as the last
  // that it does.
  void Release();

 private:
  struct Kept {
    std::string bytes;
    size_t sent = 0;
    std::vector<UniqueFd> descriptors;
    bool by_rings = false;
  };
  enum class Taken { kYes, kNoRoom, kOver };

  Status Receive();
  bool Flush() DXG_EXCLUDES(sending_);
  Taken SendNow(std::string& bytes, std::span<const int> descriptors, size_t* sent) DXG_REQUIRES(sending_);
  Taken PutIntoRing(const vmbus::Packet& packet) DXG_REQUIRES(sending_);
  bool ByRings(size_t bytes, std::span<const int> descriptors) const DXG_REQUIRES(sending_);
  void Watch(int descriptor, uint32_t events, int operation);
  bool Keep(std::string bytes, size_t sent, std::span<const int> descriptors) DXG_REQUIRES(sending_);
  bool EndSending() DXG_REQUIRES(sending_);  // always false, for whoever returns it

  // Only Release changes these, on the receiver's thread and with sending_ held: the receiver reads them
  // without it, which clang cannot be told.
  UniqueFd socket_, kept_event_, epoll_;
  Mutex sending_;
  std::deque<Kept> kept_ DXG_GUARDED_BY(sending_);
  size_t kept_bytes_ DXG_GUARDED_BY(sending_) = 0, kept_descriptors_ DXG_GUARDED_BY(sending_) = 0;
  bool closed_ DXG_GUARDED_BY(sending_) = false;
  std::unique_ptr<Rings> rings_ DXG_GUARDED_BY(sending_);  // sends into the outgoing one

  // The receiver's.
  Rings* incoming_ = nullptr;  // what rings_ has; takes from the incoming one
  bool more_ = false;          // the socket did not take all that is kept,
  bool ring_is_full_ = false;  // or the ring
  Status broken_ring_;
  vmbus::Packet packet_;  // the last that came
  FrameReader frames_;
  std::deque<UniqueFd> descriptors_;
};

// A stream socket's address. `option` is for messages. Errors: as ConnectUnix and ListenUnix.
Result<UniqueFd> Connect(const std::string& path, const char* option);
Result<UniqueFd> Listen(const std::string& path, const char* option);

}  // namespace dxg::socket
