// What the OpenCL programs here share: a session, buffers, random numbers, and checks that end the program.
// They ask for nothing that a vendor's runtime would not do by itself, and know nothing of cuse-dxg.
//
// OpenCL compiles the kernels. Who runs them is the library that a program is linked with: OpenCL
// (opencl_run.cc), or Level Zero, which is given their binaries (level_zero_run.cc).
#pragma once

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 300
#endif
#include <CL/cl.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace stacks {

#define CHECK(condition) stacks::Check((condition), #condition, __FILE__, __LINE__)
#define SUCCEEDS(call) stacks::Succeeds((call), #call, __FILE__, __LINE__)

void Check(bool holds, const char* what, const char* file, int line);
void Succeeds(cl_int status, const char* what, const char* file, int line);
// What the checks that follow are about; an error names it.
void Doing(const std::string& what);
// A number (FNV-1a, 64 bits) of all bytes that were read from arrays since the last call.
void CountRead(const void* bytes, size_t count);
uint64_t TakeDigest();

// The same numbers on each machine: a linear congruential generator.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u + 1) {}
  uint32_t Next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 32);
  }
  uint32_t Below(uint32_t limit) { return static_cast<uint32_t>(uint64_t{Next()} * limit >> 32); }
  float Unit() { return static_cast<float>(Next() >> 8) * 0x1p-24f; }  // in [0, 1)

 private:
  uint64_t state_;
};

// How a kernel is started: `items` work items in groups of `group`. Where the last group would be smaller, it
// either is (`exact`), or there are work items beyond the last one, which do nothing.
struct Shape {
  size_t items = 1;
  size_t group = 1;
  bool exact = false;

  size_t global() const { return exact ? items : (items + group - 1) / group * group; }
  size_t groups() const { return (items + group - 1) / group; }
};

struct Session {
  cl_device_id device = nullptr;
  cl_context context = nullptr;
  cl_command_queue queue = nullptr;  // in order, with profiling

  // Of the first GPU, or of the first device where there is none.
  static Session Open();
  void Close() const;
  bool Has(const char* name) const;  // an extension, or a feature of OpenCL C
  bool exact_shapes() const;         // groups may be of different sizes
};

// Memory that kernels reach, by who runs them.
void* NewMemory(const Session& session, const void* content, size_t bytes);
void ReadMemory(const Session& session, void* memory, void* to, size_t bytes);
void FreeMemory(void* memory);

// An array on the device.
template <class T>
class Array {
 public:
  Array(const Session& session, const std::vector<T>& content)
      : session_(session),
        count_(content.size()),
        memory_(NewMemory(session, content.data(), count_ * sizeof(T))) {}
  ~Array() { FreeMemory(memory_); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  std::vector<T> Read() const {
    std::vector<T> content(count_);
    ReadMemory(session_, memory_, content.data(), count_ * sizeof(T));
    CountRead(content.data(), count_ * sizeof(T));
    return content;
  }
  void* memory() const { return memory_; }

 private:
  const Session& session_;
  const size_t count_;
  void* const memory_;
};

// A kernel of a program of its own.
class Kernel {
 public:
  Kernel(const Session& session, const char* name, const char* source, const char* options = "");
  ~Kernel();
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  template <class... Arguments>
  void Set(const Arguments&... arguments) {
    cl_uint index = 0;
    (SetOne(index++, arguments), ...);
  }
  // Elements of local memory, as an argument.
  struct Local {
    size_t bytes;
  };
  void Run(const Shape& shape) const;
  // In several dimensions; without `group` the runtime chooses.
  void Run(cl_uint dimensions, const size_t* offset, const size_t* global, const size_t* group) const;
  // The largest group that the device takes for it.
  size_t LargestGroup() const;

  const cl_kernel& kernel() const { return kernel_; }

 private:
  template <class T>
  void SetOne(cl_uint index, const Array<T>& array) {
    SetMemory(index, array.memory());
  }
  void SetOne(cl_uint index, const Local& local) { SetBytes(index, nullptr, local.bytes); }
  template <class T>
  void SetOne(cl_uint index, const T& value) {
    SetBytes(index, &value, sizeof value);
  }
  void Load();
  void Unload();
  void SetMemory(cl_uint index, void* memory);
  void SetBytes(cl_uint index, const void* bytes, size_t count);

  const Session& session_;
  cl_program program_ = nullptr;
  cl_kernel kernel_ = nullptr;
  const char* const name_;
  void *module_ = nullptr, *loaded_ = nullptr;  // of Level Zero
};

// One of the kernels that the proof runs: `build` once, then `run` with each shape.
struct Proof {
  const char* name;
  const char* kernel;
  const char* source;
  const char* options;
  void (*run)(const Session& session, Kernel& kernel, const Shape& shape);
  const char* needs = nullptr;  // of Session::Has, where not every device has it
};

std::vector<Proof> ArithmeticProofs();
std::vector<Proof> GroupProofs();
std::vector<Proof> FlowProofs();

}  // namespace stacks
