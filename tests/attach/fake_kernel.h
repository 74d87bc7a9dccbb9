#pragma once

#include <linux/fuse.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "cuse-dxg/attach/node.h"
#include "cuse-dxg/attach/session.h"

// The kernel's end of a session, played by the test. Requests and replies are packets of a socket pair, in
// the layout of /dev/cuse and /dev/fuse. Needs no privileges and no kernel module.

namespace dxg::attach {

enum class Kind { kCuse, kFuseFile };

struct Reply {
  uint64_t unique = 0;
  int32_t error = 0;  // 0 or negative, of the header
  std::vector<std::byte> payload;

  template <typename T>
  T As() const;
  // Of an ioctl: the result, and the bytes that go back to the client.
  int32_t result() const { return As<fuse_ioctl_out>().result; }
  std::vector<std::byte> out() const { return {payload.begin() + sizeof(fuse_ioctl_out), payload.end()}; }
};

class FakeKernel {
 public:
  static constexpr uint32_t kPid = 1234;

  // A session of that kind with `node` behind it.
  FakeKernel(Kind kind, Node& node, int workers = Session::kWorkersDefault);

  Session& session() { return *session_; }
  Reply Init();
  // Returns the number of the request.
  uint64_t Send(uint32_t opcode, const std::vector<std::byte>& payload, uint32_t pid = kPid,
                uint64_t unique = 0);
  Reply Receive();
  // Waits for the reply to that request; other replies may come before it.
  Reply ReceiveOf(uint64_t unique);
  void HangUp() { kernel_.reset(); }
  // The next answer is to a request that the kernel does not know any more: its client was killed.
  void ForgetNext();

  uint64_t SendOpen(uint32_t pid = kPid);
  uint64_t SendRelease(uint64_t file);
  // Sends an ioctl as the kernel does: with the struct if the session is restricted (a FUSE file) and the
  // code says so.
  uint64_t SendIoctl(uint64_t file, uint32_t code, const void* argument, uint32_t pid = kPid,
                     uint64_t unique = 0);
  void SendInterrupt(uint64_t unique);
  uint64_t Open();

 private:
  Kind kind_;
  UniqueFd kernel_;
  int session_end_ = -1;  // the session's own
  std::unique_ptr<Session> session_;
  uint64_t last_unique_ = 0;
  std::vector<Reply> received_early_;
};

template <typename T>
std::vector<std::byte> BytesOf(const T& value) {
  const auto* bytes = reinterpret_cast<const std::byte*>(&value);  // Safety: any object may be read as bytes
  return {bytes, bytes + sizeof(value)};
}

template <typename T>
T FromBytes(const std::vector<std::byte>& bytes) {
  T value = {};
  __builtin_memcpy(&value, bytes.data(), bytes.size() < sizeof(T) ? bytes.size() : sizeof(T));
  return value;
}

template <typename T>
T Reply::As() const {
  return FromBytes<T>(payload);
}

}  // namespace dxg::attach
