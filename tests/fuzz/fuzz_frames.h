#pragma once

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "cuse-dxg/attach/unique_fd.h"
#include "tests/fuzz/fuzz_check.h"

// The bytes of one side of a connection between a device process and a host, out of a fuzzer's input: the frames that it
// names, or a stream as it is.

namespace dxg::fuzz {

constexpr uint8_t kStream = 1, kNoGreeting = 2, kWithDescriptors = 4;  // in the input's first byte

inline std::string Framed(std::string_view frame) {
  std::string bytes;
  for (int i = 0; i < 4; ++i) bytes.push_back(static_cast<char>(frame.size() >> (8 * i)));
  return bytes.append(frame);
}

// All of it fits into the socket's buffer, or nobody is there to read it any more.
inline void Send(int socket, std::string_view bytes, int descriptor = -1) {
  iovec part = {const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (descriptor >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
  }
  (void)!sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

// Frames: 2 bytes of length, then so many bytes. What says that one descriptor comes with it has one.
inline void SendInput(int socket, uint8_t how, std::span<const uint8_t> input) {
  const auto text = [](std::span<const uint8_t> bytes) { return std::string(bytes.begin(), bytes.end()); };
  if ((how & kStream) != 0) return Send(socket, text(input));
  attach::UniqueFd file;
  if ((how & kWithDescriptors) != 0) {
    constexpr off_t kFileBytes = 16 * 4096;
    file.reset(memfd_create("fuzz", MFD_CLOEXEC));
    FUZZ_CHECK(file.valid() && ftruncate(file.get(), kFileBytes) == 0);
  }
  while (input.size() >= 2) {
    const size_t bytes = std::min<size_t>(input[0] | input[1] << 8, input.size() - 2);
    const std::string frame = text(input.subspan(2, bytes));
    Send(socket, Framed(frame), frame.starts_with("\x08\x01") ? file.get() : -1);
    input = input.subspan(2 + bytes);
  }
}

}  // namespace dxg::fuzz
