#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "link/backend.h"

namespace dxg::guest {

// What a host that says yes to everything still has: it goes by what it was asked and what it answered. A
// device takes what it owns along, a resource its allocations.
class HostBooks {
 public:
  // Of each answered command.
  void Note(const HostCall& call);
  // How many there are of each kind; none: no entry.
  std::map<std::string, size_t> Counts() const;

 private:
  struct Object {
    const char* kind;
    uint32_t owner;  // 0: the process
  };
  void Add(const char* kind, uint32_t handle, uint32_t owner);
  void End(const char* kind, uint32_t handle);
  void NoteMemory(const HostCall& call);
  void NoteSync(const HostCall& call);

  std::multimap<uint32_t, Object> objects_;  // a host with a fault names two by one number
};

}  // namespace dxg::guest
