#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/status.h"
#include "base/unique_fd.h"
#include "link/backend.h"
#include "link/socket/connection.h"
#include "proto/dxg/protocol.pb.h"

// What both ends of a connection do with its messages (proto/dxg/protocol.proto).

namespace dxg::socket {

// A frame as a message, with the descriptors that it announces. EPROTO: it is none, or they did not come.
template <class Message>
Status ReadFrame(std::span<const std::byte> frame, Connection& connection, Message* message,
                 std::vector<UniqueFd>* descriptors) {
  if (!message->ParseFromArray(frame.data(), static_cast<int>(frame.size())))
    return Status::Refuse(EPROTO, "it sent a frame that is no message");
  for (uint32_t i = 0; i < message->descriptors(); ++i) {
    descriptors->push_back(connection.TakeDescriptor());
    if (!descriptors->back().valid())
      return Status::Refuse(EPROTO, "it announced descriptors that did not come");
  }
  return Status::Ok();
}

// An adapter as the host announces it. Page frame numbers are of no use to a host that has no guest memory,
// so that map_guest_pages does not travel.
protocol::AdapterInfo ToMessage(const HostAdapter& adapter);
HostAdapter FromMessage(const protocol::AdapterInfo& info);

}  // namespace dxg::socket
