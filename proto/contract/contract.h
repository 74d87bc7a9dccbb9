#pragma once

#include <google/protobuf/message.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "proto/dxg/options.pb.h"

// The types of the generated tables. calls.gen.h holds one row and one traits struct for each call; this
// header says what is in them. A row speaks of three things: the fixed struct ("args") as it lies in the
// client, the Request and Reply messages, and the buffers in the client's memory that pointers of the struct
// lead to.

namespace dxg::contract {

using google::protobuf::Message;

// A member of the fixed struct: where it lies, in bytes.
struct Member {
  uint16_t offset;
  uint16_t size;
};

// Memory of the client that a pointer of the struct leads to, and the message field that holds its content. A
// buffer of a Request is copied in, one of a Reply is copied out.
struct Buffer {
  const char* name;
  uint16_t pointer;                          // offset of the address in the struct
  uint32_t element_size;                     // bytes of one element in the client
  uint32_t max;                              // more elements are refused before anything is copied
  uint64_t (*count)(const std::byte* args);  // how many elements the struct announces
  bool (*present)(const std::byte* args);    // whether the struct's other members say that the buffer exists
  uint32_t (*size)(const Message& message);  // how many elements the field holds
  // Fields whose elements look in memory as they do in the client (bytes, numbers): copied without a detour.
  // Null for elements with a message of their own.
  std::byte* (*resize)(Message* message, uint32_t elements);
  const std::byte* (*data)(const Message& message);
  // Fields whose elements are messages. Null for the others.
  void (*read)(const std::byte* elements, uint32_t count, Message* message);
  void (*write)(const Message& message, std::byte* elements);
};

// One of the 65 calls.
struct CallRow {
  uint8_t nr;
  uint32_t code;       // the whole request code
  uint16_t args_size;  // bytes
  const char* name;    // "CreateDevice"
  const char* ioctl;   // "LX_DXCREATEDEVICE"
  CallClass call_class;
  bool served;
  const char* summary;
  const Message* request;  // default instances
  const Message* reply;
  void (*read_request)(const std::byte* args, Message* request);
  void (*write_request)(const Message& request, std::byte* args);
  void (*read_reply)(const std::byte* args, Message* reply);
  void (*write_reply)(const Message& reply, std::byte* args);
  std::span<const Buffer> in;
  std::span<const Buffer> out;
  // Every byte of the struct is in one of these three, or is padding.
  std::span<const Member> members;    // carried in messages
  std::span<const Member> addresses;  // addresses in the client, never in a message
  std::span<const Member> unused;
};

// A number that has no handler in any driver that we equal.
struct UnhandledNumber {
  uint8_t nr;
  const char* name;
  uint32_t legacy_code;
};

// What a client can see that the published driver does not do. Text for people.
struct Difference {
  DifferencePlace place;
  const char* what;    // the occasion
  const char* driver;  // what the driver does then; empty where the place is ONLY_HERE
  const char* here;
  const char* why;                     // may be empty
  std::span<const char* const> calls;  // their names; none: it shows in the node itself
  bool Concerns(std::string_view call) const;
};

// A flag that the simulated host takes and that changes nothing.
struct UnheededFlag {
  const char* call;   // and the command of that name
  const char* field;  // of the command's Request
  uint32_t bit;
  const char* flag;  // its published name
  const char* why;
};

// The struct of an element of a buffer, for the tests that hold its codec to the published layout.
struct Element {
  const char* name;
  const char* args;
  uint16_t args_size;
  const Message* message;
  void (*read)(const std::byte* args, Message* message);
  void (*write)(const Message& message, std::byte* args);
  std::span<const Buffer> buffers;
  std::span<const Member> members;
  std::span<const Member> addresses;
  std::span<const Member> unused;
};

std::span<const CallRow> Calls();  // ascending by number
std::span<const UnhandledNumber> UnhandledNumbers();
std::span<const Element> Elements();
std::span<const Difference> Differences();      // in the order of proto/dxg/differences.proto
std::span<const UnheededFlag> UnheededFlags();  // those of one call together

// The row whose whole code is `code`, or null. A wrong size, direction or type byte is as unknown as a wrong
// number.
const CallRow* FindCall(uint32_t code);

// A command of the guest to its host.
struct CommandRow {
  uint32_t id;
  const char* name;  // DXGK_VMBCOMMAND_<name>
  Channel channel;
  bool no_process;
  bool may_be_async;       // where the host announced asynchronous messages it is sent without an answer
  const Message* request;  // default instances
  const Message* reply;
  // The command's bytes on the VMBus, counted from the 24-byte command header and without the ext header.
  uint32_t (*request_size)(const Message& request);
  void (*encode_request)(const Message& request,
                         std::byte* command);  // request_size bytes, zeroed; header untouched
  bool (*decode_request)(std::span<const std::byte> command, Message* request);  // false: too short
  // The least reply that the guest accepts, for that request and interface version.
  uint32_t (*reply_size)(const Message& request, uint32_t version);
  void (*encode_reply)(const Message& request, const Message& reply, uint32_t version, std::byte* out);
  bool (*decode_reply)(std::span<const std::byte> payload, const Message& request, uint32_t version,
                       Message* reply);
};

std::span<const CommandRow> HostCommands();
const CommandRow* FindHostCommand(uint32_t id);

// What the host sends unasked.
struct GuestMessage {
  uint32_t id;
  const char* name;                                                 // DXGK_VMBCOMMAND_HOSTTOVM_<name>
  const Message* message;                                           // default instance
  uint32_t size;                                                    // bytes, with the 24-byte command header
  void (*encode)(const Message& message, std::byte* out);           // size bytes, zeroed; header untouched
  bool (*decode)(std::span<const std::byte> in, Message* message);  // false: too short
};

std::span<const GuestMessage> GuestMessages();
const GuestMessage* FindGuestMessage(uint32_t id);

// -- Used by generated code -----------------------------------------------------------------------

template <size_t kOffset, size_t kSize>
inline uint64_t Load(const std::byte* bytes) {
  static_assert(kSize <= 8);
  uint64_t value = 0;
  std::memcpy(&value, bytes + kOffset, kSize);  // little-endian, as the ABI
  return value;
}

template <size_t kOffset, size_t kSize>
inline void Store(std::byte* bytes, uint64_t value) {
  static_assert(kSize <= 8);
  std::memcpy(bytes + kOffset, &value, kSize);
}

}  // namespace dxg::contract
