#pragma once

#include <string>

#include "cuse-dxg/profile/samples.h"
#include "cuse-dxg/profile/struct_bytes.h"
#include "proto/contract/calls.gen.h"

namespace dxg::profile {

constexpr uint64_t kLuid = 0x70001;
constexpr uint32_t kAdapterHandle = 0x40000040;

// A call as a recording has it.
template <class Call>
TraceRecord RecordOf(uint32_t process, const typename Call::Request& request,
                     const typename Call::Reply& reply, int32_t result = 0) {
  TraceRecord record;
  record.set_pid(process);
  record.set_result(result);
  record.mutable_call()->set_code(Call::kCode);
  record.mutable_call()->set_request(request.SerializeAsString());
  record.mutable_call()->set_reply(reply.SerializeAsString());
  return record;
}

// What programs say to one adapter.
class Recorded {
 public:
  Samples samples;

  void Open(uint32_t process) {
    OpenAdapterFromLuid::Request request;
    OpenAdapterFromLuid::Reply reply;
    request.set_adapter_luid(kLuid);
    reply.set_adapter_handle(kAdapterHandle);
    Add<calls::OpenAdapterFromLuid>(process, request, reply);
  }
  void Ask(uint32_t process, uint32_t type, const std::string& question, const std::string& answer,
           int32_t result = 0) {
    QueryAdapterInfo::Request request;
    QueryAdapterInfo::Reply reply;
    request.set_adapter(kAdapterHandle);
    request.set_type(type);
    request.set_private_data_size(static_cast<uint32_t>(question.size()));
    request.set_private_data(question);
    if (result >= 0) reply.set_private_data(answer);
    Add<calls::QueryAdapterInfo>(process, request, reply, result);
  }
  // An allocation whose private data is `data`, of which `pages` are mapped.
  void Allocate(uint32_t process, const std::string& data, const std::string& back, uint64_t pages) {
    CreateDevice::Request device;
    CreateDevice::Reply made;
    device.set_adapter(kAdapterHandle);
    made.set_device(1);
    Add<calls::CreateDevice>(process, device, made);
    CreateAllocation::Request request;
    CreateAllocation::Reply reply;
    request.set_device(1);
    request.add_allocation_info()->set_priv_drv_data(data);
    reply.add_allocation_info()->set_priv_drv_data(back);
    reply.mutable_allocation_info(0)->set_allocation(++allocation_);
    Add<calls::CreateAllocation>(process, request, reply);
    MapGpuVirtualAddress::Request map;
    map.set_allocation(allocation_);
    map.set_size_in_pages(pages);
    Add<calls::MapGpuVirtualAddress>(process, map, {});
  }

  template <class Call>
  void Add(uint32_t process, const typename Call::Request& request, const typename Call::Reply& reply,
           int32_t result = 0) {
    (void)samples.Add(RecordOf<Call>(process, request, reply, result));
  }

 private:
  uint32_t allocation_ = 0;
};

inline std::string Numbers(std::initializer_list<uint32_t> numbers) {
  std::string bytes(numbers.size() * sizeof(uint32_t), '\0');
  size_t at = 0;
  for (const uint32_t number : numbers) Put(&bytes, at, number), at += sizeof(number);
  return bytes;
}

}  // namespace dxg::profile
