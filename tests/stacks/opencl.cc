// An OpenCL program as users write them, for the OpenCL that is installed: buffers, transfers, a kernel from
// source, events, both kinds of queue. It asks for nothing that a vendor's runtime would not do by itself,
// and knows nothing of cuse-dxg.
//
//   stack_opencl [--rounds N]
//
// What the runtime copies with the CPU has to be right. What it gives the GPU's execution units to do
// (kernels; with this runtime non-blocking transfers, copies and fills are kernels too) must be either right
// or not done at all: each such step prints "done" or "not executed". Exit status: 0 if nothing was wrong.
#define CL_TARGET_OPENCL_VERSION 200
#include <CL/cl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <vector>

namespace {

constexpr size_t kCount = 4096;
constexpr size_t kBytes = kCount * sizeof(cl_uint);

#define CHECK(condition) Check((condition), #condition, __LINE__)
void Check(bool holds, const char* what, int line) {
  if (holds) return;
  fprintf(stderr, "opencl.cc:%d: not so: %s\n", line, what);
  exit(1);
}

#define SUCCEEDS(call) Succeeds((call), #call, __LINE__)
void Succeeds(cl_int status, const char* what, int line) {
  if (status == CL_SUCCESS) return;
  fprintf(stderr, "opencl.cc:%d: %s is %d\n", line, what, status);
  exit(1);
}

using Words = std::vector<cl_uint>;

Words Pattern(cl_uint seed) {
  Words words(kCount);
  for (size_t i = 0; i < words.size(); ++i)
    words[i] = seed * 0x9E3779B9u + static_cast<cl_uint>(i) * 2654435761u;
  return words;
}

struct Session {
  cl_device_id device = nullptr;
  cl_context context = nullptr;
  cl_command_queue queue = nullptr;

  cl_mem New(const Words* content = nullptr) const {
    cl_int status = 0;
    const cl_mem_flags flags = CL_MEM_READ_WRITE | (content ? CL_MEM_COPY_HOST_PTR : 0);
    // OpenCL takes it without const and only reads it.
    cl_mem buffer = clCreateBuffer(context, flags, kBytes,
                                   content ? const_cast<cl_uint*>(content->data()) : nullptr, &status);
    SUCCEEDS(status);
    return buffer;
  }
  Words Read(cl_mem buffer) const {
    Words words(kCount);
    SUCCEEDS(clEnqueueReadBuffer(queue, buffer, CL_TRUE, 0, kBytes, words.data(), 0, nullptr, nullptr));
    return words;
  }
  void Write(cl_mem buffer, const Words& words) const {
    SUCCEEDS(clEnqueueWriteBuffer(queue, buffer, CL_TRUE, 0, kBytes, words.data(), 0, nullptr, nullptr));
  }
  // The step was done, or nothing of it was.
  void Either(const char* step, cl_mem buffer, const Words& before, const Words& after) const {
    const Words found = Read(buffer);
    CHECK(found == before || found == after);
    printf("%s: %s\n", step, found == after ? "done" : "not executed");
  }
};

void AwaitEnd(cl_event event) {
  SUCCEEDS(clWaitForEvents(1, &event));
  cl_int state = -1;
  SUCCEEDS(clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, nullptr));
  CHECK(state == CL_COMPLETE);
}

Session Open() {
  Session session;
  cl_platform_id platforms[8];
  cl_uint count = 0;
  SUCCEEDS(clGetPlatformIDs(8, platforms, &count));
  for (cl_uint i = 0; i < count && !session.device; ++i) {
    cl_uint devices = 0;
    if (clGetDeviceIDs(platforms[i], CL_DEVICE_TYPE_GPU, 1, &session.device, &devices) != CL_SUCCESS ||
        devices == 0)
      session.device = nullptr;
  }
  CHECK(session.device != nullptr);
  cl_int status = 0;
  session.context = clCreateContext(nullptr, 1, &session.device, nullptr, nullptr, &status);
  SUCCEEDS(status);
  const cl_queue_properties profiling[] = {CL_QUEUE_PROPERTIES, CL_QUEUE_PROFILING_ENABLE, 0};
  session.queue = clCreateCommandQueueWithProperties(session.context, session.device, profiling, &status);
  SUCCEEDS(status);
  return session;
}

void Close(const Session& session) {
  SUCCEEDS(clReleaseCommandQueue(session.queue));
  SUCCEEDS(clReleaseContext(session.context));
}

// The CPU's copies: each byte has to be right.
void TestTransfers(const Session& session) {
  const Words first = Pattern(1), second = Pattern(2);
  cl_mem buffer = session.New(&first);
  CHECK(session.Read(buffer) == first);
  session.Write(buffer, second);
  CHECK(session.Read(buffer) == second);

  // A part, at odd offsets.
  std::vector<unsigned char> part(777);
  SUCCEEDS(clEnqueueReadBuffer(session.queue, buffer, CL_TRUE, 1235, part.size(), part.data(), 0, nullptr,
                               nullptr));
  CHECK(memcmp(part.data(), reinterpret_cast<const char*>(second.data()) + 1235, part.size()) == 0);

  cl_int status = 0;
  auto* mapped = static_cast<cl_uint*>(clEnqueueMapBuffer(
      session.queue, buffer, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE, 0, kBytes, 0, nullptr, nullptr, &status));
  SUCCEEDS(status);
  CHECK(memcmp(mapped, second.data(), kBytes) == 0);
  memcpy(mapped, first.data(), kBytes);
  cl_event unmapped = nullptr;
  SUCCEEDS(clEnqueueUnmapMemObject(session.queue, buffer, mapped, 0, nullptr, &unmapped));
  AwaitEnd(unmapped);
  SUCCEEDS(clReleaseEvent(unmapped));
  CHECK(session.Read(buffer) == first);
  SUCCEEDS(clReleaseMemObject(buffer));

  // Memory of the program's own.
  Words own = Pattern(3);
  auto* aligned = static_cast<cl_uint*>(aligned_alloc(4096, kBytes));
  memcpy(aligned, own.data(), kBytes);
  buffer = clCreateBuffer(session.context, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR, kBytes, aligned, &status);
  SUCCEEDS(status);
  CHECK(session.Read(buffer) == own);
  session.Write(buffer, first);
  CHECK(session.Read(buffer) == first);
  SUCCEEDS(clReleaseMemObject(buffer));
  free(aligned);
}

// What is for the execution units.
void TestKernelTransfers(const Session& session) {
  const Words first = Pattern(4), second = Pattern(5);
  cl_mem from = session.New(&first), to = session.New(&second);
  cl_event copied = nullptr;
  SUCCEEDS(clEnqueueCopyBuffer(session.queue, from, to, 0, 0, kBytes, 0, nullptr, &copied));
  AwaitEnd(copied);
  SUCCEEDS(clReleaseEvent(copied));
  session.Either("copy", to, second, first);

  session.Write(to, second);
  const cl_uint color = 0xABCD1234;
  SUCCEEDS(clEnqueueFillBuffer(session.queue, to, &color, sizeof color, 0, kBytes, 0, nullptr, nullptr));
  SUCCEEDS(clFinish(session.queue));
  session.Either("fill", to, second, Words(kCount, color));

  session.Write(to, second);
  cl_event written = nullptr;
  SUCCEEDS(clEnqueueWriteBuffer(session.queue, to, CL_FALSE, 0, kBytes, first.data(), 0, nullptr, &written));
  AwaitEnd(written);
  SUCCEEDS(clReleaseEvent(written));
  session.Either("write that does not block", to, second, first);
  SUCCEEDS(clReleaseMemObject(from));
  SUCCEEDS(clReleaseMemObject(to));
}

constexpr const char* kSource =
    "kernel void add(global const uint* a, global const uint* b, global uint* sum) {\n"
    "  const size_t i = get_global_id(0);\n"
    "  sum[i] = a[i] + b[i];\n"
    "}\n";

cl_kernel Build(const Session& session, cl_program* program) {
  cl_int status = 0;
  const char* source = kSource;
  *program = clCreateProgramWithSource(session.context, 1, &source, nullptr, &status);
  SUCCEEDS(status);
  SUCCEEDS(clBuildProgram(*program, 1, &session.device, "", nullptr, nullptr));
  cl_kernel kernel = clCreateKernel(*program, "add", &status);
  SUCCEEDS(status);
  return kernel;
}

void TestKernel(const Session& session, cl_kernel kernel) {
  const Words a = Pattern(6), b = Pattern(7), old = Pattern(8);
  Words sums(kCount);
  for (size_t i = 0; i < kCount; ++i) sums[i] = a[i] + b[i];
  cl_mem buffers[] = {session.New(&a), session.New(&b), session.New(&old)};
  for (cl_uint i = 0; i < 3; ++i) SUCCEEDS(clSetKernelArg(kernel, i, sizeof buffers[i], &buffers[i]));
  const size_t size = kCount, group = 64;
  cl_event ran = nullptr;
  SUCCEEDS(clEnqueueNDRangeKernel(session.queue, kernel, 1, nullptr, &size, &group, 0, nullptr, &ran));
  SUCCEEDS(clFinish(session.queue));
  AwaitEnd(ran);
  cl_ulong times[4];
  constexpr cl_profiling_info kTimes[] = {CL_PROFILING_COMMAND_QUEUED, CL_PROFILING_COMMAND_SUBMIT,
                                          CL_PROFILING_COMMAND_START, CL_PROFILING_COMMAND_END};
  for (size_t i = 0; i < 4; ++i)
    SUCCEEDS(clGetEventProfilingInfo(ran, kTimes[i], sizeof times[i], &times[i], nullptr));
  for (size_t i = 0; i < 3; ++i) CHECK(times[i] <= times[i + 1]);
  SUCCEEDS(clReleaseEvent(ran));
  session.Either("kernel", buffers[2], old, sums);
  CHECK(session.Read(buffers[0]) == a);
  CHECK(session.Read(buffers[1]) == b);
  for (cl_mem buffer : buffers) SUCCEEDS(clReleaseMemObject(buffer));
}

// Twenty steps in a queue that keeps no order but that of events.
void TestOutOfOrder(const Session& session, cl_kernel kernel) {
  cl_int status = 0;
  const cl_queue_properties properties[] = {CL_QUEUE_PROPERTIES, CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE, 0};
  cl_command_queue queue =
      clCreateCommandQueueWithProperties(session.context, session.device, properties, &status);
  SUCCEEDS(status);
  const Words a = Pattern(9);
  cl_mem buffers[] = {session.New(&a), session.New(&a), session.New(&a)};
  for (cl_uint i = 0; i < 3; ++i) SUCCEEDS(clSetKernelArg(kernel, i, sizeof buffers[i], &buffers[i]));
  cl_event go = clCreateUserEvent(session.context, &status);
  SUCCEEDS(status);
  const size_t size = kCount;
  std::vector<cl_event> steps{go};
  for (int i = 0; i < 20; ++i) {
    cl_event step = nullptr;
    SUCCEEDS(clEnqueueNDRangeKernel(queue, kernel, 1, nullptr, &size, nullptr, 1,
                                    &steps[static_cast<size_t>(i / 2)], &step));
    steps.push_back(step);
  }
  cl_event all = nullptr;
  SUCCEEDS(clEnqueueMarkerWithWaitList(queue, static_cast<cl_uint>(steps.size()), steps.data(), &all));
  SUCCEEDS(clFlush(queue));
  cl_int state = CL_COMPLETE;
  SUCCEEDS(clGetEventInfo(all, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, nullptr));
  CHECK(state != CL_COMPLETE);  // the first one waits for us
  SUCCEEDS(clSetUserEventStatus(go, CL_COMPLETE));
  AwaitEnd(all);
  SUCCEEDS(clFinish(queue));
  for (cl_event step : steps) {
    AwaitEnd(step);
    SUCCEEDS(clReleaseEvent(step));
  }
  SUCCEEDS(clReleaseEvent(all));
  for (cl_mem buffer : buffers) SUCCEEDS(clReleaseMemObject(buffer));
  SUCCEEDS(clReleaseCommandQueue(queue));
}

}  // namespace

int main(int argc, char** argv) {
  long rounds = 1;
  if (argc == 3 && strcmp(argv[1], "--rounds") == 0) {
    rounds = atol(argv[2]);
  } else if (argc != 1) {
    fprintf(stderr, "Usage: stack_opencl [--rounds N]\n");
    return 2;
  }
  const Session session = Open();
  cl_program program = nullptr;
  cl_kernel kernel = Build(session, &program);
  for (long round = 0; round < rounds; ++round) {
    TestTransfers(session);
    TestKernelTransfers(session);
    TestKernel(session, kernel);
    TestOutOfOrder(session, kernel);
  }
  SUCCEEDS(clReleaseKernel(kernel));
  SUCCEEDS(clReleaseProgram(program));
  Close(session);
  printf("all right\n");
  return 0;
}
