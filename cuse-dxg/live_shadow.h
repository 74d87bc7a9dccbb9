#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "cuse-dxg/guest/observer.h"
#include "cuse-dxg/trace/finishing.h"

namespace dxg::trace {
class Recorder;
}  // namespace dxg::trace

namespace dxg {

// Asks another host what clients ask this one, and compares (`--shadow`, docs/replay.md).
//
//     clients --> node --> host A               `cuse-dxg run`  --> node --> host B
//                  |                              |
//                  +-- a recording, on a socket --+--> a player: clients like those here
//
// It is a recorder whose file is the player's socket: nobody waits for that, and what finds no room is lost
// and counted (link/trace/recording.h). Nothing that happens there reaches this process.
class LiveShadow final : public guest::CallObserver, public trace::Finishing {
 public:
  // The socket of a player. `words`: options of `cuse-dxg run` for the other host. Refused with the errno of
  // what could not be had.
  static Result<UniqueFd> StartPlayer(const std::vector<std::string>& words);
  // The observer whose player is on that socket. EAGAIN: no thread can be had.
  static Result<std::unique_ptr<guest::CallObserver>> Start(UniqueFd player);
  ~LiveShadow() override;

  void OnCall(const guest::CallReport& report) override;
  void OnFile(const guest::FileReport& report) override;
  // Tells the player that this is all, and hears what came of it.
  void Finish() override DXG_EXCLUDES(mutex_);

 private:
  class Feed;

  explicit LiveShadow(UniqueFd socket);
  void Hear();
  // What the player says, whole ones; the rest stays.
  void SayWhatIs(std::string* heard);

  const std::shared_ptr<Feed> feed_;
  SharedMutex mutex_;
  std::unique_ptr<trace::Recorder> recorder_ DXG_GUARDED_BY(mutex_);  // null: it is finished
  bool counted_ = false;                                              // the player has said all; the thread's
  bool differs_ = false;                                              // the thread's
  std::thread listener_;
};

}  // namespace dxg
