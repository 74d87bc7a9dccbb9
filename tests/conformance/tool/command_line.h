#pragma once

// The command line of dxg-conformance, and all that runs around the tests.

namespace dxg::conformance {

// Returns the exit status.
int RunCommandLine(int argc, char** argv);

}  // namespace dxg::conformance
