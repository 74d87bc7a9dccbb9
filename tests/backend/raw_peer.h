#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/unique_fd.h"

// Bytes of the protocol between a device process and a host by hand, also wrong ones, without the code under
// test.

namespace dxg::socket {

class TestDirectory {
 public:
  TestDirectory() : path_(testing::TempDir() + "/dxg.XXXXXX") { EXPECT_NE(mkdtemp(path_.data()), nullptr); }
  ~TestDirectory() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline std::string LengthOf(uint32_t bytes) {
  std::string length;
  for (int i = 0; i < 4; ++i) length.push_back(static_cast<char>(bytes >> (8 * i)));
  return length;
}

inline std::string Framed(std::string_view frame) {
  return LengthOf(static_cast<uint32_t>(frame.size())).append(frame);
}

inline UniqueFd MemoryFile(uint64_t bytes) {
  UniqueFd file(memfd_create("test", MFD_CLOEXEC));
  EXPECT_EQ(ftruncate(file.get(), static_cast<off_t>(bytes)), 0);
  return file;
}

// The two ends of a connection.
inline std::pair<UniqueFd, UniqueFd> SocketPair() {
  int ends[2] = {-1, -1};
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// All of it, the descriptors with the first byte. False: the other side is gone.
inline bool SendRaw(const UniqueFd& socket, std::string_view bytes, std::span<const int> descriptors = {}) {
  std::vector<char> control(CMSG_SPACE(descriptors.size_bytes()));
  while (!bytes.empty()) {
    iovec part = {const_cast<char*>(bytes.data()), bytes.size()};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (!descriptors.empty()) {
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
      std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
    }
    const ssize_t sent = sendmsg(socket.get(), &message, MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
    descriptors = {};
  }
  return true;
}

// Exactly so many bytes; fewer: the other side is gone.
inline std::string ReceiveRaw(const UniqueFd& socket, size_t bytes) {
  std::string received(bytes, '\0');
  size_t there = 0;
  while (there < bytes) {
    const ssize_t came = recv(socket.get(), received.data() + there, bytes - there, 0);
    if (came <= 0) break;
    there += static_cast<size_t>(came);
  }
  received.resize(there);
  return received;
}

// The next frame as a message. False: the other side is gone.
template <class Message>
bool ReceiveMessage(const UniqueFd& socket, Message* message) {
  const std::string length = ReceiveRaw(socket, 4);
  if (length.size() < 4) return false;
  uint32_t bytes = 0;
  std::memcpy(&bytes, length.data(), sizeof(bytes));
  const std::string frame = ReceiveRaw(socket, bytes);
  return frame.size() == bytes && message->ParseFromString(frame);
}

template <class Message>
bool SendMessage(const UniqueFd& socket, const Message& message, std::span<const int> descriptors = {}) {
  return SendRaw(socket, Framed(message.SerializeAsString()), descriptors);
}

}  // namespace dxg::socket
