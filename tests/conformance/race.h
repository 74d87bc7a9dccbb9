#pragma once

#include <functional>

namespace dxg::conformance {

// Makes a call that ends something from four threads at once: one succeeds, the others get EINVAL.
void ExpectOneWinner(const std::function<int()>& call);

}  // namespace dxg::conformance
