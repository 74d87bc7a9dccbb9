#pragma once

#include <string_view>

#include "base/status.h"
#include "base/unique_fd.h"

// What our programs that serve do with their process: its limits, how it is asked to stop, how it says that
// it is ready.

namespace dxg {

// Takes off this process what limits a shell has put on it: the soft ones, and as root the hard ones too,
// because a client's work would reach them and end the daemon for everybody. Every exported object and every
// region of memory has a descriptor, so open files are raised as well. What stays is logged. A file that
// would grow beyond its limit is an error (EFBIG) and no signal any more.
void RaiseLimits();

// A signalfd of SIGTERM, SIGINT and SIGHUP, which are blocked from here on. To be called before any thread is
// made, so that every thread inherits that and nobody else sees them. Errors: those of signalfd(2).
Result<UniqueFd> TakeStopSignals();

// --ready-fd: writes a newline to `fd` and closes it; nothing where it is negative. A service manager that
// wants to know (Type=notify) is told too.
void ReportReady(int fd);

// Tells a service manager that waits for it: "READY=1", "STOPPING=1". Nothing where there is none.
void NotifyServiceManager(std::string_view state);

}  // namespace dxg
