#pragma once

#include <linux/ioctl.h>

#include <cstdint>

namespace dxg::client {

// The ioctl by which a helper of ours tells the Node which file it has a copy of; the argument is a ticket,
// and no address. Not of the type of the published calls ('G').
constexpr uint32_t kIdentifyCode = _IO(0xd8, 1);

}  // namespace dxg::client
