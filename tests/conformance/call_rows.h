#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/conformance/call_table.h"
#include "tests/conformance/limits.h"

// The rows of the table, by families, and helpers to write them.

namespace dxg::conformance {

std::vector<CallRow> AdapterRows();  // adapters, queries, devices and contexts
std::vector<CallRow> MemoryRows();   // allocations, residency, GPU addresses, sharing
std::vector<CallRow> SyncRows();     // fences, and what waits for them
std::vector<CallRow> WorkRows();     // submissions and hardware queues

inline const std::vector<HandleField> kAdapterFirst = {{"Adapter", 0, ObjectType::kAdapter}};
inline const std::vector<HandleField> kDeviceFirst = {{"Device", 0, ObjectType::kDevice}};
inline const std::vector<HandleField> kContextFirst = {{"Context", 0, ObjectType::kContext}};

template <typename Args>
Args& As(std::byte* args) {
  return *reinterpret_cast<Args*>(
      args);  // Safety: page memory of exactly the struct of the row; no alignment trap on x86
}

// For structs that begin with the only handle they need.
template <ObjectType type>
void FillFirstHandle(World& world, std::byte* args) {
  As<d3dkmthandle>(args) = world.Live(type);
}

// One fence and one value of it, for any call that has a list of each.
template <typename Args>
void FillFence(World& world, Args& args) {
  args.object_count = 1;
  args.objects = world.ListOf(ObjectType::kMonitoredFence);
  const uint64_t values = world.Room(sizeof(uint64_t)).address();
  if constexpr (requires { args.fence_values; }) {
    args.fence_values = values;
  } else {
    args.monitored_fence_values = values;
  }
}

// The list of handles that a call reads: one entry, with every kind of bad handle.
PointerField HandleList(const char* name, size_t offset, size_t count_offset, ObjectType type,
                        int null = -EFAULT);
// A list of values of fences; 0 is a good one for every call.
PointerField ValueList(const char* name, size_t offset, size_t count_offset);
// The same for calls whose guest half takes an address of 0 as "no list". The host then refuses a signal of
// the CPU. For a signal in the order of a queue it uses the one value that older calls carry.
PointerField OptionalValueList(const char* name, size_t offset, size_t count_offset, int null);

// A count of 4 bytes that is 0 or above its limit, and more values of other fields.
std::vector<FieldValue> BadCounts(size_t offset, uint32_t max, std::vector<FieldValue> more = {});

// Rows, one family after the other.
std::vector<CallRow> Join(std::vector<std::vector<CallRow>> families);

}  // namespace dxg::conformance
