#include <algorithm>
#include <thread>
#include <utility>
#include <vector>

#include "hostsim/work/engine.h"
#include "hostsim/work/engine_state.h"

// A command in memory of a client that does not answer cannot be stopped, not even by the end of its process.
// The engine leaves it behind with the thread that is in it, and goes on with others as after any hang. Each
// costs a thread until the memory answers or is gone, so there are not many of them.

namespace dxg::hostsim {

bool Engines::HoldsTooMuch(const Running& running) const {
  constexpr uint32_t kLeftOfProcessMax = 4;
  constexpr uint32_t kLeftMax = 64;       // from here on a process has one at most
  constexpr uint32_t kLeftEverMax = 512;  // and from here on none, whoever it is: these are threads
  const ProcessWork& process = *running.queue->work_->of_process;
  if (!process.reaches_guest) return false;
  return process.left >= (left_ < kLeftMax ? kLeftOfProcessMax : 1) || left_ >= kLeftEverMax;
}

// What the engine's number of turns is now; that of the thread which is left behind is another one.
uint64_t Engines::LeaveBehind(Node& node, Errand* errand) {
  Running& running = *node.current;
  running.executing = false;
  running.left = true;
  ++running.queue->work_->of_process->left;
  ++left_;
  node.left.push_back({node.turn, node.current, std::move(node.thread)});
  if (running.hung) {
    Condemn(node, {}, errand);
  } else {  // its queue has ended
    errand->kind = Errand::kDeliver;
    Finish(node, false, NowNs(), &errand->aftermath);
  }
  return ++node.turn;
}

// The thread touches no memory any more. What waits for that goes on here, when the last shares of the
// command go, and may take long; only then is the thread one to be joined.
void Engines::ComeBack(Node& node, uint64_t turn, Errand errand) {
  std::shared_ptr<Running> share;
  const auto of_it = [turn](const Left& each) { return each.turn == turn; };
  {
    MutexLock lock(mutex_);
    const auto left = std::find_if(node.left.begin(), node.left.end(), of_it);
    if (left == node.left.end()) return;  // the engines have stopped
    --errand.command->queue->work_->of_process->left;
    --left_;
    share = std::move(left->command);
  }
  share = nullptr;
  errand = {};
  MutexLock lock(mutex_);
  const auto left = std::find_if(node.left.begin(), node.left.end(), of_it);
  if (left != node.left.end()) left->is_back = true;
}

std::vector<std::thread> Engines::TakeThreadsThatAreBack(Node& node) {
  std::vector<std::thread> back;
  for (Left& left : node.left) {
    if (left.is_back) back.push_back(std::move(left.thread));
  }
  std::erase_if(node.left, [](const Left& left) { return left.is_back; });
  return back;
}

}  // namespace dxg::hostsim
