#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace dxg::hostsim {

// What a handle of a process can name.
enum class ObjectKind : uint8_t {
  kDevice,
  kContext,
  kResource,
  kAllocation,
  kPagingQueue,
  kSync,
  kHostShare,
  kHwQueue,
};

// Counts the living ones of a kind, for leak checks.
class Counted {
 public:
  explicit Counted(std::atomic<uint64_t>& count) : count_(count) { ++count_; }
  ~Counted() { --count_; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

 private:
  std::atomic<uint64_t>& count_;
};

// Whatever a process's handle table owns. A kind of object is a class with a constant kKind; the table's
// lookups compare it, so a handle of another kind is as unknown as a random number.
class Object {
 public:
  explicit Object(ObjectKind kind) : kind(kind) {}
  virtual ~Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  const ObjectKind kind;
  uint32_t handle = 0;
};

using Objects = std::vector<std::unique_ptr<Object>>;

}  // namespace dxg::hostsim
