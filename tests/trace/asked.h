#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "cuse-dxg/trace/diff.h"
#include "proto/contract/calls.gen.h"
#include "tests/trace/read_all.h"
#include "tests/trace/session.h"

namespace dxg::trace {

// What a function prints.
template <typename Prints>
std::string Printed(const Prints& prints) {
  char* text = nullptr;
  size_t bytes = 0;
  std::FILE* const file = open_memstream(&text, &bytes);
  prints(file);
  std::fclose(file);
  std::string printed(text, bytes);
  std::free(text);
  return printed;
}

// What two recordings differ in.
inline std::string Differences(std::string a, std::string b, bool exact = false) {
  return Printed([&](std::FILE* to) {
    auto of_a = ReaderOf(a), of_b = ReaderOf(b);
    DiffOptions options;
    options.exact = exact;
    auto result = Diff::Run(**of_a, **of_b, options, to);
    EXPECT_TRUE(result.ok()) << result.status().why();
  });
}

// -- Calls of a program ---------------------------------------------------------------------------

inline void OpenAdapter(Session* session, uint32_t handle) {
  OpenAdapterFromLuid::Request request;
  OpenAdapterFromLuid::Reply reply;
  request.set_adapter_luid(0x10000);
  reply.set_adapter_handle(handle);
  session->Call<calls::OpenAdapterFromLuid>(request, reply);
}

inline void CreateDevice(Session* session, uint32_t adapter, uint32_t device) {
  calls::CreateDevice::Request request;
  calls::CreateDevice::Reply reply;
  request.set_adapter(adapter);
  reply.set_device(device);
  session->Call<calls::CreateDevice>(request, reply);
}

inline void CreateContext(Session* session, uint32_t device, uint32_t context) {
  calls::CreateContextVirtual::Request request;
  calls::CreateContextVirtual::Reply reply;
  request.set_device(device);
  reply.set_context(context);
  session->Call<calls::CreateContextVirtual>(request, reply);
}

inline void DestroyDevice(Session* session, uint32_t device, Status status = Status::Ok()) {
  calls::DestroyDevice::Request request;
  request.set_device(device);
  session->Call<calls::DestroyDevice>(request, {}, std::move(status));
}

inline void CreateAllocation(Session* session, uint32_t device, uint32_t resource, uint32_t allocation) {
  calls::CreateAllocation::Request request;
  calls::CreateAllocation::Reply reply;
  request.set_device(device);
  reply.set_resource(resource);
  reply.set_global_share(0x99);
  reply.add_allocation_info()->set_allocation(allocation);
  session->Call<calls::CreateAllocation>(request, reply);
}

inline void DestroyAllocation(Session* session, uint32_t device, uint32_t resource) {
  calls::DestroyAllocation2::Request request;
  request.set_device(device);
  request.set_resource(resource);
  session->Call<calls::DestroyAllocation2>(request);
}

}  // namespace dxg::trace
