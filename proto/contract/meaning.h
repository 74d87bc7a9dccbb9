#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "proto/contract/contract.h"

// What the values in the messages of calls stand for, by the options of proto/dxg/meaning.proto: the one
// table by which recordings are looked up, played and compared.

namespace dxg::contract {

enum class Kind : uint8_t {
  kExact,
  // Names.
  kHandle,
  kAdapter,  // a handle of an adapter
  kLuid,
  kDescriptor,
  kGpuAddress,
  kProcess,
  kEvent,
  // May differ.
  kTime,
  kMeasured,
  kFenceValue,
  kRoom,
};

// Of a field of `request`, or of the Reply to it, also of one in a message inside of those.
Kind KindOf(const google::protobuf::FieldDescriptor& field, const Message& request);

// Whether two runs are the same where it differs.
bool MayDiffer(Kind kind);

// A number with a meaning, where it stands.
struct Value {
  const google::protobuf::FieldDescriptor& field;
  Kind kind;
  int index;  // in a list; else 0
  uint64_t number;
  bool in_list;  // of numbers, or of messages
};

// A handle as a name of its own: those of adapters have numbers that other handles have too.
inline bool IsHandle(Kind kind) { return kind == Kind::kHandle || kind == Kind::kAdapter; }
inline uint64_t NameOf(Kind kind, uint64_t number) {
  return kind == Kind::kAdapter ? number | 1ull << 32 : number;
}

// Each number of the message that is not exact becomes what `rewrite` says; lists, and messages inside, too.
// Of a list inside the struct those beyond its count are room. Bytes and bools that are room are emptied, or
// kept.
enum class Room : bool { kEmptied, kKept };
void Rewrite(Message* message, const Message& request, const std::function<uint64_t(const Value&)>& rewrite,
             Room room = Room::kEmptied);

// Bytes of the message, at its top, that may differ are emptied: Rewrite does not see them.
void ClearBytesThatMayDiffer(Message* message, const Message& request);

// The same, to look at them only.
void ForEachValue(const Message& message, const Message& request,
                  const std::function<void(const Value&)>& see);

// A number of that field, which may be absent: 0, and of a list the first.
uint64_t NumberIn(const Message& message, const std::string& name);

}  // namespace dxg::contract
