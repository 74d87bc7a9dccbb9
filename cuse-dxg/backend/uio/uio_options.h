#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "cuse-dxg/backend/uio/sysfs.h"

namespace dxg::vmbus {

// Where the window is to be that a driver in the kernel would have reserved.
struct WindowWanted {
  std::optional<uint64_t> start;  // guest-physical; none: a hole is looked for in /proc/iomem
  uint64_t length = 0;            // bytes

  // "START+LENGTH" or "hole+LENGTH". START is a multiple of 64 KiB; numbers are decimal or 0x; K, M or G may
  // follow LENGTH.
  static Result<WindowWanted> Parse(std::string_view text);
};

// What the user allows beyond what uio_hv_generic gives.
struct UioOptions {
  Places places;
  std::optional<WindowWanted> window;  // none: there is no window
  std::string window_file;  // holds the window's bytes: /dev/mem from its address on, any other file from its
                            // beginning; empty: the window is announced and its bytes cannot be reached
  bool unpinned_pages = false;  // tell the host where a client's pages are without holding them there
};

}  // namespace dxg::vmbus
