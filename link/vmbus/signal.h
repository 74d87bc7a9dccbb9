#pragma once

// How the two sides of a ring tell each other to look at it: what is behind /dev/uioN, or two eventfds.

namespace dxg::vmbus {

class Signal {
 public:
  virtual ~Signal() = default;
  // Makes the peer look. Any thread; does not wait.
  virtual void Ring() = 0;
  // Becomes ready to read with each ring of the peer, and when the channel is revoked. To be watched with
  // EPOLLIN | EPOLLET: what was ready need not have been read before it can become ready again.
  virtual int fd() const = 0;
  // After fd was ready, before the ring is looked at. False: the channel is revoked, nothing comes after what
  // is in the ring.
  virtual bool Take() = 0;
};

}  // namespace dxg::vmbus
