#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/strands.h"
#include "base/unique_fd.h"

namespace dxg::attach::library {

// Closes what clients have sent, on threads of its own: a close can last for as long as a file system of
// theirs likes. That of a socket can, too, in which such files wait unread. A connection that lingers is not
// waited for: a signal ends that.
class Closer {
 public:
  static constexpr int kOfProcessMax = 4;
  static constexpr int kOfUserMax = 16;

  // Who has sent it. All who have not said hello are one: process 0, with one thread.
  struct Whose {
    uint64_t process = 0;
    uid_t user = 0;
  };

  void Close(Whose whose, std::vector<UniqueFd> files) DXG_EXCLUDES(mutex_);
  void Close(Whose whose, UniqueFd file) DXG_EXCLUDES(mutex_);
  // Of those who have not said hello.
  size_t of_strangers() const { return of_strangers_; }

 private:
  void Keep(std::vector<UniqueFd>& files) DXG_EXCLUDES(mutex_);
  void CloseKept() DXG_EXCLUDES(mutex_);

  std::atomic<size_t> of_strangers_ = 0;
  Mutex mutex_;
  // What there was no memory for, until there is.
  std::array<int, 256> kept_ DXG_GUARDED_BY(mutex_) = {};
  size_t kept_count_ DXG_GUARDED_BY(mutex_) = 0;
  Strands strangers_{1, 1}, known_{kOfProcessMax, kOfUserMax};
};

// Files that have come from a client: what nobody takes out goes to the Closer.
class ClientFiles {
 public:
  ClientFiles(Closer& closer, Closer::Whose whose, std::vector<UniqueFd> files)
      : closer_(&closer), whose_(whose), files_(std::move(files)) {}
  ClientFiles(Closer& closer, Closer::Whose whose, UniqueFd file) : closer_(&closer), whose_(whose) {
    files_.push_back(std::move(file));
  }
  ClientFiles(ClientFiles&& other) noexcept
      : closer_(other.closer_), whose_(other.whose_), files_(std::move(other.files_)) {}
  ClientFiles& operator=(ClientFiles&&) = delete;
  ~ClientFiles() {
    if (!files_.empty()) closer_->Close(whose_, std::move(files_));
  }

  size_t size() const { return files_.size(); }
  bool empty() const { return files_.empty(); }
  int front() const { return files_.front().get(); }
  UniqueFd TakeFront() {
    UniqueFd file = std::move(files_.front());
    files_.erase(files_.begin());
    return file;
  }

 private:
  Closer* const closer_;
  const Closer::Whose whose_;
  std::vector<UniqueFd> files_;
};

}  // namespace dxg::attach::library
