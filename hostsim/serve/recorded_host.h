#pragma once

#include <cstdint>
#include <memory>

#include "hostsim/machine/work_observer.h"
#include "link/backend.h"
#include "link/trace/recording.h"

namespace dxg::hostsim::serve {

// The same host, of which the recording gets each command with its packets when it is answered, and what the
// host sends by itself. Packets are as they are on a VMBus, however they came. `guest` is its number in the
// recording. Without a recording: the host as it is.
std::unique_ptr<Backend> Recorded(std::unique_ptr<Backend> host, std::shared_ptr<trace::Recording> recording,
                                  uint32_t guest);

// Who puts what the host's engines do into the recording; it outlives the host. Null: there is no recording.
std::unique_ptr<WorkObserver> WorkRecorder(std::shared_ptr<trace::Recording> recording);

}  // namespace dxg::hostsim::serve
