#pragma once

#include <string>

#include "proto/abi/dxg_commands.h"

namespace dxg::hostsim {

// Writes a command buffer as a user-mode driver does: CommandWriter().Fill(...).Write64(...).bytes().
class CommandWriter {
 public:
  CommandWriter() {
    const uint64_t magic = DXG_COMMANDS_MAGIC;
    bytes_.assign(reinterpret_cast<const char*>(&magic), sizeof magic);
  }

  const std::string& bytes() const { return bytes_; }

  CommandWriter& Nop() {
    return Push([](auto* to) { dxg_push_nop(to); });
  }
  CommandWriter& Fill(uint64_t address, uint64_t bytes, uint32_t pattern) {
    return Push([&](auto* to) { dxg_push_fill(to, address, bytes, pattern); });
  }
  CommandWriter& Copy(uint64_t destination, uint64_t source, uint64_t bytes) {
    return Push([&](auto* to) { dxg_push_copy(to, destination, source, bytes); });
  }
  CommandWriter& Write64(uint64_t address, uint64_t value) {
    return Push([&](auto* to) { dxg_push_write64(to, address, value); });
  }
  CommandWriter& AtomicAdd64(uint64_t address, uint64_t value) {
    return Push([&](auto* to) { dxg_push_atomic_add64(to, address, value); });
  }
  CommandWriter& Wait64(uint64_t address, uint64_t value, uint64_t mask = ~0ull,
                        uint32_t compare = DXG_COMPARE_GREATER_EQUAL) {
    return Push([&](auto* to) { dxg_push_wait64(to, address, value, mask, compare); });
  }
  CommandWriter& Timestamp(uint64_t address) {
    return Push([&](auto* to) { dxg_push_timestamp(to, address); });
  }
  CommandWriter& Delay(uint64_t ns) {
    return Push([&](auto* to) { dxg_push_delay(to, ns); });
  }
  CommandWriter& Marker(uint64_t id) {
    return Push([&](auto* to) { dxg_push_marker(to, id); });
  }
  CommandWriter& Hang() {
    return Push([](auto* to) { dxg_push_hang(to); });
  }
  CommandWriter& Fault(uint32_t code) {
    return Push([&](auto* to) { dxg_push_fault(to, code); });
  }
  CommandWriter& Touch(uint64_t address, uint32_t flags = 0) {
    return Push([&](auto* to) { dxg_push_touch(to, address, flags); });
  }
  CommandWriter& Add(uint64_t destination, uint64_t a, uint64_t b, uint64_t count, uint32_t type) {
    return Push([&](auto* to) { dxg_push_add(to, destination, a, b, count, type); });
  }
  CommandWriter& Mad(uint64_t destination, uint64_t a, uint64_t b, uint64_t c, uint64_t count,
                     uint32_t type) {
    return Push([&](auto* to) { dxg_push_mad(to, destination, a, b, c, count, type); });
  }
  CommandWriter& Reduce(uint64_t destination, uint64_t source, uint64_t count, uint32_t type,
                        uint32_t reduction) {
    return Push([&](auto* to) { dxg_push_reduce(to, destination, source, count, type, reduction); });
  }
  CommandWriter& Matmul(const dxg_op_matmul& product) {
    return Push([&](auto* to) { dxg_push_matmul(to, product); });
  }

 private:
  template <class Append>
  CommandWriter& Push(Append append) {
    constexpr size_t kOpBytesMax = 64;
    const size_t used = bytes_.size();
    bytes_.resize(used + kOpBytesMax);
    dxg_commands to = {bytes_.data(), bytes_.size(), used};
    append(&to);
    bytes_.resize(to.used);
    return *this;
  }

  std::string bytes_;
};

}  // namespace dxg::hostsim
