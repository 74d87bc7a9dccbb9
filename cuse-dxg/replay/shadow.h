#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "cuse-dxg/guest/observer.h"
#include "cuse-dxg/replay/answers.h"
#include "cuse-dxg/replay/comparison.h"

namespace dxg::replay {

// Compares what clients are answered with what a recording has for the same questions (`--shadow`). Who
// answers is not held up: calls are copied into a queue of bounded size, and another thread compares them.
// What finds no room there is counted and not compared, and what depends on it may then be said to differ.
class Shadow final : public guest::CallObserver {
 public:
  static constexpr size_t kCallsMax = 8192;
  static constexpr size_t kBytesMax = 64u << 20;

  // EAGAIN: no thread can be had.
  static Result<std::unique_ptr<Shadow>> Create(std::unique_ptr<Recording> recording, bool strict);
  // Compares what is there, and says in the log what came of all.
  ~Shadow() override;

  void OnCall(const guest::CallReport& report) override;
  void OnFile(const guest::FileReport& report) override;

  // Waits until all is compared that came before.
  void Drain() DXG_EXCLUDES(mutex_);
  // "45 calls compared: ...", with what was not compared.
  std::string Text() DXG_EXCLUDES(mutex_);
  std::string first() DXG_EXCLUDES(mutex_);  // the first difference; empty: there was none

 private:
  struct Item {
    const contract::CallRow* row;  // null: a file was opened, or closed
    pid_t pid = 0, tid = 0;
    int32_t result = 0;
    std::unique_ptr<Message> request, reply;
    bool opened = false;
    std::string name;
    size_t bytes = 0;
  };
  struct Process {
    uint64_t number;  // of the answers
    int files;
  };

  Shadow(std::unique_ptr<Recording> recording, bool strict);
  void Add(Item item) DXG_EXCLUDES(mutex_);
  void Run() DXG_EXCLUDES(mutex_);
  void Compare(const Item& item) DXG_EXCLUDES(mutex_);
  void Open(const Item& item);
  void Differs(const std::string& text) DXG_EXCLUDES(mutex_);

  Answers answers_;
  Comparison comparison_;                                       // the thread's
  std::map<pid_t, Process> processes_;                          // the same
  std::map<std::pair<pid_t, uint64_t>, uint32_t> descriptors_;  // objects; the same
  std::map<uint64_t, uint32_t> last_of_number_;                 // of whichever process; the same
  uint32_t last_descriptor_ = 0;                                // the same

  Mutex mutex_;
  ConditionVariable changed_;
  std::deque<Item> queue_ DXG_GUARDED_BY(mutex_);
  size_t queued_bytes_ DXG_GUARDED_BY(mutex_) = 0;
  bool busy_ DXG_GUARDED_BY(mutex_) = false;
  bool stopping_ DXG_GUARDED_BY(mutex_) = false;
  uint64_t lost_ DXG_GUARDED_BY(mutex_) = 0;
  uint64_t never_asked_ DXG_GUARDED_BY(mutex_) = 0;
  Counts counts_ DXG_GUARDED_BY(mutex_);
  std::string first_ DXG_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace dxg::replay
