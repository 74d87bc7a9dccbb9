#include "hostsim/gpu_queue.h"

namespace dxg::hostsim {

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
