#include "hostsim/machine/fidelity.h"

namespace dxg::hostsim {

void Fidelity::Note(FidelityKind kind, std::string_view what, uint64_t now_ns) {
  MutexLock lock(mutex_);
  std::pair key(kind, std::string(what));
  const auto found = all_.find(key);
  if (found != all_.end()) {
    ++found->second.count;
  } else if (all_.size() == kThingsMax) {
    ++lost_;
  } else {
    all_.emplace(std::move(key), Noted{1, now_ns});
  }
}

Fidelity::All Fidelity::Read() const {
  MutexLock lock(mutex_);
  return all_;
}

uint64_t Fidelity::lost() const {
  MutexLock lock(mutex_);
  return lost_;
}

}  // namespace dxg::hostsim
