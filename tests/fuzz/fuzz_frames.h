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

#include "base/unique_fd.h"
#include "link/socket/connection.h"
#include "link/socket/rings.h"
#include "tests/fuzz/fuzz_check.h"

// The bytes of one side of a connection between a device process and a host, out of a fuzzer's input: the
// frames that it names, a stream as it is, or packets of a ring.

namespace dxg::fuzz {

constexpr uint8_t kStream = 1, kNoGreeting = 2, kWithDescriptors = 4,
                  kByRings = 8;  // in the input's first byte

inline std::string Framed(std::string_view frame) {
  std::string bytes;
  for (int i = 0; i < 4; ++i) bytes.push_back(static_cast<char>(frame.size() >> (8 * i)));
  return bytes.append(frame);
}

// All of it fits into the socket's buffer, or nobody is there to read it any more.
inline void Send(int socket, std::string_view bytes, std::span<const int> descriptors = {}) {
  iovec part = {const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(socket::kDescriptorsMax * sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
  }
  (void)!sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

// Frames: 2 bytes of length, then so many bytes. What says that one descriptor comes with it has one.
inline void SendInput(int socket, uint8_t how, std::span<const uint8_t> input) {
  const auto text = [](std::span<const uint8_t> bytes) { return std::string(bytes.begin(), bytes.end()); };
  if ((how & kStream) != 0) return Send(socket, text(input));
  UniqueFd file;
  if ((how & kWithDescriptors) != 0) {
    constexpr off_t kFileBytes = 16 * 4096;
    file.reset(memfd_create("fuzz", MFD_CLOEXEC));
    FUZZ_CHECK(file.valid() && ftruncate(file.get(), kFileBytes) == 0);
  }
  while (input.size() >= 2) {
    const size_t bytes = std::min<size_t>(input[0] | input[1] << 8, input.size() - 2);
    const std::string frame = text(input.subspan(2, bytes));
    const int descriptors[] = {file.get()};
    Send(socket, Framed(frame),
         frame.starts_with("\x08\x01") ? std::span<const int>(descriptors) : std::span<const int>());
    input = input.subspan(2 + bytes);
  }
}

// Packets: 2 bytes of length, 1 byte for the kind, 1 byte for the transaction, then so many bytes. The last
// one is nonsense, so that the connection ends after all of them.
inline void PutInput(socket::Rings& rings, std::span<const uint8_t> input) {
  enum Kind : uint8_t { kFrame, kCall, kAnswer, kAny, kKinds };
  const auto put = [&](uint16_t type, uint16_t flags, uint64_t transaction, std::string_view payload) {
    FUZZ_CHECK(rings.outgoing.Add({type, flags, transaction, std::as_bytes(std::span(payload))}) ==
               vmbus::OutgoingRing::Put::kYes);
  };
  while (input.size() >= 4) {
    const size_t bytes = std::min<size_t>(input[0] | input[1] << 8, input.size() - 4);
    const std::string text(input.begin() + 4, input.begin() + 4 + bytes);
    const uint8_t kind = input[2] % kKinds;
    if (kind == kFrame) put(vmbus::kInBand, 0, 0, Framed(text));
    if (kind == kCall) put(vmbus::kInBand, vmbus::kCompletionRequested, input[3], text);
    if (kind == kAnswer) put(vmbus::kCompletion, 0, input[3], text);
    if (kind == kAny) put(static_cast<uint16_t>(input[2] / kKinds), input[3] & 1, input[3], text);
    input = input.subspan(4 + bytes);
  }
  put(0, 0, 0, {});
  (void)rings.outgoing.Publish();
  rings.Ring();
}

}  // namespace dxg::fuzz
