#pragma once

#include "proto/contract/host_commands.gen.h"

namespace dxg::hostsim {

struct CommandContext;

// What the host does for each command of proto/dxg/host.proto: one overload of Handle, declared from the
// contract and defined in the file of its noun. The generated dispatch calls them by command id, so a command
// without an overload does not link. A reply comes in empty. An overload returns the reply's NTSTATUS, which
// the dispatch sets, where the reply has one.
struct Commands {
#define DXG_DECLARE_COMMAND(Name, Returns) \
  Returns Handle(CommandContext& call, const host::Name::Request& request, host::Name::Reply* reply);
  DXG_FOR_EACH_HOST_COMMAND(DXG_DECLARE_COMMAND)
#undef DXG_DECLARE_COMMAND
};

}  // namespace dxg::hostsim
