#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/status.h"
#include "base/unique_fd.h"
#include "cuse-dxg/preload/node_ring.h"
#include "cuse-dxg/preload/spin.h"

namespace dxg::attach::library {

// The device process's end of a RingPage. The client writes there what it likes and when it likes. So nothing
// is read twice, nothing that is read is a place or a length, and nothing that it does there makes us wait.
class Ring {
 public:
  // Errors: those of MakeSharedMemory and eventfd(2).
  static Result<std::unique_ptr<Ring>> Make();

  // The page and the bell, for the client.
  std::array<int, 2> files() const { return {memory_.get(), bell_.get()}; }
  // The client has them.
  void CloseMemory() { memory_.reset(); }
  // Becomes readable with each ring, to be watched with EPOLLET. It is neither read nor written here: the
  // client may have made it one that waits.
  int bell() const { return bell_.get(); }

  // -- For one thread at a time, the reader; SetAwake(false) for all
  bool HasCall() const { return Word(page_->called).load() != taken_; }
  // The next call, and its struct in `room`, which holds kStructMax bytes. False: it makes no sense.
  bool Take(preload::node::Said* said, std::span<std::byte> room, size_t* bytes);
  // Whether we look for calls by ourselves. From true to false: HasCall is to be asked once more.
  void SetAwake(bool awake) { Word(page_->awake).store(awake ? 1 : 0); }
  preload::node::Spin spin;  // whether looking by ourselves was worth it

  // -- From any thread, one at a time
  // False: the client does not look here, so the answer has to go by the socket.
  bool Answer(const preload::node::Told& told, std::span<const std::byte> out);
  // There is something at the socket.
  void Divert();

  // The client is gone.
  void Retire() {
    retired_ = true;
    SetAwake(false);
  }
  bool retired() const { return retired_; }

 private:
  Ring(std::shared_ptr<std::byte> keep, UniqueFd memory, UniqueFd bell);
  static std::atomic_ref<uint32_t> Word(uint32_t& word) { return std::atomic_ref<uint32_t>(word); }

  const std::shared_ptr<std::byte> keep_;
  preload::node::RingPage* const page_;
  UniqueFd memory_;
  const UniqueFd bell_;
  uint32_t taken_ = 0;
  std::atomic<bool> retired_ = false;
};

}  // namespace dxg::attach::library
