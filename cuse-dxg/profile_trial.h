#pragma once

#include <memory>

#include "base/status.h"
#include "cuse-dxg/profile/trial.h"

namespace dxg {

// The simulated host with the adapters of a profile (profile::MakeTrial).
Result<std::unique_ptr<profile::Trial>> TryProfile(const ControlRequest::AddAdapter& wanted);

}  // namespace dxg
