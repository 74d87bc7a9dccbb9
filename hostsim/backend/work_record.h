#pragma once

#include "hostsim/machine/work_observer.h"
#include "proto/dxg/trace.pb.h"

namespace dxg::hostsim {

// As a recording has it. The host's clock is RealClock, whose times are those of recordings.
TraceRecord RecordOf(const WorkEvent& event);

}  // namespace dxg::hostsim
