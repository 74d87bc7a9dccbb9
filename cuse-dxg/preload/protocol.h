#pragma once

#include <stdint.h>

// What the daemon and the agent in a preloaded client say to each other over a SOCK_SEQPACKET socket. The
// agent is loaded into programs of any kind, so this header takes nothing from ours.
//
//     agent connects     -> AgentHello
//     daemon             -> AgentAsk, with the descriptor where the step needs one
//     agent              -> AgentAnswer
//
// The end of the socket, on either side, is the end of the agent.

namespace dxg::preload {

// The launcher makes it in the private /dev. A file, not an abstract name: those belong to a network
// namespace, and a client may be in another one, while it cannot do without /dev. SCM and SO_PEERCRED work on
// both.
inline constexpr char kSocketVariable[] = "DXG_PRELOAD_SOCKET";
inline constexpr char kSocketPath[] = "/dev/dxg-agent";
inline constexpr char kNodePath[] = "/dev/dxg";

struct AgentHello {
  uint32_t version;
  int32_t tid;  // of the agent's thread, as the client sees it
};
inline constexpr uint32_t kVersion = 2;

// By how much a client's soft limit of descriptors is raised while one is brought in, by an agent or in a
// visit. More than is needed: where a client has lowered its limit, some of these numbers may be in use.
inline constexpr uint64_t kDescriptorRoom = 64;

// What the agent is to do: the numbers of client::Step::Kind, which client/agents.cc compares with these.
namespace kind {
enum Kind : uint32_t { kMap, kUnmap, kGiveFile, kGiveNode, kCloseFile };
}

struct AgentAsk {
  uint32_t kind;  // of namespace kind
  uint32_t writable;
  uint32_t replace;
  uint32_t unused;
  uint64_t offset;
  uint64_t size;
  uint64_t address;
};

struct AgentAnswer {
  int32_t error;  // 0 or a positive errno
  uint32_t unused;
  uint64_t result;
};

}  // namespace dxg::preload
