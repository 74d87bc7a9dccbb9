#include "cuse-dxg/replay/layout.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/page.h"
#include "cuse-dxg/replay/values.h"
#include "proto/abi/d3dkmthk.h"
#include "proto/abi/flags.h"
#include "proto/contract/calls.gen.h"
#include "proto/dxg/options.pb.h"

namespace dxg::replay {
namespace {

using contract::Buffer;

constexpr size_t kWordBytes = sizeof(uint64_t);
constexpr size_t kBuffersBytesMax = 6u << 20;  // of a call; a recording's item has 8 MiB

uint64_t Word(const std::byte* at) {
  uint64_t word = 0;
  std::memcpy(&word, at, sizeof(word));
  return word;
}

void PutWord(std::byte* at, uint64_t word) { std::memcpy(at, &word, sizeof(word)); }

std::byte* Bytes(uint64_t* words) { return reinterpret_cast<std::byte*>(words); }  // Safety: bytes
const std::byte* Bytes(const uint64_t* words) {
  return reinterpret_cast<const std::byte*>(words);  // Safety: bytes
}
uint64_t AddressOf(const std::byte* at) { return reinterpret_cast<uint64_t>(at); }  // Safety: a number

// Whether a program may have memory there.
bool MayBeMemory(uint64_t address) {
  constexpr uint64_t kLowest = 64u << 10, kEnd = 1ull << 47;
  return address >= kLowest && address < kEnd;
}

// The field with the elements of such a buffer, where those have a struct of their own.
const FieldDescriptor* ElementsField(const Message& message, const Buffer& buffer) {
  if (buffer.data != nullptr) return nullptr;
  return message.GetDescriptor()->FindFieldByName(buffer.name);
}

const contract::Element* ElementOf(const FieldDescriptor* field) {
  for (const contract::Element& element : contract::Elements()) {
    if (field != nullptr && field->message_type() == element.message->GetDescriptor()) return &element;
  }
  return nullptr;
}

// Where elements of the struct have the address of memory that is the client's own; none: they have no such.
const contract::Member* OwnMemoryOf(const contract::Element& element) {
  constexpr const char* kName = "sysmem";
  const auto& options = element.message->GetDescriptor()->options().GetExtension(dxg::element);
  // The first addresses of the row are those that its option has.
  for (int i = 0; i < options.addresses_size(); ++i) {
    if (options.addresses(i) == kName) return &element.addresses[static_cast<size_t>(i)];
  }
  return nullptr;
}

// How much of it a request is about, where an element says that it has some, or where the call was done and
// the request says that it exists. 0: none.
uint64_t OwnBytes(const Message& request, const Message& element, int32_t result) {
  const auto* const field = element.GetDescriptor()->FindFieldByName("has_sysmem");
  const bool has = field != nullptr && element.GetReflection()->GetBool(element, field);
  if (!has && result < 0) return 0;
  constexpr uint64_t kUnknownBytes = 16ull << 20;
  const auto* const standard = request.GetDescriptor()->FindFieldByName("standard_allocation");
  if (standard != nullptr && request.GetReflection()->HasField(request, standard)) {
    const uint64_t bytes =
        NumberIn(request.GetReflection()->GetMessage(request, standard), "existing_heap_size");
    if (bytes != 0) return bytes;
  }
  return has ? kUnknownBytes : 0;
}

Message* ElementAt(Message* message, const FieldDescriptor* field, int i) {
  const auto* const reflection = message->GetReflection();
  return field->is_repeated() ? reflection->MutableRepeatedMessage(message, field, i)
                              : reflection->MutableMessage(message, field);
}

// `room`: so many bytes more are read of the call. `least`: so many elements are there, whatever the struct
// announces.
void ReadInto(const Buffer& buffer, const std::byte* args, const ClientMemory& memory, size_t* room,
              Message* message, uint32_t least = 0) {
  if (!buffer.present(args)) return;
  uint64_t count = std::max<uint64_t>(buffer.count(args), least);
  if (count > buffer.max && least != 0) count = least;  // the upper half of a count, which nobody looks at
  const uint64_t address = Word(args + buffer.pointer);
  if (count == 0 || count > buffer.max || address == 0) return;
  if (count * buffer.element_size > *room) return;
  const auto elements = static_cast<uint32_t>(count);
  std::vector<std::byte> bytes(count * buffer.element_size);
  if (!memory.read(address, bytes)) return;
  *room -= bytes.size();
  if (buffer.resize != nullptr) {
    std::copy(bytes.begin(), bytes.end(), buffer.resize(message, elements));
    return;
  }
  buffer.read(bytes.data(), elements, message);
  const FieldDescriptor* const field = ElementsField(*message, buffer);
  const contract::Element* const element = ElementOf(field);
  if (element == nullptr) return;
  for (uint32_t i = 0; i < elements; ++i) {
    for (const Buffer& inner : element->buffers)
      ReadInto(inner, bytes.data() + size_t{i} * buffer.element_size, memory, room,
               ElementAt(message, field, static_cast<int>(i)));
  }
}

Status WriteFrom(const Buffer& buffer, const std::byte* args, const ClientMemory& memory,
                 const Message& message) {
  const uint32_t count = buffer.size(message);
  if (count == 0) return Status::Ok();
  // Of what is asked about as a whole, such as a resource, no number is announced.
  const uint64_t room = buffer.present(args) ? std::clamp<uint64_t>(buffer.count(args), 1, buffer.max) : 0;
  if (count > room)
    return Status::Refuse(EPROTO, "the recorded {} has {} elements; the client gave room for {}", buffer.name,
                          count, room);
  const uint64_t address = Word(args + buffer.pointer);
  const size_t size = size_t{count} * buffer.element_size;
  const auto fault = [&] {
    return Status::Refuse(EFAULT, "{} at {:#x} cannot be written ({} bytes)", buffer.name, address, size);
  };
  if (buffer.data != nullptr)
    return memory.write(address, {buffer.data(message), size}) ? Status::Ok() : fault();
  std::vector<std::byte> bytes(size);
  if (!memory.read(address, bytes)) return fault();
  buffer.write(message, bytes.data());
  if (!memory.write(address, bytes)) return fault();
  const FieldDescriptor* const field = ElementsField(message, buffer);
  const contract::Element* const element = ElementOf(field);
  if (element == nullptr) return Status::Ok();
  const auto* const reflection = message.GetReflection();
  for (uint32_t i = 0; i < count; ++i) {
    const Message& each = field->is_repeated()
                              ? reflection->GetRepeatedMessage(message, field, static_cast<int>(i))
                              : reflection->GetMessage(message, field);
    for (const Buffer& inner : element->buffers)
      DXG_TRY(WriteFrom(inner, bytes.data() + size_t{i} * buffer.element_size, memory, each));
  }
  return Status::Ok();
}

}  // namespace

void ReadBuffers(const contract::CallRow& row, const std::byte* args, const ClientMemory& memory,
                 Message* request) {
  size_t room = kBuffersBytesMax;
  for (const Buffer& buffer : row.in) ReadInto(buffer, args, memory, &room, request);
}

Status WriteBuffers(const contract::CallRow& row, const std::byte* args, const ClientMemory& memory,
                    const Message& reply) {
  for (const Buffer& buffer : row.out) DXG_TRY(WriteFrom(buffer, args, memory, reply));
  return Status::Ok();
}

std::vector<uint64_t> OwnMemoryIn(const contract::CallRow& row, const std::byte* args,
                                  const ClientMemory& memory) {
  std::vector<uint64_t> addresses;
  for (const Buffer& buffer : row.in) {
    const contract::Element* const element = ElementOf(ElementsField(*row.request, buffer));
    const contract::Member* const own = element != nullptr ? OwnMemoryOf(*element) : nullptr;
    const uint64_t count = own != nullptr && buffer.present(args) ? buffer.count(args) : 0;
    if (count == 0 || count > buffer.max) continue;
    std::vector<std::byte> bytes(count * buffer.element_size);
    if (!memory.read(Word(args + buffer.pointer), bytes)) continue;
    for (uint64_t i = 0; i < count; ++i)
      addresses.push_back(Word(bytes.data() + i * buffer.element_size + own->offset));
  }
  return addresses;
}

// -- The client's side ----------------------------------------------------------------------------

ClientCall::ClientCall(const contract::CallRow& row, const Message& request, const Message& reply,
                       int32_t result, Fault fault, std::function<uint64_t(uint64_t)> own_memory,
                       std::span<const uint64_t> addresses)
    : row_(row),
      result_(result),
      fault_(std::move(fault)),
      own_memory_(std::move(own_memory)),
      addresses_(addresses.size() == row.addresses.size() ? addresses : std::span<const uint64_t>()),
      recorded_(reply.New()),
      args_((row.args_size + kWordBytes - 1) / kWordBytes) {
  recorded_->CopyFrom(reply);
  std::byte* const args = Bytes(args_.data());
  row.write_request(request, args);
  for (const Buffer& buffer : row.in) PutIn(buffer, request, args);
  if (row.code == calls::Escape::kCode) PutTestBuffers(request);
  for (const Buffer& buffer : row.out) PutOut(buffer, reply);
}

ClientCall::~ClientCall() {
  if (read_only_ != nullptr) munmap(read_only_, read_only_bytes_);
}

// Null: it is not known, or the pointer is in an element.
const uint64_t* ClientCall::RecordedAddress(const Buffer& buffer, const std::byte* args) const {
  if (addresses_.empty() || args != Bytes(args_.data())) return nullptr;
  for (size_t i = 0; i < addresses_.size(); ++i) {
    if (row_.addresses[i].offset == buffer.pointer) return &addresses_[i];
  }
  return nullptr;
}

// One escape has addresses in its private data, where the driver writes: they are memory of this process.
void ClientCall::PutTestBuffers(const Message& request) {
  const auto& escape = static_cast<const calls::Escape::Request&>(request);
  d3dddi_buildtestcommandbuffer header{};
  if (escape.type() != _D3DKMT_ESCAPE_DRIVERPRIVATE || (escape.flags() & DXG_ESCAPE_DRIVER_KNOWN) == 0 ||
      escape.priv_drv_data().size() < sizeof(header) || blocks_.empty())
    return;
  std::byte* const data = Bytes(blocks_.front()->data());  // the only buffer of the call
  std::memcpy(&header, data, sizeof(header));
  if (header.escape_type != _D3DDDI_DRIVERESCAPETYPE_BUILDTESTCOMMANDBUFFER) return;
  for (uint64_t* const address : {&header.dma_buffer, &header.dma_buffer_priv_data}) {
    if (MayBeMemory(*address)) *address = AddressOf(NewBlock(D3DDDI_MAXTESTBUFFERSIZE));
  }
  std::memcpy(data, &header, sizeof(header));
}

bool ClientCall::PutKnown(const Buffer& buffer, std::byte* args) {
  const uint64_t* const recorded = RecordedAddress(buffer, args);
  if (recorded == nullptr) return false;
  if (!MayBeMemory(*recorded)) {
    PutWord(args + buffer.pointer, *recorded);
    return true;
  }
  // What lay beside memory that cannot be touched could not be either.
  if (fault_.recorded == 0 || fault_.read_only || *recorded / kPageBytes != fault_.recorded / kPageBytes)
    return false;
  PutWord(args + buffer.pointer, fault_.address);
  return true;
}

// A copy of it that cannot be written; the untouchable address where there is no room.
uint64_t ClientCall::ReadOnly(const std::byte* block, size_t bytes) {
  void* const pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) return fault_.address;
  std::memcpy(pages, block, bytes);
  mprotect(pages, bytes, PROT_READ);
  read_only_ = pages;
  read_only_bytes_ = bytes;
  return reinterpret_cast<uint64_t>(pages);  // Safety: a number
}

std::byte* ClientCall::NewBlock(size_t bytes) {
  blocks_.push_back(std::make_unique<Block>((bytes + kWordBytes - 1) / kWordBytes));
  return Bytes(blocks_.back()->data());
}

// A list that is announced and was not read: there was none, the driver could not, or it refused before.
void ClientCall::PutIn(const Buffer& buffer, const Message& request, std::byte* args) {
  if (!buffer.present(args)) return;
  const uint64_t announced = buffer.count(args);
  const uint32_t there = buffer.size(request);
  // Where a whole is asked about, such as a resource, no number is announced.
  if (announced == 0 && (there == 0 || RecordedAddress(buffer, args) == nullptr)) return;
  const bool is_fault = fault_.buffer == buffer.name;
  if (is_fault && !fault_.read_only) return PutWord(args + buffer.pointer, fault_.address);
  if (PutKnown(buffer, args)) return;
  if (RecordedAddress(buffer, args) == nullptr) {
    if (there == 0 && (result_ >= 0 || !fault_.buffer.empty())) return PutWord(args + buffer.pointer, 0);
    if (there == 0 && result_ == -EFAULT) return PutWord(args + buffer.pointer, fault_.address);
  }
  const size_t bytes =
      std::max<uint64_t>(std::min<uint64_t>(announced, buffer.max), there) * buffer.element_size;
  std::byte* const to = NewBlock(bytes);
  if (there != 0) PutElements(buffer, request, to, there);
  PutWord(args + buffer.pointer, is_fault && read_only_ == nullptr ? ReadOnly(to, bytes) : AddressOf(to));
}

void ClientCall::PutElements(const Buffer& buffer, const Message& request, std::byte* to, uint32_t count) {
  if (buffer.data != nullptr) {
    std::memcpy(to, buffer.data(request), size_t{count} * buffer.element_size);
    return;
  }
  buffer.write(request, to);
  const FieldDescriptor* const field = ElementsField(request, buffer);
  const contract::Element* const element = ElementOf(field);
  if (element == nullptr) return;
  for (uint32_t i = 0; i < count; ++i) {
    const auto* const reflection = request.GetReflection();
    const Message& each = field->is_repeated()
                              ? reflection->GetRepeatedMessage(request, field, static_cast<int>(i))
                              : reflection->GetMessage(request, field);
    for (const Buffer& inner : element->buffers) PutIn(inner, each, to + size_t{i} * buffer.element_size);
    const contract::Member* const own = OwnMemoryOf(*element);
    const uint64_t bytes = own != nullptr ? OwnBytes(request, each, result_) : 0;
    if (bytes != 0) PutWord(to + size_t{i} * buffer.element_size + own->offset, own_memory_(bytes));
  }
}

// Where a list is asked for and returned, the client has memory for it; the same where it is also read.
void ClientCall::PutOut(const Buffer& buffer, const Message& reply) {
  std::byte* const args = Bytes(args_.data());
  if (!buffer.present(args)) return;
  const uint64_t announced = std::min<uint64_t>(buffer.count(args), buffer.max);
  const uint32_t there = buffer.size(reply);
  uint64_t address = Word(args + buffer.pointer);
  const bool known = RecordedAddress(buffer, args) != nullptr;
  // It asked for the number only, or for nothing.
  if (address == 0 && there == 0 && result_ >= 0 && !known) return;
  if (fault_.buffer == buffer.name) {
    if (address == 0 || !fault_.read_only) PutWord(args + buffer.pointer, fault_.address);
    return;
  }
  if (address == 0 && PutKnown(buffer, args)) return;
  if (address != 0 && address == fault_.address) return;
  if (address == 0) {
    // The number that is asked for may be what is returned, so there may be more than is announced.
    address = AddressOf(NewBlock(std::max<uint64_t>(announced, there) * buffer.element_size + kWordBytes));
    PutWord(args + buffer.pointer, address);
  }
  out_.emplace_back(&buffer, there);
}

std::unique_ptr<Message> ClientCall::ReadReply() const {
  std::unique_ptr<Message> reply(row_.reply->New());
  const std::byte* const args = Bytes(args_.data());
  row_.read_reply(args, reply.get());
  ClientMemory memory;
  memory.read = [this](uint64_t address, std::span<std::byte> to) {
    for (const auto& block : blocks_) {
      const uint64_t begin = AddressOf(Bytes(block->data())), bytes = block->size() * kWordBytes;
      if (address < begin || address - begin > bytes || to.size() > bytes - (address - begin)) continue;
      std::memcpy(to.data(), Bytes(block->data()) + (address - begin), to.size());
      return true;
    }
    return false;
  };
  size_t room = ~size_t{0};  // it is of this process
  for (const auto& [buffer, least] : out_) ReadInto(*buffer, args, memory, &room, reply.get(), least);
  // Nobody can see what is where no memory is.
  for (const Buffer& buffer : row_.out) {
    const FieldDescriptor* const field = reply->GetDescriptor()->FindFieldByName(buffer.name);
    std::byte byte{};
    const uint64_t address = Word(args + buffer.pointer);
    if (field == nullptr || address == 0 || memory.read(address, {&byte, 1})) continue;
    const std::unique_ptr<Message> recorded(recorded_->New());
    recorded->CopyFrom(*recorded_);
    reply->GetReflection()->SwapFields(reply.get(), recorded.get(), {field});
  }
  return reply;
}

uint64_t ClientCall::AddressIn(const contract::Member& member) const {
  return member.size == kWordBytes ? Word(Bytes(args_.data()) + member.offset) : 0;
}

}  // namespace dxg::replay
