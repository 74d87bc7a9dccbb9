#pragma once

#include <google/protobuf/message_lite.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cuse-dxg/attach/unique_fd.h"
#include "cuse-dxg/status.h"

// Frames over a Unix stream socket (proto/dxg/protocol.proto), with descriptors beside them.

namespace dxg::socket {

using attach::UniqueFd;

// Of the protocol; both sides say it in their greeting.
inline constexpr uint32_t kProtocolVersion = 1;
// No frame is longer: a command has at most 128 KiB, a list of adapters that a device asks for less than the rest.
inline constexpr uint32_t kFrameBytesMax = 1u << 20;
// No frame has more descriptors.
inline constexpr uint32_t kDescriptorsMax = 4;

// Finds the frames in a stream of bytes, whoever sends it.
class FrameReader {
 public:
  // Where the next bytes go, and how many have come there.
  std::span<std::byte> Room();
  void Came(size_t bytes) { end_ += bytes; }
  // The next whole frame, which stays until Room is asked for; nothing: more has to come, or the stream is broken.
  std::optional<std::span<const std::byte>> Next();
  // A frame was announced that is longer than any may be.
  bool broken() const { return broken_; }

 private:
  std::vector<std::byte> buffer_;
  size_t begin_ = 0, end_ = 0;
  bool broken_ = false;
};

// One end of a connection. Any number of threads send, without waiting: what the socket does not take is kept, up to a
// limit, and sent by whoever calls Flush. One thread receives.
class Channel {
 public:
  // What may be kept while the other side does not read.
  static constexpr size_t kKeptBytesMax = 64u << 20;
  static constexpr size_t kKeptDescriptorsMax = 1024;  // each is one of this process until it is sent

  explicit Channel(UniqueFd socket);

  int fd() const { return socket_.get(); }
  // Becomes readable when Flush has something to do; Receive's thread polls it too.
  int kept_fd() const { return kept_event_.get(); }

  // False: the connection is over. A message that is too long for a frame, or too much that is kept, ends it: whoever
  // waits for an answer hears of that, and would never hear of what was not sent.
  bool Send(const google::protobuf::MessageLite& message, std::span<const int> descriptors = {});
  // Sends what was kept, as far as the socket takes it. `more`: it has to be called again when the socket is writable.
  bool Flush(bool* more);

  // Takes what has come. False: the other side has closed, or the stream makes no sense: `why`.
  bool Receive(std::string* why);
  std::optional<std::span<const std::byte>> Next() { return frames_.Next(); }
  bool broken() const { return frames_.broken(); }
  // The next descriptor that came; not valid: none has.
  UniqueFd TakeDescriptor();

  // Both sides hear of it at once; threads may still be sending.
  void Close();
  // Closes, and gives back the descriptors and all that is kept. By the thread that receives, as the last that it does.
  void Release();

 private:
  struct Kept {
    std::string bytes;
    size_t sent = 0;
    std::vector<UniqueFd> descriptors;
  };
  // Sends from `offset` on; the descriptors go with the first byte. Negative: an errno.
  ssize_t SendSome(std::span<const std::byte> bytes, std::span<const int> descriptors);
  bool Keep(std::string bytes, size_t sent, std::span<const int> descriptors);

  bool EndSending();  // with the lock held; false

  UniqueFd socket_, kept_event_;  // only Release changes them, with sending_ held
  std::mutex sending_;            // guards the four below
  std::deque<Kept> kept_;
  size_t kept_bytes_ = 0, kept_descriptors_ = 0;
  bool closed_ = false;

  // The receiver's.
  FrameReader frames_;
  std::deque<UniqueFd> descriptors_;
};

// A stream socket's address. `option` is for messages.
Result<UniqueFd> Connect(const std::string& path, const char* option);
Result<UniqueFd> Listen(const std::string& path, const char* option);

}  // namespace dxg::socket
