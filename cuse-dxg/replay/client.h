#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "base/unique_fd.h"
#include "cuse-dxg/replay/layout.h"
#include "cuse-dxg/replay/order.h"
#include "cuse-dxg/replay/played_memory.h"
#include "cuse-dxg/replay/recording.h"

namespace dxg::replay {

// What came of a call that was played.
struct Outcome {
  int32_t result = 0;
  std::unique_ptr<Message> request;  // as it was made
  std::unique_ptr<Message> reply;
};

// What a process that plays knows of the others, which play at the same time.
class Others {
 public:
  virtual ~Others() = default;
  // Where the descriptor of an object is; null: it cannot be known.
  virtual Order::Place* PlaceOf(uint32_t object) = 0;
  // The process that plays the last recorded one of that number; 0: there is none.
  virtual int PidOf(uint32_t recorded) = 0;
  // Where it is told which thread is in the system call of that call (0: none); null: nobody wants to know.
  virtual std::atomic<int32_t>* PlayerOf(const RecordedCall& /*call*/) { return nullptr; }
};

// One process of a recording, played in this one: the names that it uses, and its calls.
class Client {
 public:
  // ENOENT and the like: the node cannot be opened. `others` outlive it.
  static Result<std::unique_ptr<Client>> Open(const RecordedProcess& recorded, Others& others,
                                              const std::string& device);

  // Makes that call. Any thread.
  Outcome Make(const RecordedCall& call) DXG_EXCLUDES(mutex_, limits_);

 private:
  Client(uint32_t recorded_pid, Others& others, UniqueFd node)
      : recorded_pid_(recorded_pid), others_(others), node_(std::move(node)) {}

  std::unique_ptr<Message> RequestFor(const RecordedCall& call) DXG_EXCLUDES(mutex_);
  Outcome MakeOnce(const RecordedCall& call) DXG_EXCLUDES(mutex_, limits_);
  static bool ShowsTooMany(const RecordedCall& call, const Outcome& outcome);
  void WaitForPaging(const RecordedCall& call) DXG_EXCLUDES(mutex_);
  int Ask(const RecordedCall& call, uint32_t code, void* argument) DXG_EXCLUDES(limits_);
  void Learn(const RecordedCall& call, const Message& request, const Message& reply) DXG_REQUIRES(mutex_);
  uint64_t DescriptorOf(uint32_t object, uint64_t recorded) DXG_REQUIRES(mutex_);
  uint64_t OfNothing(uint64_t recorded) DXG_REQUIRES(mutex_);
  uint64_t EventFor(uint64_t recorded) DXG_REQUIRES(mutex_);
  uint64_t AddressFor(uint64_t recorded) DXG_REQUIRES(mutex_);
  uint64_t ProcessFor(uint64_t recorded) const;
  void PutLuids(Message* message) DXG_REQUIRES(mutex_);

  const uint32_t recorded_pid_;
  Others& others_;
  const UniqueFd node_;
  // Limits are of the whole process: while a call is made under one, no other call is.
  SharedMutex limits_;
  Mutex mutex_;
  PlayedMemory memory_ DXG_GUARDED_BY(mutex_);
  std::unordered_map<uint32_t, uint64_t> handles_ DXG_GUARDED_BY(mutex_);      // by object
  std::unordered_map<uint32_t, uint64_t> descriptors_ DXG_GUARDED_BY(mutex_);  // by object
  std::map<uint64_t, uint64_t> addresses_ DXG_GUARDED_BY(mutex_);              // of the GPU, by recorded one
  std::map<uint64_t, uint64_t> luids_ DXG_GUARDED_BY(mutex_);                  // by recorded one
  UniqueFd nothing_ DXG_GUARDED_BY(mutex_);
  std::unordered_map<uint64_t, UniqueFd> events_ DXG_GUARDED_BY(mutex_);  // by recorded number
};

}  // namespace dxg::replay
