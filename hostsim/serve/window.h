#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/unique_fd.h"
#include "proto/dxg/control.pb.h"

namespace dxg::trace {
class Recording;
}

namespace dxg::hostsim::serve {

// What a guest finds on its VMBus.
struct VmbusOptions {
  std::vector<ControlRequest::AddAdapter> adapters;  // none: the built-in default
  std::string scenario;                              // that befalls them; empty: none
  std::string window_file;                           // holds the window's bytes; empty: memory without a name
  uint32_t window_megabytes = 65472;
  bool map_guest_memory = false;                          // takes pages by their frame numbers
  std::shared_ptr<trace::Recording> recording = nullptr;  // of what the guests say; null: none
};

// The file that holds a guest's window; a new one where the options name none. EINVAL: it is too short.
Result<UniqueFd> OpenWindow(const VmbusOptions& options);

}  // namespace dxg::hostsim::serve
