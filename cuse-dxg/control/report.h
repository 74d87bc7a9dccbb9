#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "proto/dxg/control.pb.h"

// The report of what programs asked for, and how far it was done as by the real device: docs/fidelity.md.

namespace dxg::control {

// Adds what a host says of things to what its guest has counted. The host's word counts: what the guest took
// for exact is what the host says, and keeps the thread that asked for it first.
void AddHostsReport(const ControlReply& host, ControlReply* report);

// For a person. `program` is empty where the report is of a daemon.
std::string ReportText(const ControlReply& report, const std::vector<std::string>& program);
// For programs; the page has the schema.
std::string ReportJson(const ControlReply& report, const std::vector<std::string>& program);

// What a run says of its own accord: what the GPU was to do and was not done. Empty: nothing.
std::string NotExecutedText(const ControlReply& report);

}  // namespace dxg::control
