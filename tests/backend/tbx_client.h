#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "hostsim/serve/tbx_session.h"
#include "tests/backend/raw_peer.h"

// A program's runtime at the simulator channel by hand, without its driver: it writes page tables, a context
// with a ring, and batches, and submits.

namespace dxg {

inline std::string Words(std::initializer_list<uint32_t> words) {
  std::string bytes(words.size() * sizeof(uint32_t), '\0');
  std::memcpy(bytes.data(), std::data(words), bytes.size());
  return bytes;
}

inline std::string TbxMessage(uint32_t type, std::initializer_list<uint32_t> body) {
  return Words({type, 77, static_cast<uint32_t>(body.size() * sizeof(uint32_t))}) + Words(body);
}

class TbxClient {
 public:
  // Physical addresses.
  static constexpr uint64_t kTables = 0x1000, kRing = 0x20000, kImage = 0x30000, kData = 0x100000;
  // In the global table, and of batches: 15 pages that are kData's, the last of them read-only.
  static constexpr uint32_t kGlobalRing = 0x1000, kGlobalImage = 0x2000;
  static constexpr uint64_t kBatch = 0x10000, kReadOnly = 0x1E000, kPages = 15;
  static constexpr uint32_t kRingBytes = 0x1000;

  explicit TbxClient(uint64_t room_bytes = 64u << 20)
      : TbxClient(std::make_shared<hostsim::serve::TbxRoom>(room_bytes)) {}
  explicit TbxClient(std::shared_ptr<hostsim::serve::TbxRoom> room) {
    auto [mine, its] = socket::SocketPair();
    peer_ = std::move(mine);
    hostsim::serve::TbxOptions options;
    options.gpu = {.clock_hz = 19'200'000, .execution = {.executes = true}};
    options.room = std::move(room);
    session_ = std::make_unique<hostsim::serve::TbxSession>(std::move(its), "client", options);
    thread_ = std::thread([this] { session_->Run(); });
  }
  ~TbxClient() { End(); }

  void Send(std::string_view bytes) { socket::SendRaw(peer_, bytes); }
  void Write(uint64_t address, std::string_view bytes) {
    Send(TbxMessage(4, {static_cast<uint32_t>(address >> 32) << 24, static_cast<uint32_t>(address),
                        static_cast<uint32_t>(bytes.size())}));
    Send(bytes);
  }
  std::string Read(uint64_t address, uint32_t bytes) {
    Send(TbxMessage(5, {static_cast<uint32_t>(address >> 32) << 24, static_cast<uint32_t>(address), bytes}));
    const std::string head = socket::ReceiveRaw(peer_, 6 * sizeof(uint32_t));
    EXPECT_EQ(head.substr(0, 12), Words({6, 77, 12}));
    return socket::ReceiveRaw(peer_, bytes);
  }
  void SetRegister(uint32_t offset, uint32_t value) { Send(TbxMessage(0, {1u | 4u << 1, offset, value})); }
  // Nothing where the connection has ended.
  std::string Register(uint32_t offset) {
    Send(TbxMessage(0, {4u << 1, offset, 0}));
    const std::string answer = socket::ReceiveRaw(peer_, 4 * sizeof(uint32_t));
    return answer.size() < 16 ? "" : answer.substr(12);
  }
  void SetGlobal(uint32_t page, uint64_t physical) {
    Send(
        TbxMessage(2, {1, page, static_cast<uint32_t>(physical | 1), static_cast<uint32_t>(physical >> 32)}));
  }
  std::string Global(uint32_t page) {
    Send(TbxMessage(2, {0, page, 0, 0}));
    return socket::ReceiveRaw(peer_, 5 * sizeof(uint32_t)).substr(12);
  }

  // Tables, context and an empty ring.
  void Prepare() {
    for (uint64_t level = 0; level < 3; ++level)
      Write(kTables + level * 0x1000, Words({static_cast<uint32_t>(kTables + (level + 1) * 0x1000) | 3, 0}));
    for (uint64_t page = 0; page < kPages; ++page)
      Write(kTables + 0x3000 + (kBatch / 0x1000 + page) * 8,
            Words({static_cast<uint32_t>(kData + page * 0x1000) |
                       (kBatch + page * 0x1000 == kReadOnly ? 1u : 3u),
                   0}));
    SetGlobal(kGlobalRing / 0x1000, kRing);
    SetGlobal(kGlobalImage / 0x1000, kImage);
    SetGlobal(kGlobalImage / 0x1000 + 1, kImage + 0x1000);
    Write(kImage + 0x1014, Words({0}));
    Write(kImage + 0x1024, Words({kGlobalRing}));
    Write(kImage + 0x102C, Words({1}));
    Write(kImage + 0x10C4, Words({0}));
    Write(kImage + 0x10CC, Words({static_cast<uint32_t>(kTables)}));
  }
  // Where the ring is written next.
  uint32_t tail = 0;
  void PutInRing(std::initializer_list<uint32_t> words) {
    for (const uint32_t word : words) {
      Write(kRing + tail, Words({word}));
      tail = (tail + 4) % kRingBytes;
    }
  }
  void SubmitRing() {
    Write(kImage + 0x101C, Words({tail}));
    SetRegister(0x2510, kGlobalImage | 0x119);
    SetRegister(0x2514, 0);
    SetRegister(0x2550, 1);
  }
  // The batch at kBatch, which gets its end.
  void Submit(std::initializer_list<uint32_t> batch) {
    Write(kData, Words(batch) + Words({0x0500'0000}));
    PutInRing({0x1880'0101, static_cast<uint32_t>(kBatch), 0, 0});
    SubmitRing();
  }

  // Waits until the session is over, and says why it is. It ends at the latest where it has taken everything.
  std::string Reason() {
    shutdown(peer_.get(), SHUT_WR);
    return ReasonOfItsOwn();
  }
  // As Reason, of one that something else ends.
  std::string ReasonOfItsOwn() {
    while (!socket::ReceiveRaw(peer_, 1).empty()) {
    }
    thread_.join();
    return session_->reason();
  }
  hostsim::serve::TbxSession& session() { return *session_; }
  void End() {
    peer_.reset();
    if (thread_.joinable()) thread_.join();
    session_ = nullptr;
  }

 private:
  UniqueFd peer_;
  std::unique_ptr<hostsim::serve::TbxSession> session_;
  std::thread thread_;
};

}  // namespace dxg
