#pragma once

#include "base/status.h"
#include "cuse-dxg/backend/uio/uio_options.h"
#include "cuse-dxg/backend/vmbus/bus.h"

namespace dxg::vmbus {

// The window that the options ask for: where it is, and the file that its bytes are mapped from. Nothing
// reserves it: a driver that looks for such a place later may find the same. ENOTSUP: none is asked for. Else
// what stands in the way.
Result<Window> FindWindow(const UioOptions& options);

}  // namespace dxg::vmbus
