#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"
#include "cuse-dxg/replay/recording.h"

namespace dxg::replay {

// What a recording has to say to programs that live: an answer to each question that was recorded, and a
// refusal, with the nearest question, for each other one. Nothing is made up.
//
//     a process that lives is one of the recorded ones: of its name, and the first that fewest are
//     a question is a call with its Request, objects in place of handles and descriptors
//     answers to the same question are given in the order in which they were recorded; after the last one
//     that again, unless it made an object
//
// With `strict` each thread asks what the recorded one asked next, and each recorded process is one of those
// that live. Any thread may use it.
class Answers {
 public:
  Answers(std::unique_ptr<Recording> recording, bool strict);

  const Recording& recording() const { return *recording_; }

  // A process begins, and ends; the number is its name below.
  uint64_t Begin(const std::string& name) DXG_EXCLUDES(mutex_);
  void End(uint64_t process) DXG_EXCLUDES(mutex_);

  struct Question {
    uint64_t process;
    uint32_t thread;  // a number of its own among those of the process
    uint32_t pid;     // of the caller, as its messages have it
    const contract::CallRow& row;
    const Message& request;
    std::function<uint32_t(uint64_t)> descriptor;  // the object of a descriptor of the caller's, or 0
    // What the caller is answered, where somebody else answers him: the handles in it are his. Null: it is
    // what is found here.
    const Message* live_reply = nullptr;
  };
  struct Found {
    const RecordedCall* call;  // lives as long as this
    bool again;                // the last of its answers, which was given before
  };
  // What was answered. ENODATA: that was never asked, or not so often.
  Result<Found> Find(const Question& question) DXG_EXCLUDES(mutex_);

  // The object that a handle of that process means; 0: none.
  uint32_t ObjectOf(uint64_t process, uint64_t handle) DXG_EXCLUDES(mutex_);

 private:
  using Asked = std::vector<size_t>;  // the calls of one question, in their order

  struct Live {
    std::optional<uint32_t> recorded;  // none: there is no recorded process left for it
    std::string name;
    Objects handles;
    std::unordered_map<const Asked*, size_t> asked;           // how often
    std::map<uint32_t, std::pair<uint32_t, size_t>> threads;  // the recorded thread, and what is next of it
  };

  static Status ItIsNotThere();
  // Null: it was never asked so.
  Result<Found> FindNext(const Question& question, const Asked* full, const Asked* brief)
      DXG_EXCLUDES(mutex_);
  Result<Found> FindAny(const Question& question, const Asked& calls) DXG_EXCLUDES(mutex_);
  Status NeverAsked(uint32_t of, const Question& question) const;

  const std::unique_ptr<const Recording> recording_;
  const bool strict_;
  // By recorded process.
  std::vector<std::unordered_map<std::string, Asked>> by_question_;
  std::vector<std::unordered_map<const contract::CallRow*, std::vector<size_t>>> by_row_;  // the first ones
  std::vector<std::vector<std::vector<size_t>>> by_thread_;

  Mutex mutex_;
  std::vector<uint64_t> used_ DXG_GUARDED_BY(mutex_);  // by recorded process
  std::map<uint64_t, Live> live_ DXG_GUARDED_BY(mutex_);
  uint64_t last_ DXG_GUARDED_BY(mutex_) = 0;
};

}  // namespace dxg::replay
