#include "hostsim/work/gpu_queue.h"

#include <utility>

namespace dxg::hostsim {

void WorkEpoch::CallEnded() {
  for (const auto& call : std::exchange(ended, {})) call();
}

// A row of epochs without commands may be as long as a client likes, and one that ended inside the end of the
// one before would need as much stack.
WorkEpoch::~WorkEpoch() {
  CallEnded();
  std::shared_ptr<WorkEpoch> last = std::move(next);
  while (last && last.use_count() == 1) {
    last->CallEnded();
    std::shared_ptr<WorkEpoch> following = std::move(last->next);
    last = std::move(following);
  }
}

bool DeviceWork::AfterCommands(std::function<void()> call, Aftermath* aftermath) {
  if (epoch_.use_count() == 1) return false;
  std::shared_ptr<WorkEpoch> ending = std::move(epoch_);
  epoch_ = std::make_shared<WorkEpoch>();
  ending->ended.push_back(std::move(call));
  ending->next = epoch_;
  aftermath->Then([ending = std::move(ending)] {});  // our share may be the last, and a lock is held here
  return true;
}

}  // namespace dxg::hostsim
