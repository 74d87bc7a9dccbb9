#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/status.h"
#include "proto/dxg/control.pb.h"

namespace dxg::profile {

// Adapters of a profile, to be asked what they answer to a program that asks for the first time.
class Trial {
 public:
  struct Answer {
    int32_t result;  // as the ioctl returns it
    std::string data;
  };
  virtual ~Trial() = default;
  // `adapter` counts those of the profile.
  virtual Answer Ask(size_t adapter, uint32_t type, const std::string& question) = 0;
};

// EINVAL: the text is no profile; each line of the message says where and why.
using MakeTrial = std::function<Result<std::unique_ptr<Trial>>(const ControlRequest::AddAdapter& wanted)>;

}  // namespace dxg::profile
