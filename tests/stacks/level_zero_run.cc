// Kernels and their memory, by Level Zero: it loads what OpenCL has compiled for the same device.
#include <level_zero/ze_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/stacks/opencl_kit.h"

namespace stacks {
namespace {

constexpr uint64_t kSecondsMax = 100'000'000'000;  // ns

#define ZE(call) ZeSucceeds((call), #call, __LINE__)
void ZeSucceeds(ze_result_t result, const char* what, int line) {
  if (result == ZE_RESULT_SUCCESS) return;
  fprintf(stderr, "level_zero_run.cc:%d: %s is 0x%x\n", line, what, static_cast<unsigned>(result));
  exit(1);
}

// Of the first device. It lives as long as the program.
struct LevelZero {
  ze_device_handle_t device = nullptr;
  ze_context_handle_t context = nullptr;
  ze_command_queue_handle_t queue = nullptr;

  LevelZero() {
    ZE(zeInit(ZE_INIT_FLAG_GPU_ONLY));
    uint32_t count = 1;
    ze_driver_handle_t driver = nullptr;
    ZE(zeDriverGet(&count, &driver));
    ZE(zeDeviceGet(driver, &count, &device));
    const ze_context_desc_t context_desc{ZE_STRUCTURE_TYPE_CONTEXT_DESC, nullptr, 0};
    ZE(zeContextCreate(driver, &context_desc, &context));
    ze_command_queue_desc_t queue_desc{};
    queue_desc.stype = ZE_STRUCTURE_TYPE_COMMAND_QUEUE_DESC;
    queue_desc.mode = ZE_COMMAND_QUEUE_MODE_ASYNCHRONOUS;  // group 0 computes
    ZE(zeCommandQueueCreate(context, device, &queue_desc, &queue));
  }
};

const LevelZero& Ze() {
  static const LevelZero level_zero;
  return level_zero;
}

// Until it is done.
void Execute(ze_command_list_handle_t list) {
  ZE(zeCommandListClose(list));
  ZE(zeCommandQueueExecuteCommandLists(Ze().queue, 1, &list, nullptr));
  ZE(zeCommandQueueSynchronize(Ze().queue, kSecondsMax));
  ZE(zeCommandListDestroy(list));
}

ze_command_list_handle_t NewList() {
  ze_command_list_desc_t desc{};
  desc.stype = ZE_STRUCTURE_TYPE_COMMAND_LIST_DESC;
  ze_command_list_handle_t list = nullptr;
  ZE(zeCommandListCreate(Ze().context, Ze().device, &desc, &list));
  return list;
}

}  // namespace

// All groups have the same size.
bool Session::exact_shapes() const { return false; }

void* NewMemory(const Session&, const void* content, size_t bytes) {
  ze_device_mem_alloc_desc_t desc{};
  desc.stype = ZE_STRUCTURE_TYPE_DEVICE_MEM_ALLOC_DESC;
  ze_host_mem_alloc_desc_t host{};
  host.stype = ZE_STRUCTURE_TYPE_HOST_MEM_ALLOC_DESC;
  void* memory = nullptr;
  ZE(zeMemAllocShared(Ze().context, &desc, &host, bytes, 64, Ze().device, &memory));
  memcpy(memory, content, bytes);
  return memory;
}

void ReadMemory(const Session&, void* memory, void* to, size_t bytes) { memcpy(to, memory, bytes); }

void FreeMemory(void* memory) { ZE(zeMemFree(Ze().context, memory)); }

void Kernel::Load() {
  size_t bytes = 0;
  SUCCEEDS(clGetProgramInfo(program_, CL_PROGRAM_BINARY_SIZES, sizeof bytes, &bytes, nullptr));
  std::vector<unsigned char> binary(bytes);
  unsigned char* at = binary.data();
  SUCCEEDS(clGetProgramInfo(program_, CL_PROGRAM_BINARIES, sizeof at, &at, nullptr));
  ze_module_desc_t desc{};
  desc.stype = ZE_STRUCTURE_TYPE_MODULE_DESC;
  desc.format = ZE_MODULE_FORMAT_NATIVE;
  desc.inputSize = bytes;
  desc.pInputModule = binary.data();
  ze_module_handle_t module = nullptr;
  ZE(zeModuleCreate(Ze().context, Ze().device, &desc, &module, nullptr));
  module_ = module;
  ze_kernel_desc_t kernel_desc{};
  kernel_desc.stype = ZE_STRUCTURE_TYPE_KERNEL_DESC;
  kernel_desc.pKernelName = name_;
  ze_kernel_handle_t kernel = nullptr;
  ZE(zeKernelCreate(module, &kernel_desc, &kernel));
  loaded_ = kernel;
}

void Kernel::Unload() {
  ZE(zeKernelDestroy(static_cast<ze_kernel_handle_t>(loaded_)));
  ZE(zeModuleDestroy(static_cast<ze_module_handle_t>(module_)));
}

void Kernel::SetMemory(cl_uint index, void* memory) { SetBytes(index, &memory, sizeof memory); }

void Kernel::SetBytes(cl_uint index, const void* bytes, size_t count) {
  ZE(zeKernelSetArgumentValue(static_cast<ze_kernel_handle_t>(loaded_), index, count, bytes));
}

void Kernel::Run(cl_uint dimensions, const size_t* offset, const size_t* global, const size_t* group) const {
  const auto kernel = static_cast<ze_kernel_handle_t>(loaded_);
  uint32_t all[3] = {1, 1, 1}, of_group[3] = {1, 1, 1}, from[3] = {};
  for (cl_uint i = 0; i < dimensions; ++i) {
    all[i] = static_cast<uint32_t>(global[i]);
    if (group) of_group[i] = static_cast<uint32_t>(group[i]);
    if (offset) from[i] = static_cast<uint32_t>(offset[i]);
  }
  if (!group)
    ZE(zeKernelSuggestGroupSize(kernel, all[0], all[1], all[2], &of_group[0], &of_group[1], &of_group[2]));
  ZE(zeKernelSetGroupSize(kernel, of_group[0], of_group[1], of_group[2]));
  ZE(zeKernelSetGlobalOffsetExp(kernel, from[0], from[1], from[2]));
  for (int i = 0; i < 3; ++i) CHECK(all[i] % of_group[i] == 0);
  const ze_group_count_t groups{all[0] / of_group[0], all[1] / of_group[1], all[2] / of_group[2]};
  ze_command_list_handle_t list = NewList();
  ZE(zeCommandListAppendLaunchKernel(list, kernel, &groups, nullptr, 0, nullptr));
  Execute(list);
}

}  // namespace stacks
