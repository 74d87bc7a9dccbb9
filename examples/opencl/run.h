// run.h: the little of OpenCL that these examples need: the first GPU (or the first device), one kernel from
// source, buffers. Errors end the program.
#define CL_TARGET_OPENCL_VERSION 300
#include <CL/cl.h>
#include <stdio.h>
#include <stdlib.h>

static cl_context context;
static cl_command_queue queue;
static cl_program program;

static void check(cl_int status, const char* what) {
  if (status != CL_SUCCESS) fprintf(stderr, "%s: error %d\n", what, status), exit(1);
}

static void open_device(const char* source) {
  cl_platform_id platforms[8];
  cl_device_id device = NULL, found;
  cl_uint count = 0;
  cl_int status;
  check(clGetPlatformIDs(8, platforms, &count), "clGetPlatformIDs");
  for (int gpu = 1; gpu >= 0; --gpu)
    for (cl_uint i = 0; i < count && !device; ++i)
      if (clGetDeviceIDs(platforms[i], gpu ? CL_DEVICE_TYPE_GPU : CL_DEVICE_TYPE_ALL, 1, &found, NULL) ==
          CL_SUCCESS)
        device = found;
  if (!device) fprintf(stderr, "there is no OpenCL device\n"), exit(1);
  context = clCreateContext(NULL, 1, &device, NULL, NULL, &status);
  check(status, "clCreateContext");
  queue = clCreateCommandQueueWithProperties(context, device, NULL, &status);
  check(status, "clCreateCommandQueueWithProperties");
  program = clCreateProgramWithSource(context, 1, &source, NULL, &status);
  check(status, "clCreateProgramWithSource");
  check(clBuildProgram(program, 1, &device, "", NULL, NULL), "clBuildProgram");
}

static cl_kernel get_kernel(const char* name) {
  cl_int status;
  cl_kernel kernel = clCreateKernel(program, name, &status);
  check(status, name);
  return kernel;
}

// A buffer, with that content unless it is NULL.
static cl_mem new_buffer(size_t bytes, void* content) {
  cl_int status;
  cl_mem buffer = clCreateBuffer(context, CL_MEM_READ_WRITE | (content ? CL_MEM_COPY_HOST_PTR : 0), bytes,
                                 content, &status);
  check(status, "clCreateBuffer");
  return buffer;
}

static void read_buffer(cl_mem buffer, void* to, size_t bytes) {
  check(clEnqueueReadBuffer(queue, buffer, CL_TRUE, 0, bytes, to, 0, NULL, NULL), "clEnqueueReadBuffer");
}

static void set_buffer(cl_kernel kernel, cl_uint index, cl_mem buffer) {
  check(clSetKernelArg(kernel, index, sizeof buffer, &buffer), "clSetKernelArg");
}

static void set_int(cl_kernel kernel, cl_uint index, cl_int value) {
  check(clSetKernelArg(kernel, index, sizeof value, &value), "clSetKernelArg");
}

static void run(cl_kernel kernel, size_t width, size_t height, size_t group_width, size_t group_height) {
  const size_t global[] = {width, height}, group[] = {group_width, group_height};
  check(clEnqueueNDRangeKernel(queue, kernel, 2, NULL, global, group, 0, NULL, NULL),
        "clEnqueueNDRangeKernel");
}
