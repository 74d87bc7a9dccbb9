#pragma once

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

#include "base/shared_memory.h"
#include "cuse-dxg/preload/node_ring.h"
#include "tests/attach/library_client.h"

namespace dxg::attach::library {

// The library's end of a ring, as the test plays it.
class RingClient {
 public:
  // Asks for one. `has()` is false where it was refused.
  explicit RingClient(Connection& connection) : connection_(connection) {
    Said ask = {};
    ask.kind = say::kRing;
    connection_.Send(ask);
    Heard heard = connection_.Hear();
    EXPECT_EQ(heard.told.kind, tell::kRing);
    result_ = heard.told.result;
    if (heard.files.size() != 2) return;
    keep_ = MapSharedMemory(heard.files[0].get(), 0, preload::node::ring::kBytes);
    bell_ = std::move(heard.files[1]);
  }
  bool has() const { return keep_ != nullptr; }
  int32_t result() const { return result_; }
  preload::node::RingPage& page() const {
    return *reinterpret_cast<preload::node::RingPage*>(
        keep_.get());  // Safety: it is one, made by the session
  }
  static std::atomic_ref<uint32_t> Word(uint32_t& word) { return std::atomic_ref<uint32_t>(word); }

  Said Call(uint64_t file) { return IoctlOf(file, ++calls_); }
  // Puts a call there, as one that looks at the page or as one that reads the socket.
  void Put(const Said& said, uint64_t value, preload::node::ring::State state) {
    page().said = said;
    std::memcpy(page().in, &value, sizeof(value));
    Word(page().state) = state;
    ++Word(page().called);
    if (Word(page().awake) == 0) Ring();
  }
  void Ring() {
    const uint64_t one = 1;
    EXPECT_EQ(write(bell_.get(), &one, sizeof(one)), static_cast<ssize_t>(sizeof(one)));
  }
  // What becomes of a state.
  uint32_t After(uint32_t state) {
    while (Word(page().state) == state) sched_yield();
    return Word(page().state);
  }
  uint64_t value() const {
    uint64_t value = 0;
    EXPECT_EQ(page().out_bytes, sizeof(value));
    std::memcpy(&value, page().out, sizeof(value));
    return value;
  }

 private:
  Connection& connection_;
  int32_t result_ = 0;
  std::shared_ptr<std::byte> keep_;
  UniqueFd bell_;
  uint32_t calls_ = 1000;  // beside those by the socket
};

}  // namespace dxg::attach::library
