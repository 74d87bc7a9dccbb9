#include "tests/conformance/call_rows.h"

#include <cstring>

namespace dxg::conformance {
namespace {

template <ObjectType type>
void PutLiveHandle(World& world, std::span<std::byte> memory) {
  const d3dkmthandle handle = world.Live(type);
  std::memcpy(memory.data(), &handle, sizeof(handle));
}

}  // namespace

PointerField HandleList(const char* name, size_t offset, size_t count_offset, ObjectType type, int null) {
  void (*prepare)(World&, std::span<std::byte>) = PutLiveHandle<ObjectType::kAllocation>;
  if (type == ObjectType::kResource) prepare = PutLiveHandle<ObjectType::kResource>;
  if (type == ObjectType::kMonitoredFence) prepare = PutLiveHandle<ObjectType::kMonitoredFence>;
  if (type == ObjectType::kContext) prepare = PutLiveHandle<ObjectType::kContext>;
  if (type == ObjectType::kHwQueue) prepare = PutLiveHandle<ObjectType::kHwQueue>;
  return {.name = name,
          .offset = offset,
          .size_offset = count_offset,
          .memory_bytes = sizeof(d3dkmthandle),
          .null = null,
          .prepare = prepare};
}

PointerField ValueList(const char* name, size_t offset, size_t count_offset) {
  return {.name = name, .offset = offset, .size_offset = count_offset, .memory_bytes = sizeof(uint64_t)};
}

PointerField OptionalValueList(const char* name, size_t offset, size_t count_offset, int null) {
  PointerField field = ValueList(name, offset, count_offset);
  field.null = null;
  field.null_asks_host = true;
  return field;
}

std::vector<FieldValue> BadCounts(size_t offset, uint32_t max, std::vector<FieldValue> more) {
  std::vector<FieldValue> values = {{"Count0", offset, 4, 0, -EINVAL},
                                    {"CountAboveLimit", offset, 4, max + 1, -EINVAL},
                                    {"CountMax", offset, 4, 0xffffffff, -EINVAL}};
  values.insert(values.end(), more.begin(), more.end());
  return values;
}

std::vector<CallRow> Join(std::vector<std::vector<CallRow>> families) {
  std::vector<CallRow> rows;
  for (const auto& more : families) rows.insert(rows.end(), more.begin(), more.end());
  return rows;
}

}  // namespace dxg::conformance
