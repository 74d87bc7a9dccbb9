#include "cuse-dxg/tracer/observed_call.h"

#include <linux/ioctl.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string_view>

#include "base/status.h"
#include "cuse-dxg/tracer/tracee_memory.h"
#include "proto/abi/d3dkmthk.h"
#include "proto/contract/calls.gen.h"

namespace dxg::tracer {
namespace {

using contract::Buffer;
using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

constexpr size_t kBuffersBytesMax = 6u << 20;  // of a call; a recording's item has 8 MiB

// The row of a buffer's elements, where these have buffers of their own. Null: they have none.
const contract::Element* ElementOf(const Descriptor* message) {
  static const auto* const rows = [] {
    auto* all = new std::map<const Descriptor*, const contract::Element*>();
    for (const contract::Element& element : contract::Elements())
      all->emplace(element.message->GetDescriptor(), &element);
    return all;
  }();
  const auto found = rows->find(message);
  return found == rows->end() ? nullptr : found->second;
}

const FieldDescriptor* FieldOf(const Buffer& buffer, const contract::Message& message) {
  const FieldDescriptor* const field = message.GetDescriptor()->FindFieldByName(buffer.name);
  DXG_CHECK(field != nullptr);
  return field;
}

uint64_t Low(uint64_t count) { return static_cast<uint32_t>(count); }

uint64_t AddressAt(const std::byte* args, uint16_t offset) {
  uint64_t address = 0;
  std::memcpy(&address, args + offset, sizeof(address));
  return address;
}

// Members that are as they were: the node has not written them.
void ClearUnchanged(const contract::CallRow& row, const std::vector<std::byte>& before,
                    std::vector<std::byte>* after) {
  for (const contract::Member& member : row.members) {
    if (std::equal(before.begin() + member.offset, before.begin() + member.offset + member.size,
                   after->begin() + member.offset))
      std::fill_n(after->begin() + member.offset, member.size, std::byte{0});
  }
}

}  // namespace

ObservedCall::ObservedCall(pid_t tid, uint32_t code, uint64_t argument, bool names_memory)
    : tid_(tid), code_(code), argument_(argument), row_(contract::FindCall(code)), room_(kBuffersBytesMax) {
  args_.resize(row_ != nullptr ? row_->args_size : _IOC_SIZE(code));
  if (!ReadMemory(tid_, argument_, args_)) args_.clear();
  if (row_ == nullptr || args_.size() != row_->args_size) return;
  request_.reset(row_->request->New());
  row_->read_request(args_.data(), request_.get());
  ReadBuffers(row_->in, args_.data(), request_.get());
  if (code_ == LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMGPU) TakeInlineValues();
  if (code_ == LX_DXLOCK2 && names_memory) mapped_before_ = MappingsOf(tid_);
}

void ObservedCall::ReadBuffers(std::span<const Buffer> buffers, const std::byte* args,
                               contract::Message* message) {
  for (const Buffer& buffer : buffers) {
    if (!buffer.present(args)) continue;
    uint64_t count = buffer.count(args);
    // Where the node wrote how many there are, the caller had said how many there is room for. Of a count of
    // 64 bits it writes the low half (EnumProcesses).
    if (message == reply_.get()) count = std::min(Low(count), Low(buffer.count(args_.data())));
    if (count == 0 && IsOfResource(buffer)) count = 1;
    const uint64_t address = AddressAt(args, buffer.pointer);
    if (count == 0 || address == 0 || count > buffer.max || count * buffer.element_size > room_) continue;
    const auto elements = static_cast<uint32_t>(count);
    const size_t bytes = size_t{elements} * buffer.element_size;
    if (buffer.resize != nullptr) {
      std::byte* const to = buffer.resize(message, elements);
      if (!ReadMemory(tid_, address, {to, bytes})) {
        buffer.resize(message, 0);
        continue;
      }
    } else {
      std::vector<std::byte> raw(bytes);
      if (!ReadMemory(tid_, address, raw)) continue;
      ReadElements(buffer, raw.data(), elements, message);
    }
    room_ -= std::min(room_, bytes);
  }
}

// One element for a whole resource, whose caller names no allocations of it.
bool ObservedCall::IsOfResource(const Buffer& buffer) const {
  const std::string_view name = buffer.name;
  if (name != "priorities" && name != "residency_status") return false;
  const FieldDescriptor* const resource = request_->GetDescriptor()->FindFieldByName("resource");
  return resource != nullptr && request_->GetReflection()->GetUInt32(*request_, resource) != 0;
}

void ObservedCall::ReadElements(const Buffer& buffer, const std::byte* elements, uint32_t count,
                                contract::Message* message) {
  buffer.read(elements, count, message);
  const FieldDescriptor* const field = FieldOf(buffer, *message);
  const contract::Element* const element = ElementOf(field->message_type());
  if (element == nullptr || !field->is_repeated()) return;
  for (uint32_t i = 0; i < count; ++i) {
    const std::byte* const args = elements + size_t{i} * buffer.element_size;
    contract::Message* const each =
        message->GetReflection()->MutableRepeatedMessage(message, field, static_cast<int>(i));
    auto* const info = dynamic_cast<AllocationInfo2*>(each);
    if (message == request_.get() || info != nullptr) ReadBuffers(element->buffers, args, each);
    if (info != nullptr) Adapt(args, info);
  }
}

// Of an answer the handle is the node's, and as much of the private data as the host gave back: how much that
// is stands nowhere, so this takes all that there is room for. What no member says, the guest fills in
// likewise.
void ObservedCall::Adapt(const std::byte* element, AllocationInfo2* info) {
  const uint64_t sysmem = AddressAt(element, offsetof(d3dddi_allocationinfo2, sysmem));
  info->set_has_sysmem(sysmem != 0);
  if (reply_ == nullptr) return own_memory_.push_back(sysmem);
  info->clear_vidpn_source_id();
  info->clear_flags();
  info->set_priv_drv_data_size(static_cast<uint32_t>(info->priv_drv_data().size()));
}

// The word that is an address of values for monitored fences is the first of eight values for legacy ones.
// Only the driver knows which of them the objects are; but no address is as small as a value, and where
// nothing is mapped there the word is one.
void ObservedCall::TakeInlineValues() {
  auto& request = static_cast<calls::WaitForSynchronizationObjectFromGpu::Request&>(*request_);
  if (request.fence_values_size() != 0 || request.objects().empty()) return;
  constexpr size_t kOffset = offsetof(d3dkmt_waitforsynchronizationobjectfromgpu, reserved);
  const size_t given = std::min<size_t>(request.object_count(), (args_.size() - kOffset) / sizeof(uint64_t));
  request.mutable_fence_values()->Resize(static_cast<int>(request.object_count()), 0);
  for (size_t i = 0; i < given; ++i)
    request.set_fence_values(static_cast<int>(i), AddressAt(args_.data(), kOffset + i * sizeof(uint64_t)));
}

void ObservedCall::FillIn(TraceCall* call) const {
  call->set_code(code_);
  if (request_ != nullptr) {
    request_->SerializeToString(call->mutable_request());
    return;
  }
  call->set_argument(argument_);
  call->set_raw(args_.data(), args_.size());
}

void ObservedCall::Ended(int32_t result, TraceCall* call) {
  FillIn(call);
  if (request_ == nullptr) return;
  reply_.reset(row_->reply->New());
  std::vector<std::byte> after(args_.size());
  if (!ReadMemory(tid_, argument_, after)) after = args_;
  // Of a refusal only what it changed is an answer: the rest is what the caller had there.
  const bool is_refused = result < 0;
  const bool is_answered = !is_refused || after != args_;
  if (is_refused) ClearUnchanged(*row_, args_, &after);
  if (is_answered) row_->read_reply(after.data(), reply_.get());
  if (!is_refused) ReadBuffers(row_->out, after.data(), reply_.get());
  if (!is_refused && code_ == LX_DXLOCK2) locked_ = AddressAt(after.data(), offsetof(d3dkmt_lock2, data));
  reply_->SerializeToString(call->mutable_reply());
}

std::vector<guest::NamedMemory> ObservedCall::NamedMemory() const {
  std::vector<guest::NamedMemory> named;
  if (reply_ == nullptr) return named;
  if (locked_ != 0) {
    const auto& request = static_cast<const calls::Lock2::Request&>(*request_);
    if (const uint64_t bytes = NewFrom(locked_, mapped_before_, MappingsOf(tid_)); bytes != 0)
      named.push_back({locked_, bytes, request.allocation()});
  }
  if (code_ != LX_DXCREATEALLOCATION) return named;
  const auto& request = static_cast<const calls::CreateAllocation::Request&>(*request_);
  const auto& made = static_cast<const calls::CreateAllocation::Reply&>(*reply_).allocation_info();
  const uint64_t bytes = request.standard_allocation().existing_heap_size();
  for (size_t i = 0; i < own_memory_.size() && bytes != 0 && i < static_cast<size_t>(made.size()); ++i) {
    if (own_memory_[i] != 0)
      named.push_back({own_memory_[i], bytes, made.Get(static_cast<int>(i)).allocation()});
  }
  return named;
}

void ObservedCall::Lost(TraceCall* call) const { FillIn(call); }

}  // namespace dxg::tracer
