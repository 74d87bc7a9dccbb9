#include "tests/stacks/opencl_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utility>

namespace stacks {
namespace {

constexpr uint64_t kDigestStart = 0xcbf29ce484222325;

std::string g_doing;
uint64_t g_digest = kDigestStart;

cl_device_id FindDevice(cl_device_type type) {
  cl_platform_id platforms[8];
  cl_uint count = 0;
  SUCCEEDS(clGetPlatformIDs(8, platforms, &count));
  for (cl_uint i = 0; i < count && i < 8; ++i) {
    cl_device_id device = nullptr;
    cl_uint devices = 0;
    if (clGetDeviceIDs(platforms[i], type, 1, &device, &devices) == CL_SUCCESS && devices != 0) return device;
  }
  return nullptr;
}

}  // namespace

void Check(bool holds, const char* what, const char* file, int line) {
  if (holds) return;
  fprintf(stderr, "%s:%d: %s: not so: %s\n", file, line, g_doing.c_str(), what);
  exit(1);
}

void Succeeds(cl_int status, const char* what, const char* file, int line) {
  if (status == CL_SUCCESS) return;
  fprintf(stderr, "%s:%d: %s: %s is %d\n", file, line, g_doing.c_str(), what, status);
  exit(1);
}

void Doing(const std::string& what) { g_doing = what; }

void CountRead(const void* bytes, size_t count) {
  const auto* each = static_cast<const unsigned char*>(bytes);
  for (size_t i = 0; i < count; ++i) g_digest = (g_digest ^ each[i]) * 0x100000001b3;
}

uint64_t TakeDigest() { return std::exchange(g_digest, kDigestStart); }

Session Session::Open() {
  Session session;
  session.device = FindDevice(CL_DEVICE_TYPE_GPU);
  if (!session.device) session.device = FindDevice(CL_DEVICE_TYPE_ALL);
  CHECK(session.device != nullptr);
  cl_int status = 0;
  session.context = clCreateContext(nullptr, 1, &session.device, nullptr, nullptr, &status);
  SUCCEEDS(status);
  const cl_queue_properties profiling[] = {CL_QUEUE_PROPERTIES, CL_QUEUE_PROFILING_ENABLE, 0};
  session.queue = clCreateCommandQueueWithProperties(session.context, session.device, profiling, &status);
  SUCCEEDS(status);
  return session;
}

void Session::Close() const {
  SUCCEEDS(clReleaseCommandQueue(queue));
  SUCCEEDS(clReleaseContext(context));
}

bool Session::Has(const char* name) const {
  size_t bytes = 0;
  SUCCEEDS(clGetDeviceInfo(device, CL_DEVICE_EXTENSIONS, 0, nullptr, &bytes));
  std::string all(bytes, '\0');
  SUCCEEDS(clGetDeviceInfo(device, CL_DEVICE_EXTENSIONS, bytes, all.data(), nullptr));
  if ((" " + all).find(std::string(" ") + name) != std::string::npos) return true;
  SUCCEEDS(clGetDeviceInfo(device, CL_DEVICE_OPENCL_C_FEATURES, 0, nullptr, &bytes));
  std::vector<cl_name_version> features(bytes / sizeof(cl_name_version));
  SUCCEEDS(clGetDeviceInfo(device, CL_DEVICE_OPENCL_C_FEATURES, bytes, features.data(), nullptr));
  for (const cl_name_version& feature : features)
    if (strcmp(feature.name, name) == 0) return true;
  return false;
}

Kernel::Kernel(const Session& session, const char* name, const char* source, const char* options)
    : session_(session), name_(name) {
  cl_int status = 0;
  program_ = clCreateProgramWithSource(session.context, 1, &source, nullptr, &status);
  SUCCEEDS(status);
  // Only programs of OpenCL C 2.0 and later may have groups of different sizes.
  std::string all_options = options;
  if (session.exact_shapes() && all_options.find("-cl-std") == std::string::npos)
    all_options += " -cl-std=CL2.0";
  status = clBuildProgram(program_, 1, &session.device, all_options.c_str(), nullptr, nullptr);
  if (status != CL_SUCCESS) {
    std::vector<char> log(1 << 16);
    SUCCEEDS(clGetProgramBuildInfo(program_, session.device, CL_PROGRAM_BUILD_LOG, log.size(), log.data(),
                                   nullptr));
    fprintf(stderr, "%s: %s\n", name, log.data());
  }
  SUCCEEDS(status);
  kernel_ = clCreateKernel(program_, name, &status);
  SUCCEEDS(status);
  Load();
}

Kernel::~Kernel() {
  Unload();
  SUCCEEDS(clReleaseKernel(kernel_));
  SUCCEEDS(clReleaseProgram(program_));
}

void Kernel::Run(const Shape& shape) const {
  const size_t global = shape.global(), group = shape.group;
  Run(1, nullptr, &global, &group);
}

size_t Kernel::LargestGroup() const {
  size_t largest = 0;
  SUCCEEDS(clGetKernelWorkGroupInfo(kernel_, session_.device, CL_KERNEL_WORK_GROUP_SIZE, sizeof largest,
                                    &largest, nullptr));
  return largest;
}

}  // namespace stacks
