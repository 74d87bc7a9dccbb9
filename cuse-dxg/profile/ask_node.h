#pragma once

#include <string>

#include "base/status.h"
#include "base/unique_fd.h"
#include "cuse-dxg/profile/samples.h"

namespace dxg::profile {

// A node, if a file is one. ENOTTY: it is something else; others: it cannot be opened or asked.
Result<UniqueFd> OpenNode(const std::string& path);

// Asks all adapters of a node, of any driver's, what a program may ask that has no library of the vendor's:
// each type of QueryAdapterInfo whose layout is published, well-known values of the registry, features,
// budgets, clocks. It makes no device. What is refused is kept as a refusal.
Status AskNode(int node, Samples* samples);

}  // namespace dxg::profile
