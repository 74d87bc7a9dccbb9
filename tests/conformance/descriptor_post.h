#pragma once

#include <sys/socket.h>

#include <cstring>
#include <memory>
#include <stdexcept>

#include "tests/conformance/memory_client.h"

namespace dxg::conformance {

// A pair of sockets that carry descriptors from one process to another.
class DescriptorPost {
 public:
  DescriptorPost() {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
      throw std::runtime_error("socketpair");
    sender_ = std::make_unique<Descriptor>(ends[0]);
    receiver_ = std::make_unique<Descriptor>(ends[1]);
  }

  void Send(int descriptor) const {
    Message message;
    cmsghdr* header = CMSG_FIRSTHDR(&message.header);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
    if (sendmsg(sender_->get(), &message.header, MSG_NOSIGNAL) != 1) throw std::runtime_error("sendmsg");
  }

  int Receive() const {
    Message message;
    if (recvmsg(receiver_->get(), &message.header, MSG_CMSG_CLOEXEC) != 1)
      throw std::runtime_error("recvmsg");
    const cmsghdr* header = CMSG_FIRSTHDR(&message.header);
    if (header == nullptr) throw std::runtime_error("no descriptor came");
    int descriptor;
    std::memcpy(&descriptor, CMSG_DATA(header), sizeof(int));
    return descriptor;
  }

 private:
  struct Message {
    Message() {
      header.msg_iov = &part;
      header.msg_iovlen = 1;
      header.msg_control = control;
      header.msg_controllen = sizeof(control);
    }
    char byte = 0;
    iovec part = {&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr header = {};
  };
  std::unique_ptr<Descriptor> sender_, receiver_;
};

}  // namespace dxg::conformance
