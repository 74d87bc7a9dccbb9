// What Mesa's replay of Adreno command streams does on WSL (src/freedreno/decode/replay.c with
// FD_REPLAY_WSL): its calls in their order and with the only results that it takes, with its private data
// byte for byte. It has one allocation of 1 GiB, puts the buffers of a capture into it at the addresses that
// they had, and submits a list of streams. The last one is its own: it writes a word for which the program
// looks again and again.
//
// The capture here has two streams. The second one goes on when it sees what the first one wrote.
//
// The program has passed when it ends with status 0.
#include <fcntl.h>
#include <unistd.h>

#include <bit>
#include <cstddef>
#include <vector>

#include "tests/clients/node_calls.h"

namespace {

constexpr uint32_t kAllocated = 1024 * 1024 * 1024;
constexpr uint32_t kPage = 4096;
constexpr uint32_t kFenceWord = 0xABABFCFC;
constexpr unsigned kLooksMax = 60'000;  // a millisecond from one to the next
constexpr unsigned kSecondsMax = 100;   // for the whole program

struct AllocationData {
  uint32_t struct_size;
  uint32_t pad0;
  uint32_t unknown0;
  uint32_t pad1;
  uint64_t size;
  uint32_t alignment;
  uint8_t pad2[20];
  uint64_t allocated_size;
  uint32_t unknown1;
  uint8_t pad4[8];
  uint32_t unknown2;
  uint8_t pad5[76];
  uint32_t unknown3;
  uint8_t pad6[8];
  uint32_t unknown4;
  uint8_t pad7[44];
  uint32_t unknown5;
  uint8_t pad8[16];
  uint32_t size_2;
  uint32_t unknown6;
  uint32_t size_3;
  uint32_t size_4;
  uint32_t unknown7;
  uint8_t pad9[56];
};
static_assert(sizeof(AllocationData) == 304 && offsetof(AllocationData, allocated_size) == 48);

struct __attribute__((packed)) StreamOfSubmission {
  uint32_t pad5;
  uint32_t words;
  uint64_t address;
  uint8_t pad6[8];
};

struct __attribute__((packed)) SubmissionData {
  uint32_t magic0;
  uint32_t pad0;
  uint32_t struct_size;
  uint32_t pad1;
  uint32_t datas_count;
  uint8_t pad2[32];
  uint32_t magic1;
  uint32_t data_size;
  uint32_t unknown1;
  uint32_t command_buffer_size;
  uint8_t pad3[32];
  uint32_t streams_count;
  uint8_t pad4[36];
};
static_assert(sizeof(SubmissionData) == 0x8C && offsetof(SubmissionData, magic1) == 0x34 &&
              offsetof(SubmissionData, streams_count) == 0x64);

struct Memory {
  uint64_t address;  // of the GPU
  char* bytes;

  uint32_t* Word(uint64_t at) const {
    // Safety: the replay looks at its memory as words, at multiples of 4.
    return reinterpret_cast<uint32_t*>(bytes + (at - address));
  }
};

struct Stream {
  uint64_t address;
  uint32_t words;
};

constexpr uint32_t Parity(uint32_t value) { return std::popcount(value) % 2 == 0 ? 1 : 0; }
constexpr uint32_t Type7(uint32_t opcode, uint32_t count) {
  return 0x70000000 | count | Parity(count) << 15 | opcode << 16 | Parity(opcode) << 23;
}
constexpr uint32_t Type4(uint32_t first, uint32_t count) {
  return 0x40000000 | count | Parity(count) << 7 | first << 8 | Parity(first) << 27;
}

int node;

d3dkmthandle CreateDevice() {
  d3dkmt_adapterinfo adapters[1] = {};
  d3dkmt_enumadapters3 list{};
  list.adapter_count = 1;
  list.adapters = PointerTo(adapters);
  CALL(node, LX_DXENUMADAPTERS3, &list);
  ExpectEqual("the number of adapters", list.adapter_count, 1);
  d3dkmt_openadapterfromluid opening{};
  opening.adapter_luid = adapters[0].adapter_luid;
  CALL(node, LX_DXOPENADAPTERFROMLUID, &opening);
  d3dkmt_createdevice creation{};
  creation.adapter = opening.adapter_handle;
  CALL(node, LX_DXCREATEDEVICE, &creation);
  return creation.device;
}

d3dkmthandle CreateContext(d3dkmthandle device) {
  unsigned char data[64] = {0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x02, 0x00,
                            0x00, 0x00, 0x00, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                            0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x1C, 0x0C};
  d3dkmt_createcontextvirtual context{};
  context.device = device;
  context.engine_affinity = 1;
  context.priv_drv_data = PointerTo(data);
  context.priv_drv_data_size = sizeof data;
  context.client_hint = 16;
  CALL(node, LX_DXCREATECONTEXTVIRTUAL, &context);
  return context.context;
}

Memory Allocate(d3dkmthandle device) {
  d3dkmt_createpagingqueue paging{};
  paging.device = device;
  paging.priority = _D3DDDI_PAGINGQUEUE_PRIORITY_NORMAL;
  CALL(node, LX_DXCREATEPAGINGQUEUE, &paging);

  AllocationData data{};
  data.struct_size = sizeof data;
  data.unknown0 = 1;
  data.size = kAllocated;
  data.alignment = kPage;
  data.unknown1 = 1;
  data.unknown2 = 61;
  data.unknown3 = 1;
  data.unknown4 = 1;
  data.unknown5 = 3;
  data.size_2 = kAllocated;
  data.unknown6 = 1;
  data.size_3 = kAllocated;
  data.size_4 = kAllocated;
  data.unknown7 = 1;
  d3dddi_allocationinfo2 info{};
  info.priv_drv_data = PointerTo(&data);
  info.priv_drv_data_size = sizeof data;
  d3dkmt_createallocation creation{};
  creation.device = device;
  creation.alloc_count = 1;
  creation.allocation_info = PointerTo(&info);
  CALL(node, LX_DXCREATEALLOCATION, &creation);
  ExpectEqual("allocated_size", data.allocated_size, kAllocated);

  d3dddi_mapgpuvirtualaddress map{};
  map.paging_queue = paging.paging_queue;
  map.maximum_address = 18446744073709551615ull;
  map.allocation = info.allocation;
  map.size_in_pages = kAllocated / kPage;
  map.protection.write = 1;
  map.protection.execute = 1;
  CALL_EXPECTING(node, LX_DXMAPGPUVIRTUALADDRESS, &map, DXG_STATUS_PENDING);
  uint32_t priority = 0;
  d3dddi_makeresident resident{};
  resident.paging_queue = paging.paging_queue;
  resident.alloc_count = 1;
  resident.allocation_list = PointerTo(&info.allocation);
  resident.priority_list = PointerTo(&priority);
  CALL_EXPECTING(node, LX_DXMAKERESIDENT, &resident, DXG_STATUS_PENDING);
  d3dkmt_lock2 lock{};
  lock.device = device;
  lock.allocation = info.allocation;
  CALL(node, LX_DXLOCK2, &lock);
  std::printf("Allocated iova at 0x%lx\n", static_cast<unsigned long>(map.virtual_address));
  // Safety: where the call says that the memory is.
  return {map.virtual_address, reinterpret_cast<char*>(lock.data)};
}

Stream Upload(const Memory& memory, uint64_t at, const std::vector<uint32_t>& words) {
  std::memcpy(memory.Word(at), words.data(), words.size() * sizeof words[0]);
  return {at, static_cast<uint32_t>(words.size())};
}

// The streams, and behind them that of the fence, in the last page. It is that which is waited for.
void SubmitAndWait(d3dkmthandle context, const Memory& memory, std::vector<Stream> streams) {
  const uint64_t fence = memory.address + kAllocated - kPage;
  volatile uint32_t* const fence_word = memory.Word(fence);
  *fence_word = 0;
  streams.push_back(
      Upload(memory, fence + 8,
             {Type7(0x3D, 3), static_cast<uint32_t>(fence), static_cast<uint32_t>(fence >> 32), kFenceWord}));

  const auto lists_bytes = static_cast<uint32_t>(streams.size() * sizeof(StreamOfSubmission));
  std::vector<uint8_t> bytes(sizeof(SubmissionData) + lists_bytes);
  SubmissionData data{};
  data.magic0 = 0xCCAABBEE;
  data.struct_size = static_cast<uint32_t>(bytes.size());
  data.datas_count = 1;
  data.magic1 = 0xFADCAB02;
  data.unknown1 = 0xCCCC0001;
  data.command_buffer_size = sizeof data - offsetof(SubmissionData, unknown1) + lists_bytes;
  data.data_size = sizeof data - offsetof(SubmissionData, magic1) + lists_bytes;
  data.streams_count = static_cast<uint32_t>(streams.size());
  std::memcpy(bytes.data(), &data, sizeof data);
  for (size_t i = 0; i < streams.size(); ++i) {
    const StreamOfSubmission entry = {0, streams[i].words, streams[i].address, {}};
    std::memcpy(bytes.data() + sizeof data + i * sizeof entry, &entry, sizeof entry);
  }
  d3dkmt_submitcommand submit{};
  submit.command_buffer = streams[0].address;
  submit.command_length = streams[0].words * uint32_t{sizeof(uint32_t)};
  submit.broadcast_context_count = 1;
  submit.broadcast_context[0] = context;
  submit.priv_drv_data_size = static_cast<uint32_t>(bytes.size());
  submit.priv_drv_data = PointerTo(bytes.data());
  CALL(node, LX_DXSUBMITCOMMAND, &submit);
  // As the program looks: it has no event for the word.
  for (unsigned look = 0; look < kLooksMax && *fence_word == 0; ++look) usleep(1000);
  ExpectEqual("the fence's word", *fence_word, kFenceWord);
}

}  // namespace

int main() {
  alarm(kSecondsMax);
  node = open("/dev/dxg", O_RDWR | O_CLOEXEC);
  if (node < 0) return std::perror("/dev/dxg"), 1;
  const d3dkmthandle device = CreateDevice();
  const d3dkmthandle context = CreateContext(device);
  const Memory memory = Allocate(device);

  const uint64_t results = memory.address + kAllocated / 2;  // far from the streams
  const auto low = static_cast<uint32_t>(results), high = static_cast<uint32_t>(results >> 32);
  std::vector<Stream> streams;
  streams.push_back(Upload(memory, memory.address,
                           {Type4(0x0883, 1), 0x11111111,       // a scratch register
                            Type7(0x26, 0),                     // CP_WAIT_FOR_IDLE
                            Type7(0x3E, 3), 0x0883, low, high,  // CP_REG_TO_MEM
                            Type7(0x12, 0)}));                  // CP_WAIT_MEM_WRITES
  streams.push_back(Upload(memory, memory.address + kPage,
                           {Type7(0x3C, 6), 3 | 1 << 4, low, high, 0x11111111, ~0u, 16,  // CP_WAIT_REG_MEM
                            Type7(0x73, 5), 0, low + 4, high, low, high}));              // CP_MEM_TO_MEM
  SubmitAndWait(context, memory, streams);
  ExpectEqual("the first stream's word", *memory.Word(results), 0x11111111);
  ExpectEqual("the second stream's word", *memory.Word(results + 4), 0x11111111);
  close(node);
  return 0;
}
