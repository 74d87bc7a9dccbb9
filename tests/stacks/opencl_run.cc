// Kernels and their memory, by OpenCL.
#include "tests/stacks/opencl_kit.h"

namespace stacks {

bool Session::exact_shapes() const {
  cl_bool supported = CL_FALSE;
  return clGetDeviceInfo(device, CL_DEVICE_NON_UNIFORM_WORK_GROUP_SUPPORT, sizeof supported, &supported,
                         nullptr) == CL_SUCCESS &&
         supported == CL_TRUE;
}

void* NewMemory(const Session& session, const void* content, size_t bytes) {
  cl_int status = 0;
  // OpenCL takes it without const and only reads it.
  cl_mem memory = clCreateBuffer(session.context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, bytes,
                                 const_cast<void*>(content), &status);
  SUCCEEDS(status);
  return memory;
}

void ReadMemory(const Session& session, void* memory, void* to, size_t bytes) {
  SUCCEEDS(clEnqueueReadBuffer(session.queue, static_cast<cl_mem>(memory), CL_TRUE, 0, bytes, to, 0, nullptr,
                               nullptr));
}

void FreeMemory(void* memory) { SUCCEEDS(clReleaseMemObject(static_cast<cl_mem>(memory))); }

void Kernel::Load() {}
void Kernel::Unload() {}

void Kernel::SetMemory(cl_uint index, void* memory) {
  const auto buffer = static_cast<cl_mem>(memory);
  SUCCEEDS(clSetKernelArg(kernel_, index, sizeof buffer, &buffer));
}

void Kernel::SetBytes(cl_uint index, const void* bytes, size_t count) {
  SUCCEEDS(clSetKernelArg(kernel_, index, count, bytes));
}

void Kernel::Run(cl_uint dimensions, const size_t* offset, const size_t* global, const size_t* group) const {
  SUCCEEDS(clEnqueueNDRangeKernel(session_.queue, kernel_, dimensions, offset, global, group, 0, nullptr,
                                  nullptr));
  SUCCEEDS(clFinish(session_.queue));
}

}  // namespace stacks
