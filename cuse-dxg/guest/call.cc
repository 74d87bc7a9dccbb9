#include "cuse-dxg/guest/call.h"

#include <algorithm>
#include <array>
#include <new>
#include <vector>

#include "cuse-dxg/guest/driver.h"
#include "cuse-dxg/guest/teardown.h"

namespace dxg::guest {

Status Call::CopyArgsIn() {
  const auto in = ioctl_->in();
  if (!in.empty()) {
    if (in.size() != row.args_size) {
      return Status::Refuse(EFAULT, "the kernel handed in {} bytes of the argument; expected {}", in.size(),
                            row.args_size);
    }
    std::copy(in.begin(), in.end(), args_);
  } else if (!access_.Read(tid(), ioctl_->argument(), {args_, row.args_size})) {
    return Status::Refuse(EFAULT, "the argument at {:#x} cannot be read ({} bytes)", ioctl_->argument(),
                          row.args_size);
  }
  has_args_ = true;
  row.read_request(args_, &request_message());
  return Status::Ok();
}

void Call::NameShared(const SharedObject* object) { named_shared_ = object != nullptr ? object->number : 0; }

// Where there is no memory to note it, the call does without.
void Call::NameMemory(NamedMemory memory) {
  if (!driver.wants_memory()) return;
  try {
    if (named_memory_ == nullptr) named_memory_ = std::make_unique<std::vector<NamedMemory>>();
    named_memory_->push_back(memory);
  } catch (const std::bad_alloc&) {
  }
}

uint64_t Call::AddressOf(const contract::Buffer& buffer) const {
  uint64_t address = 0;
  std::copy_n(args_ + buffer.pointer, sizeof(address),
              reinterpret_cast<std::byte*>(&address));  // Safety: bytes
  return address;
}

Status Call::CopyIn(const contract::Buffer& buffer) {
  if (!buffer.present(args_)) return Status::Ok();
  const uint64_t count = buffer.count(args_);
  if (count > buffer.max) {
    return Status::Refuse(EINVAL, "{} announces {} elements; at most {} are allowed", buffer.name, count,
                          buffer.max);
  }
  const uint64_t address = AddressOf(buffer);
  const uint32_t elements = static_cast<uint32_t>(count);
  bool read = true;
  if (buffer.resize != nullptr) {
    std::byte* to = buffer.resize(&request_message(), elements);
    if (elements != 0) read = access_.Read(tid(), address, {to, elements * buffer.element_size});
  } else {
    std::vector<std::byte> bytes(elements * buffer.element_size);
    if (!bytes.empty()) read = access_.Read(tid(), address, bytes);
    if (read) buffer.read(bytes.data(), elements, &request_message());
  }
  if (read) return Status::Ok();
  return Status::Refuse(EFAULT, "{} at {:#x} cannot be read ({} bytes)", buffer.name, address,
                        elements * buffer.element_size);
}

Status Call::CopyIn(std::initializer_list<const contract::Buffer*> buffers) {
  constexpr size_t kMost = 4;
  std::array<client::ReadPiece, kMost> pieces;
  size_t used = 0;
  bool fine = buffers.size() <= kMost;
  for (const contract::Buffer* buffer : buffers) {
    if (!fine) break;
    if (buffer == nullptr || !buffer->present(args_)) continue;
    const uint64_t count = buffer->count(args_);
    fine = count <= buffer->max && buffer->resize != nullptr;
    if (!fine || count == 0) continue;
    std::byte* to = buffer->resize(&request_message(), static_cast<uint32_t>(count));
    pieces[used++] = {AddressOf(*buffer), {to, count * buffer->element_size}};
  }
  if (fine && (used == 0 || access_.ReadPieces(tid(), {pieces.data(), used}))) return Status::Ok();
  // One by one: to say which, and so that it is refused for what comes first.
  for (const contract::Buffer* buffer : buffers) {
    if (buffer != nullptr) DXG_TRY(CopyIn(*buffer));
  }
  return Status::Ok();
}

Status Call::CopyIn(const contract::Buffer& buffer, std::vector<std::byte>* raw) {
  raw->clear();
  if (!buffer.present(args_)) return Status::Ok();
  const uint64_t count = buffer.count(args_);
  if (count > buffer.max) {
    return Status::Refuse(EINVAL, "{} announces {} elements; at most {} are allowed", buffer.name, count,
                          buffer.max);
  }
  raw->resize(count * buffer.element_size);
  if (!ReadNear(AddressOf(buffer), *raw)) {
    return Status::Refuse(EFAULT, "{} at {:#x} cannot be read ({} bytes)", buffer.name, AddressOf(buffer),
                          raw->size());
  }
  buffer.read(raw->data(), static_cast<uint32_t>(count), &request_message());
  return Status::Ok();
}

Status Call::CopyOut(const contract::Buffer& buffer) {
  const uint32_t elements = buffer.size(reply_message());
  if (elements == 0) return Status::Ok();
  const uint64_t address = AddressOf(buffer);
  const size_t size = size_t{elements} * buffer.element_size;
  bool written = false;
  if (buffer.data != nullptr) {
    written = access_.Write(tid(), address, {buffer.data(reply_message()), size});
  } else {
    std::vector<std::byte> bytes(size);
    buffer.write(reply_message(), bytes.data());
    written = access_.Write(tid(), address, bytes);
  }
  if (written) return Status::Ok();
  return Status::Refuse(EFAULT, "{} at {:#x} cannot be written ({} bytes)", buffer.name, address, size);
}

Status Call::OutNow(contract::Member member) {
  row.write_reply(reply_message(), args_);
  if (access_.Write(tid(), ioctl_->argument() + member.offset, {args_ + member.offset, member.size}))
    return Status::Ok();
  return Status::Refuse(EFAULT, "the argument at {:#x} cannot be written ({} bytes at offset {})",
                        ioctl_->argument(), member.size, member.offset);
}

client::WritePiece Call::PieceOf(contract::Member member) {
  row.write_reply(reply_message(), args_);
  return {ioctl_->argument() + member.offset, {args_ + member.offset, member.size}};
}

void Call::SetAddress(contract::Member member, uint64_t address) {
  std::copy_n(reinterpret_cast<const std::byte*>(&address), sizeof(address),
              args_ + member.offset);  // Safety: bytes
}

Status Call::OutLate(contract::Member member) {
  if (!ioctl_->kernel_copies_out()) return OutNow(member);
  row.write_reply(reply_message(), args_);
  out_bytes_ = std::max<uint16_t>(out_bytes_, member.offset + member.size);
  return Status::Ok();
}

void Call::Ends() {
  if (process->CallEnds()) driver.EndProcess(process);
}

void Call::Answer(const Status& status) { Caller::Answer(status, {args_, out_bytes_}); }

}  // namespace dxg::guest
