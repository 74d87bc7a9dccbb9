#pragma once

#include "base/status.h"
#include "base/unique_fd.h"

// What our programs that serve do with their process: its limits, how it is asked to stop, how it says that
// it is ready.

namespace dxg {

// As many open files as we are allowed (the soft limit is often 1024, the hard one far above): every exported
// object, every region of memory has a descriptor.
void RaiseFileLimit();

// A signalfd of SIGTERM, SIGINT and SIGHUP, which are blocked from here on. To be called before any thread is
// made, so that every thread inherits that and nobody else sees them.
Result<UniqueFd> TakeStopSignals();

// --ready-fd: writes a newline to `fd` and closes it; nothing where it is negative.
void ReportReady(int fd);

}  // namespace dxg
