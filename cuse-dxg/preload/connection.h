#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cuse-dxg/preload/node_protocol.h"

// The library's end of the connections to the device process: one of each thread that makes calls.

namespace dxg::preload::node {

// Once, before anything else.
void Load();

// close(2), which is no point of cancellation here.
int Close(int descriptor);

// A connection for one call. That of the thread, or, where it has none to use, one of the call's own.
class Connection {
 public:
  Connection();
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  int error() const { return socket_ < 0 ? socket_ : 0; }
  uint32_t number() const { return number_; }

  // Whether the file was shown before; it is from now on.
  bool Shows(uint64_t file);
  // 0, or -errno. `extra` is memory of the program, at which the kernel looks for us.
  int Send(const Said& said, const void* extra, size_t extra_bytes, int file);
  // Where the answer to what was put on the thread's ring is.
  enum class By { kNothing, kRing, kSocket, kGone };
  // Says a call by the ring and waits a moment for its answer, whose bytes are then at `memory`, up to
  // `room`. kNothing: the call has to be said by the socket. kGone: the program has closed ours meanwhile.
  By CallByRing(const Said& said, void* memory, size_t in_bytes, size_t room, Told* told);
  // How many bytes of `out`, which is memory of the program, were written; or -errno. The descriptor that
  // came along, or -1, is in `file`; a second one in `second`.
  long Receive(Told* told, void* out, size_t out_bytes, int flags, int* file, int* second = nullptr);
  // The next message, whole. 0, or -errno. It is looked at first and taken then, because an address of the
  // kernel's is refused before the message has come, and any other one after it was taken.
  long ReceiveInto(void* to, size_t bytes);

 private:
  long Next(void* to, size_t bytes, int flags);
  bool Begin(pid_t tid);
  void AskRing();
  bool CheckSocket();

  int socket_ = -1;
  uint32_t number_ = 1;
  bool kept_ = false, broken_ = false;
  bool checked_ = true;  // whether the socket's number is still its own
};

}  // namespace dxg::preload::node
