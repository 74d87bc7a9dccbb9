#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "tests/conformance/world.h"

// The calls that a node serves, as a table with the members of each. The suite BadInput is the product of
// this table and of a list of bad values.

namespace dxg::conformance {

struct HandleField {
  const char* name;
  size_t offset;
  ObjectType type;
  int zero = -EINVAL;        // the result for handle 0
  bool of_the_host = false;  // only the host checks it
};

// A pointer member, and the size or count with which the call reads or writes through it.
struct PointerField {
  const char* name;
  size_t offset;
  size_t size_offset;
  size_t size_width = 4;    // bytes of the size or count
  uint64_t size_value = 1;  // what to put there
  size_t memory_bytes;      // what the call then reads or writes
  int null = -EFAULT;       // the results for such addresses
  int unmapped = -EFAULT;
  std::optional<int> one_byte_short = -EFAULT;
  int read_only = 0;
  bool read_only_asks_host = false;        // the host answers first, and only the simulator's answer is known
  bool null_asks_host = false;             // the same for an address of 0, which the guest takes as "no list"
  bool written_for_full_adapters = false;  // not written for compute-only ones, so nothing faults
  std::vector<uint32_t> content = {};      // what is at the beginning of the memory
  // Fills that memory with content that the call can use.
  void (*prepare)(World& world, std::span<std::byte> memory) = nullptr;
};

// One value of one field, and its result.
struct FieldValue {
  const char* name;
  size_t offset;
  size_t width;
  uint64_t value;
  int result;
  bool of_the_host = false;  // the host refuses it, and only the simulator's answer is known
};

struct CallRow {
  const char* name;
  uint32_t code;
  void (*fill)(World& world, std::byte* args);  // makes zeroed bytes a call that succeeds
  int read_only_struct = 0;                     // the result when the struct itself cannot be written
  int all_zero = -EINVAL;                       // the result when every byte of it is 0
  int all_ones = -EINVAL;                       // the same for 0xff
  int filled = 0;                               // the result of the call as it is filled
  bool needs_context = false;
  bool needs_allocations = false;
  bool needs_hw_queue = false;
  bool is_queued = false;       // an asynchronous host does not answer it
  bool may_be_pending = false;  // STATUS_PENDING counts as success
  bool writes_when_refused = false;
  bool host_may_refuse = false;  // even a good call
  std::vector<HandleField> handles = {};
  std::vector<PointerField> pointers = {};
  std::vector<FieldValue> values = {};
};

const std::vector<CallRow>& CallTable();

}  // namespace dxg::conformance
