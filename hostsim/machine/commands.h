#pragma once

#include "proto/contract/host_commands.gen.h"

namespace dxg::hostsim {

struct CommandContext;

// What the host does for each command of proto/dxg/host.proto: one overload of Handle, declared from the
// contract and defined in the file of its noun. The generated dispatch calls them by command id, so a command
// without an overload does not link. A reply comes in empty; a command whose reply has a status always sets
// it.
struct Commands {
#define DXG_DECLARE_COMMAND(Name) \
  void Handle(CommandContext& call, const host::Name::Request& request, host::Name::Reply* reply);
  DXG_FOR_EACH_HOST_COMMAND(DXG_DECLARE_COMMAND)
#undef DXG_DECLARE_COMMAND
};

}  // namespace dxg::hostsim
