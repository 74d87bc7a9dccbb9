#pragma once

#include <cstdint>
#include <string>

#include "proto/dxg/control.pb.h"

namespace dxg::control {

// What a daemon says, for programs. A LUID is text, as everywhere else: "00000000-00010000".
enum class Part { kPoints, kAdapters, kCounts, kCleared, kDone };
std::string ToJson(const ControlReply& reply, Part part);

// Counts, points and adapters as OpenMetrics, its last line included.
std::string ToMetrics(const ControlReply& all);

std::string LuidText(uint64_t luid);

}  // namespace dxg::control
