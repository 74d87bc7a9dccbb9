#include "tests/bench/streamer_bench.h"

#include <fcntl.h>

#include <bit>
#include <cstring>
#include <vector>

#include "tests/bench/client.h"
#include "tests/bench/plain_copy.h"

namespace dxg::bench {
namespace {

using Words = std::vector<uint32_t>;

constexpr uint64_t kBatchBytes = 1u << 20;
constexpr uint64_t kWrittenBytes = 64 * 1024;  // of the memory that small commands write
constexpr uint64_t kCopiedAtOnce = 2u << 20;   // what a packet of all formats can copy

void Add(Words* words, std::initializer_list<uint32_t> more) { words->insert(words->end(), more); }
uint32_t Low(uint64_t address) { return static_cast<uint32_t>(address); }
uint32_t High(uint64_t address) { return static_cast<uint32_t>(address >> 32); }

// -- Formats: the least command that writes a word, and one that copies.

struct Format {
  const char* name;
  const char* profile;
  uint32_t node;
  void (*write)(Words* words, uint64_t to, uint32_t value);
  void (*copy)(Words* words, uint64_t to, uint64_t from, uint32_t bytes);
  uint32_t end = 0;  // a command without which a buffer has no end
};

void WritePm4(Words* words, uint64_t to, uint32_t value) {
  Add(words, {0xC0033700, 0x500, Low(to), High(to), value});  // WRITE_DATA
}
void CopyPm4(Words* words, uint64_t to, uint64_t from, uint32_t bytes) {
  Add(words, {0xC0055000, 0x60300000, Low(from), High(from), Low(to), High(to), bytes});  // DMA_DATA
}
void WriteSdma(Words* words, uint64_t to, uint32_t value) {
  Add(words, {5, Low(to), High(to), value});  // FENCE
}
void CopySdma(Words* words, uint64_t to, uint64_t from, uint32_t bytes) {
  Add(words, {1, bytes - 1, 0, Low(from), High(from), Low(to), High(to)});
}
constexpr uint32_t Type7(uint32_t opcode, uint32_t count) {
  auto parity = [](uint32_t value) { return std::popcount(value) % 2 == 0 ? 1u : 0u; };
  return 0x70000000 | count | parity(count) << 15 | opcode << 16 | parity(opcode) << 23;
}
void WriteAdreno(Words* words, uint64_t to, uint32_t value) {
  Add(words, {Type7(0x3D, 3), Low(to), High(to), value});  // CP_MEM_WRITE
}
void CopyAdreno(Words* words, uint64_t to, uint64_t from, uint32_t bytes) {
  Add(words, {Type7(0x75, 5), bytes / 4, Low(from), High(from), Low(to), High(to)});  // CP_MEMCPY
}
void WriteIntel(Words* words, uint64_t to, uint32_t value) {
  Add(words, {0x10000002, Low(to), High(to), value});  // MI_STORE_DATA_IMM
}
void CopyIntel(Words* words, uint64_t to, uint64_t from, uint32_t bytes) {
  constexpr uint32_t kStride = 32 * 1024;
  const uint32_t corner = bytes / kStride << 16 | kStride;  // one byte a pixel
  Add(words,
      {0x5040000A, kStride - 1, 0, corner, Low(to), High(to), 0, 0, kStride - 1, Low(from), High(from), 0});
}

constexpr Format kFormats[] = {
    {"AMD PM4", "amd-navi", 1, WritePm4, CopyPm4},
    {"AMD SDMA", "amd-navi", 2, WriteSdma, CopySdma},
    {"Adreno", "adreno-x1", 0, WriteAdreno, CopyAdreno},
    {"Intel", "intel-tgl", 0, WriteIntel, CopyIntel, 0x05000000},
};

// -- What is measured.

struct Buffer {
  char* memory;
  uint64_t address;
};

Buffer NewBuffer(Client& client, uint64_t bytes) {
  const auto allocation = client.Create(bytes);
  client.MakeResident(allocation);
  Buffer buffer = {client.Lock(allocation), client.Map(allocation, bytes / kPageBytes)};
  std::memset(buffer.memory, 1, bytes);
  return buffer;
}

// A buffer of commands that is submitted again and again.
class Batch {
 public:
  Batch(Client& client, const Format& format, Words words)
      : client_(client),
        buffer_(NewBuffer(client, kBatchBytes)),
        context_(client.CreateContext(format.node)),
        fence_(client.CreateFence()) {
    if (format.end != 0) Add(&words, {format.end});
    bytes_ = static_cast<uint32_t>(words.size() * sizeof words[0]);
    std::memcpy(buffer_.memory, words.data(), bytes_);
  }

  // From the submission to the end of the wait.
  double Ns() {
    const uint64_t start = NowNs();
    client_.Submit(context_, buffer_.address, bytes_);
    client_.SignalFromGpu(context_, fence_, ++value_);
    client_.Wait(fence_, value_);
    return static_cast<double>(NowNs() - start);
  }

 private:
  Client& client_;
  const Buffer buffer_;
  const d3dkmthandle context_;
  const Client::Fence fence_;
  uint32_t bytes_ = 0;
  uint64_t value_ = 0;
};

void CompareSmallCommands(Run& run, Client& client, const Format& format) {
  const Buffer target = NewBuffer(client, kWrittenBytes);
  Words words;
  uint32_t value = 0;
  while (words.size() * sizeof words[0] + 64 < kBatchBytes) {
    format.write(&words, target.address + value * sizeof value % kWrittenBytes, value);
    ++value;
  }
  const auto count = static_cast<double>(words.size());
  Batch batch(client, format, std::move(words));
  run.Settle(
      {{fmt::format("{}, 1 MiB of small commands", format.name), Limit::kAtLeast, 50, "million words/s"}},
      [&] { return std::vector<double>{count * 1e3 / batch.Ns()}; });
  uint32_t last = 0;
  std::memcpy(&last, target.memory + (value - 1) * sizeof value % kWrittenBytes, sizeof last);
  if (last != value - 1)
    Fail(fmt::format("{}: the last word is {}, expected {}", format.name, last, value - 1));
}

void CompareCopies(Run& run, Client& client, const Format& format, uint64_t bytes) {
  const Buffer source = NewBuffer(client, bytes), target = NewBuffer(client, bytes);
  std::memset(source.memory, 2, bytes);
  Words words;
  for (uint64_t at = 0; at < bytes; at += kCopiedAtOnce)
    format.copy(&words, target.address + at, source.address + at, kCopiedAtOnce);
  Batch batch(client, format, std::move(words));
  const PlainCopy plain(bytes);
  run.Settle({{fmt::format("{}, copies of 2 MiB, {} MiB, speed / memcpy", format.name, bytes >> 20),
               Limit::kAtLeast, 0.85}},
             [&] { return std::vector<double>{plain.Ns() / batch.Ns()}; });
  if (target.memory[bytes - 1] != 2) Fail(fmt::format("{}: the copy did not arrive", format.name));
}

}  // namespace

void CompareStreamers(Run& run) {
  for (const Format& format : kFormats) {
    const Server node = Server::Daemon({"--profile", format.profile});
    Client client(node.fd());
    client.CreateQueue();
    CompareSmallCommands(run, client, format);
    CompareCopies(run, client, format, (run.smoke() ? 8ull : 128ull) << 20);
  }
}

}  // namespace dxg::bench
