#pragma once

#include <cstdint>
#include <optional>

#include "base/status.h"
#include "cuse-dxg/backend/vmbus/bus.h"
#include "link/vmbus/guid.h"
#include "link/vmbus/pci_config.h"
#include "proto/abi/interface.h"

// The guest's half of what is agreed on through configuration space (link/vmbus/pci_config.h): the reads and
// writes of the driver, in its order.

namespace dxg::vmbus {

struct Negotiated {
  uint32_t interface_version = kInterfaceVersionOldest;
  Guid channel;                   // the instance of the virtual GPU's channel
  uint64_t vgpu_luid = 0;         // the host's name for it; 0 before version 40, which has none
  bool map_guest_memory = false;  // the host takes a guest's pages by their frame numbers
};

// Asks one function. `first` is what the first function of this guest agreed to: version and abilities hold
// for all of them and are not asked again. ENODEV where the function is gone, else the error of the read or
// write without which there is no agreement.
Result<Negotiated> Negotiate(PciFunction& function, const std::optional<Negotiated>& first);

}  // namespace dxg::vmbus
