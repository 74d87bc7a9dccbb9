#pragma once

#include "base/confinement/capabilities.h"

namespace dxg::client {

// The process that traces clients, so that the daemon does not: were a tracer killed in the middle, its
// clients would go on with wrong registers and blocked signals; and the daemon is what gets killed, restarted
// and debugged. This one does nothing else, keeps no state beyond the job at hand, ignores the signals of a
// terminal, and ends with the daemon. docs/security.md says what it may do.

// True where the program was started as the injector: main calls RunInjector then and nothing before it.
bool IsInjectorCommand(int argc, char** argv);
// What it keeps of root's rights, and what whoever starts it has to leave to it.
confinement::Capabilities InjectorCapabilities();
// Serves the daemon at descriptor 3 until it is gone. Returns the exit status.
int RunInjector();

}  // namespace dxg::client
