#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "base/unique_fd.h"
#include "proto/dxg/control.pb.h"

namespace dxg::top {

// Asks a daemon for all that there is to see, and never waits for it: whoever shows a picture has keys to
// answer meanwhile. The daemon is not trusted: it has so long for each answer and for all of them, and what
// it lists is bounded.
class Conversation {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds kAnswerMax{5};
  static constexpr int kProcessesMax = 1 << 16;  // of each half
  // Of all pages of one picture, in memory. 65,536 processes of either half have less.
  static constexpr size_t kBytesMax = 256 << 20;
  static constexpr std::chrono::seconds kPictureMax{20};

  // `path`: of the daemon's control socket.
  explicit Conversation(std::string path) : path_(std::move(path)) {}

  // Begins to ask. `calls_of`: a process whose calls are wanted by name; 0: none.
  Status Begin(uint64_t calls_of, Clock::time_point now);
  bool is_asking() const { return asking_; }
  int fd() const { return socket_.get(); }  // readable: Go on
  Clock::time_point deadline() const { return deadline_; }

  // Takes what has come. True: `live` is whole, with the pages in one.
  // ETIMEDOUT, ECONNRESET, EPROTO, or what connect(2) says, with a sentence for the user.
  Result<bool> GoOn(Clock::time_point now);
  ControlReply::Live TakeLive() { return std::exchange(live_, {}); }

 private:
  Status Connect();
  Status Ask(Clock::time_point now);
  Status Take(ControlReply& reply);
  Status TooLong() const;

  const std::string path_;
  UniqueFd socket_;
  bool asking_ = false;
  Clock::time_point deadline_, end_;  // of this page, and of the picture
  size_t bytes_ = 0;                  // of the pages so far
  ControlRequest request_;
  ControlReply::Live live_;
  std::vector<std::byte> packet_;
};

}  // namespace dxg::top
