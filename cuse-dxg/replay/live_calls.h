#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "cuse-dxg/replay/client.h"
#include "cuse-dxg/replay/recording.h"

namespace dxg::replay {

// Calls and their outcomes on the sockets between a live player and the processes that play.

// A message as it is sent: its size (32 bits) and its bytes.
std::string Framed(const std::string& bytes);
// The next whole one in `bytes`, which it is taken from; none: there is no whole one.
std::optional<std::string> TakeFramed(std::string* bytes);
// All of it; false: nobody reads any more.
bool SendAll(int socket, const std::string& bytes);

// The call with that number, for the process that plays it.
std::string CallMessage(uint64_t number, const RecordedCall& call);
// That it is to close the node; its answer is the same message.
std::string CloseMessage(uint64_t number);
// None: it is no call.
std::optional<RecordedCall> CallOf(const std::string& message, uint64_t* number);

// What came of it.
std::string OutcomeMessage(uint64_t number, const Outcome& outcome);
std::optional<Outcome> OutcomeOf(const std::string& message, const contract::CallRow& row);
uint64_t NumberOf(const std::string& message);  // ~0: it is no such message

// In memory that forked processes share: which of them plays whom, and where descriptors are.
class LiveOthers final : public Others {
 public:
  static constexpr uint32_t kObjectsMax = 1u << 22;
  static constexpr uint32_t kPlayersMax = Recording::kProcessesMax;
  // ENOMEM.
  static Result<std::unique_ptr<LiveOthers>> Create();
  ~LiveOthers() override;
  LiveOthers(const LiveOthers&) = delete;
  LiveOthers& operator=(const LiveOthers&) = delete;

  Order::Place* PlaceOf(uint32_t object) override;
  int PidOf(uint32_t recorded) override;
  // A place for who plays the process with that number. EFBIG: there are too many. One process has places.
  Result<uint32_t> Begin(uint32_t recorded);
  void SetPid(uint32_t place, int pid) { PlayerAt(place) = pid; }
  void End(uint32_t place) { PlayerAt(place) = kFree; }

 private:
  struct Shared;
  static constexpr int kFree = 0, kNotYet = -1;  // for process numbers
  std::atomic<int32_t>& PlayerAt(uint32_t place);
  explicit LiveOthers(Shared* shared) : shared_(shared) {}
  Shared* const shared_;
};

}  // namespace dxg::replay
