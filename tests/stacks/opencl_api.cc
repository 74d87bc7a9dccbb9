// What the API of OpenCL moves and fills, each with many random offsets and sizes, against copies by the CPU.
//
//   dxg-stack-api [--seeds N] [--first SEED] [--without CHECK]...
//
// Exit status: 0 if everything was right.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <memory>
#include <set>
#include <string>

#include "tests/stacks/opencl_kit.h"

namespace stacks {
namespace {

constexpr size_t kBytes = 12'000;
constexpr uint32_t kMost = 5'000;  // bytes, of a transfer

using Bytes = std::vector<uint8_t>;

Bytes RandomBytes(Random& random, size_t count) {
  Bytes bytes(count);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.Next());
  return bytes;
}

struct Range {
  size_t at;
  size_t bytes;
};

Range RandomRange(Random& random, uint32_t unit = 1) {
  const size_t bytes = (1 + random.Below(kMost / unit)) * unit;
  return {random.Below(static_cast<uint32_t>((kBytes - bytes) / unit + 1)) * unit, bytes};
}

// A buffer of the device, and what has to be in it.
class Twin {
 public:
  Twin(const Session& session, Random& random) : session_(session), bytes(RandomBytes(random, kBytes)) {
    cl_int status = 0;
    mem = clCreateBuffer(session.context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, kBytes, bytes.data(),
                         &status);
    SUCCEEDS(status);
  }
  ~Twin() { SUCCEEDS(clReleaseMemObject(mem)); }
  Twin(const Twin&) = delete;
  Twin& operator=(const Twin&) = delete;

  void Compare() const {
    Bytes found(kBytes);
    SUCCEEDS(clEnqueueReadBuffer(session_.queue, mem, CL_TRUE, 0, kBytes, found.data(), 0, nullptr, nullptr));
    CHECK(found == bytes);
  }

 private:
  const Session& session_;

 public:
  Bytes bytes;
  cl_mem mem = nullptr;
};

void Await(cl_event event) {
  SUCCEEDS(clWaitForEvents(1, &event));
  SUCCEEDS(clReleaseEvent(event));
}

void BlockingTransfers(const Session& session, Random& random) {
  Twin twin(session, random);
  const Range to = RandomRange(random), from = RandomRange(random);
  const Bytes content = RandomBytes(random, to.bytes);
  SUCCEEDS(clEnqueueWriteBuffer(session.queue, twin.mem, CL_TRUE, to.at, to.bytes, content.data(), 0, nullptr,
                                nullptr));
  std::copy(content.begin(), content.end(), twin.bytes.begin() + static_cast<ptrdiff_t>(to.at));
  Bytes found(from.bytes);
  SUCCEEDS(clEnqueueReadBuffer(session.queue, twin.mem, CL_TRUE, from.at, from.bytes, found.data(), 0,
                               nullptr, nullptr));
  CHECK(memcmp(found.data(), &twin.bytes[from.at], from.bytes) == 0);
  twin.Compare();
}

void WriteThatDoesNotBlock(const Session& session, Random& random) {
  Twin twin(session, random);
  const Range to = RandomRange(random);
  const Bytes content = RandomBytes(random, to.bytes);
  cl_event written = nullptr;
  SUCCEEDS(clEnqueueWriteBuffer(session.queue, twin.mem, CL_FALSE, to.at, to.bytes, content.data(), 0,
                                nullptr, &written));
  Await(written);
  std::copy(content.begin(), content.end(), twin.bytes.begin() + static_cast<ptrdiff_t>(to.at));
  twin.Compare();
}

void ReadThatDoesNotBlock(const Session& session, Random& random) {
  Twin twin(session, random);
  const Range from = RandomRange(random);
  Bytes found(from.bytes);
  cl_event read = nullptr;
  SUCCEEDS(clEnqueueReadBuffer(session.queue, twin.mem, CL_FALSE, from.at, from.bytes, found.data(), 0,
                               nullptr, &read));
  Await(read);
  CHECK(memcmp(found.data(), &twin.bytes[from.at], from.bytes) == 0);
}

void Copy(const Session& session, Random& random, size_t from, size_t to, size_t bytes) {
  Twin source(session, random), target(session, random);
  cl_event copied = nullptr;
  SUCCEEDS(clEnqueueCopyBuffer(session.queue, source.mem, target.mem, from, to, bytes, 0, nullptr, &copied));
  Await(copied);
  memcpy(&target.bytes[to], &source.bytes[from], bytes);
  target.Compare();
  source.Compare();
}

void CopyAligned(const Session& session, Random& random) {
  const Range range = RandomRange(random, 64);
  Copy(session, random, range.at, (kBytes - range.bytes) / 64 * 64, range.bytes);
}

void CopyMisaligned(const Session& session, Random& random) {
  Copy(session, random, 5, 18, 1 + random.Below(kMost));
}

void CopyAnywhere(const Session& session, Random& random) {
  const Range range = RandomRange(random);
  Copy(session, random, range.at, random.Below(static_cast<uint32_t>(kBytes - range.bytes)), range.bytes);
}

void Fill(const Session& session, Random& random) {
  Twin twin(session, random);
  for (uint32_t pattern_bytes = 1; pattern_bytes <= 128; pattern_bytes *= 2) {
    const Range range = RandomRange(random, pattern_bytes);
    const Bytes pattern = RandomBytes(random, pattern_bytes);
    cl_event filled = nullptr;
    SUCCEEDS(clEnqueueFillBuffer(session.queue, twin.mem, pattern.data(), pattern_bytes, range.at,
                                 range.bytes, 0, nullptr, &filled));
    Await(filled);
    for (size_t i = 0; i < range.bytes; ++i) twin.bytes[range.at + i] = pattern[i % pattern_bytes];
  }
  twin.Compare();
}

// A box of 12000 bytes in rows and slices, twice.
struct Box {
  size_t region[3], origin[3], other_origin[3];
  static constexpr size_t kRow = 100, kSlice = 2'000, kSlices = 6;
};

Box RandomBox(Random& random) {
  Box box;
  const uint32_t limits[] = {Box::kRow, Box::kSlice / Box::kRow, Box::kSlices};
  for (size_t k = 0; k < 3; ++k) {
    box.region[k] = 1 + random.Below(limits[k]);
    box.origin[k] = random.Below(static_cast<uint32_t>(limits[k] - box.region[k] + 1));
    box.other_origin[k] = random.Below(static_cast<uint32_t>(limits[k] - box.region[k] + 1));
  }
  return box;
}

void CopyBox(const Box& box, const uint8_t* from, const size_t* from_origin, uint8_t* to,
             const size_t* to_origin) {
  for (size_t z = 0; z < box.region[2]; ++z)
    for (size_t y = 0; y < box.region[1]; ++y) {
      const auto at = [&](const size_t* origin) {
        return (z + origin[2]) * Box::kSlice + (y + origin[1]) * Box::kRow + origin[0];
      };
      memcpy(to + at(to_origin), from + at(from_origin), box.region[0]);
    }
}

void ReadBox(const Session& session, Random& random) {
  Twin twin(session, random);
  const Box box = RandomBox(random);
  Bytes found = RandomBytes(random, kBytes), wanted = found;
  SUCCEEDS(clEnqueueReadBufferRect(session.queue, twin.mem, CL_TRUE, box.origin, box.other_origin, box.region,
                                   Box::kRow, Box::kSlice, Box::kRow, Box::kSlice, found.data(), 0, nullptr,
                                   nullptr));
  CopyBox(box, twin.bytes.data(), box.origin, wanted.data(), box.other_origin);
  CHECK(found == wanted);
}

void WriteBox(const Session& session, Random& random) {
  Twin twin(session, random);
  const Box box = RandomBox(random);
  const Bytes content = RandomBytes(random, kBytes);
  SUCCEEDS(clEnqueueWriteBufferRect(session.queue, twin.mem, CL_TRUE, box.origin, box.other_origin,
                                    box.region, Box::kRow, Box::kSlice, Box::kRow, Box::kSlice,
                                    content.data(), 0, nullptr, nullptr));
  CopyBox(box, content.data(), box.other_origin, twin.bytes.data(), box.origin);
  twin.Compare();
}

void CopyBoxOnDevice(const Session& session, Random& random) {
  Twin source(session, random), target(session, random);
  const Box box = RandomBox(random);
  SUCCEEDS(clEnqueueCopyBufferRect(session.queue, source.mem, target.mem, box.origin, box.other_origin,
                                   box.region, Box::kRow, Box::kSlice, Box::kRow, Box::kSlice, 0, nullptr,
                                   nullptr));
  SUCCEEDS(clFinish(session.queue));
  CopyBox(box, source.bytes.data(), box.origin, target.bytes.data(), box.other_origin);
  target.Compare();
}

void Map(const Session& session, Random& random) {
  Twin twin(session, random);
  const Range range = RandomRange(random);
  cl_int status = 0;
  void* const mapped = clEnqueueMapBuffer(session.queue, twin.mem, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE,
                                          range.at, range.bytes, 0, nullptr, nullptr, &status);
  SUCCEEDS(status);
  CHECK(memcmp(mapped, &twin.bytes[range.at], range.bytes) == 0);
  const Bytes content = RandomBytes(random, range.bytes);
  memcpy(mapped, content.data(), range.bytes);
  memcpy(&twin.bytes[range.at], content.data(), range.bytes);
  SUCCEEDS(clEnqueueUnmapMemObject(session.queue, twin.mem, mapped, 0, nullptr, nullptr));
  twin.Compare();
}

void SharedMemory(const Session& session, Random& random) {
  const auto make = [&session] {
    auto* const at = static_cast<uint8_t*>(clSVMAlloc(session.context, CL_MEM_READ_WRITE, kBytes, 64));
    CHECK(at != nullptr);
    return at;
  };
  uint8_t *const first = make(), *const second = make();
  const Bytes content = RandomBytes(random, kBytes);
  const Range range = RandomRange(random);
  const size_t to = random.Below(static_cast<uint32_t>(kBytes - range.bytes));
  const uint32_t zero = 0;
  SUCCEEDS(clEnqueueSVMMemcpy(session.queue, CL_TRUE, first, content.data(), kBytes, 0, nullptr, nullptr));
  SUCCEEDS(clEnqueueSVMMemFill(session.queue, second, &zero, sizeof zero, kBytes, 0, nullptr, nullptr));
  SUCCEEDS(clEnqueueSVMMemcpy(session.queue, CL_FALSE, second + to, first + range.at, range.bytes, 0, nullptr,
                              nullptr));
  SUCCEEDS(clFinish(session.queue));
  Bytes wanted(kBytes), found(kBytes);
  memcpy(&wanted[to], &content[range.at], range.bytes);
  SUCCEEDS(clEnqueueSVMMemcpy(session.queue, CL_TRUE, found.data(), second, kBytes, 0, nullptr, nullptr));
  CHECK(found == wanted);
  SUCCEEDS(clEnqueueSVMMap(session.queue, CL_TRUE, CL_MAP_READ, second, kBytes, 0, nullptr, nullptr));
  CHECK(memcmp(second, wanted.data(), kBytes) == 0);
  SUCCEEDS(clEnqueueSVMUnmap(session.queue, second, 0, nullptr, nullptr));
  SUCCEEDS(clFinish(session.queue));
  clSVMFree(session.context, first);
  clSVMFree(session.context, second);
}

void OwnMemory(const Session& session, Random& random) {
  const size_t offset = random.Below(2) * random.Below(4'000);  // aligned to pages, or to nothing
  constexpr size_t kPage = 4096;
  std::unique_ptr<uint8_t, void (*)(void*)> own(static_cast<uint8_t*>(aligned_alloc(kPage, 5 * kPage)), free);
  uint8_t* const at = own.get() + offset;
  Bytes wanted = RandomBytes(random, kBytes);
  memcpy(at, wanted.data(), kBytes);
  cl_int status = 0;
  cl_mem buffer =
      clCreateBuffer(session.context, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR, kBytes, at, &status);
  SUCCEEDS(status);
  const uint32_t color = random.Next();
  const Range range = RandomRange(random, sizeof color);
  SUCCEEDS(clEnqueueFillBuffer(session.queue, buffer, &color, sizeof color, range.at, range.bytes, 0, nullptr,
                               nullptr));
  for (size_t i = 0; i < range.bytes; i += sizeof color) memcpy(&wanted[range.at + i], &color, sizeof color);
  void* const mapped = clEnqueueMapBuffer(session.queue, buffer, CL_TRUE, CL_MAP_READ, 0, kBytes, 0, nullptr,
                                          nullptr, &status);
  SUCCEEDS(status);
  CHECK(mapped == at);
  CHECK(memcmp(at, wanted.data(), kBytes) == 0);
  SUCCEEDS(clEnqueueUnmapMemObject(session.queue, buffer, mapped, 0, nullptr, nullptr));
  SUCCEEDS(clFinish(session.queue));
  SUCCEEDS(clReleaseMemObject(buffer));
}

void PartsOfBuffers(const Session& session, Random& random) {
  Twin twin(session, random);
  cl_uint bits = 0;
  SUCCEEDS(clGetDeviceInfo(session.device, CL_DEVICE_MEM_BASE_ADDR_ALIGN, sizeof bits, &bits, nullptr));
  const size_t unit = bits / 8;
  const cl_buffer_region region = {unit * (1 + random.Below(10)), 2'000};
  cl_int status = 0;
  cl_mem part =
      clCreateSubBuffer(twin.mem, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION, &region, &status);
  SUCCEEDS(status);
  const uint16_t color = static_cast<uint16_t>(random.Next());
  SUCCEEDS(clEnqueueFillBuffer(session.queue, part, &color, sizeof color, 100, 1'500, 0, nullptr, nullptr));
  SUCCEEDS(clFinish(session.queue));
  for (size_t i = 100; i < 1'600; i += sizeof color)
    memcpy(&twin.bytes[region.origin + i], &color, sizeof color);
  SUCCEEDS(clReleaseMemObject(part));
  twin.Compare();
}

void Profiling(const Session& session, Random& random) {
  Twin source(session, random), target(session, random);
  cl_event copied = nullptr;
  SUCCEEDS(clEnqueueCopyBuffer(session.queue, source.mem, target.mem, 0, 0, kBytes, 0, nullptr, &copied));
  SUCCEEDS(clFinish(session.queue));
  cl_ulong times[4];
  constexpr cl_profiling_info kTimes[] = {CL_PROFILING_COMMAND_QUEUED, CL_PROFILING_COMMAND_SUBMIT,
                                          CL_PROFILING_COMMAND_START, CL_PROFILING_COMMAND_END};
  for (size_t i = 0; i < 4; ++i)
    SUCCEEDS(clGetEventProfilingInfo(copied, kTimes[i], sizeof times[i], &times[i], nullptr));
  for (size_t i = 0; i < 3; ++i) CHECK(times[i] <= times[i + 1]);
  CHECK(times[3] - times[2] < 60'000'000'000u);
  SUCCEEDS(clReleaseEvent(copied));
}

// A tree of fills and copies that only its events keep in order.
void OutOfOrder(const Session& session, Random& random) {
  cl_int status = 0;
  const cl_queue_properties properties[] = {CL_QUEUE_PROPERTIES, CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE, 0};
  cl_command_queue queue =
      clCreateCommandQueueWithProperties(session.context, session.device, properties, &status);
  SUCCEEDS(status);
  constexpr size_t kTwins = 6;
  std::vector<std::unique_ptr<Twin>> twins;
  for (size_t i = 0; i < kTwins; ++i) twins.push_back(std::make_unique<Twin>(session, random));
  cl_event go = clCreateUserEvent(session.context, &status);
  SUCCEEDS(status);
  std::vector<cl_event> events{go};
  std::vector<cl_event> last(kTwins, go);  // that touches the buffer
  for (int step = 0; step < 20; ++step) {
    const size_t to = random.Below(kTwins), from = (to + 1 + random.Below(kTwins - 1)) % kTwins;
    const Range range = RandomRange(random, 4);
    cl_event done = nullptr;
    if (random.Below(3) == 0) {
      const uint32_t color = random.Next();
      SUCCEEDS(clEnqueueFillBuffer(queue, twins[to]->mem, &color, sizeof color, range.at, range.bytes, 1,
                                   &last[to], &done));
      for (size_t i = 0; i < range.bytes; i += sizeof color)
        memcpy(&twins[to]->bytes[range.at + i], &color, sizeof color);
    } else {
      const cl_event before[] = {last[to], last[from]};
      SUCCEEDS(clEnqueueCopyBuffer(queue, twins[from]->mem, twins[to]->mem, range.at, range.at, range.bytes,
                                   2, before, &done));
      memcpy(&twins[to]->bytes[range.at], &twins[from]->bytes[range.at], range.bytes);
      last[from] = done;
    }
    last[to] = done;
    events.push_back(done);
  }
  SUCCEEDS(clFlush(queue));
  SUCCEEDS(clSetUserEventStatus(go, CL_COMPLETE));
  SUCCEEDS(clWaitForEvents(static_cast<cl_uint>(events.size()), events.data()));
  SUCCEEDS(clFinish(queue));
  for (const auto& twin : twins) twin->Compare();
  for (cl_event event : events) SUCCEEDS(clReleaseEvent(event));
  SUCCEEDS(clReleaseCommandQueue(queue));
}

struct ApiCheck {
  const char* name;
  void (*run)(const Session& session, Random& random);
};

constexpr ApiCheck kChecks[] = {
    {"blocking transfers", BlockingTransfers},
    {"write that does not block", WriteThatDoesNotBlock},
    {"read that does not block", ReadThatDoesNotBlock},
    {"copy, aligned", CopyAligned},
    {"copy from 5 to 18", CopyMisaligned},
    {"copy", CopyAnywhere},
    {"fill", Fill},
    {"read of a box", ReadBox},
    {"write of a box", WriteBox},
    {"copy of a box", CopyBoxOnDevice},
    {"map and unmap", Map},
    {"shared virtual memory", SharedMemory},
    {"memory of the program's own", OwnMemory},
    {"part of a buffer", PartsOfBuffers},
    {"profiling", Profiling},
    {"out of order", OutOfOrder},
};

}  // namespace
}  // namespace stacks

int main(int argc, char** argv) {
  uint64_t seeds = 1, first = 1;
  std::set<std::string> without;
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 < argc && strcmp(argv[i], "--seeds") == 0) {
      seeds = strtoull(argv[i + 1], nullptr, 10);
    } else if (i + 1 < argc && strcmp(argv[i], "--first") == 0) {
      first = strtoull(argv[i + 1], nullptr, 10);
    } else if (i + 1 < argc && strcmp(argv[i], "--without") == 0) {
      without.insert(argv[i + 1]);
    } else {
      fprintf(stderr, "Usage: dxg-stack-api [--seeds N] [--first SEED] [--without CHECK]...\n");
      return 2;
    }
  }
  const stacks::Session session = stacks::Session::Open();
  for (const stacks::ApiCheck& check : stacks::kChecks) {
    if (without.erase(check.name) != 0) continue;
    for (uint64_t seed = first; seed < first + seeds; ++seed) {
      stacks::Doing(std::string(check.name) + ", seed " + std::to_string(seed));
      stacks::Random random(seed);
      check.run(session, random);
    }
    printf("%s: right\n", check.name);
    fflush(stdout);
  }
  session.Close();
  if (!without.empty()) {
    fprintf(stderr, "There is no check \"%s\"\n", without.begin()->c_str());
    return 2;
  }
  printf("all right\n");
  return 0;
}
