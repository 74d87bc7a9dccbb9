// Random messages of a program's runtime to the simulator channel. Nothing may crash, hang or leak, and the
// session ends with the connection.
//
// Input: the first byte says whether a context with page tables is there, and then there are messages, each
// as its type, a length and bytes of the body.
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>

#include "hostsim/serve/tbx_session.h"
#include "tests/fuzz/fuzz_check.h"

namespace {

void Put(std::string* out, std::initializer_list<uint32_t> words) {
  for (const uint32_t word : words) out->append(reinterpret_cast<const char*>(&word), sizeof word);
}

void PutMemory(std::string* out, uint32_t address, std::initializer_list<uint32_t> words) {
  Put(out, {4, 0, 12, 0, address, static_cast<uint32_t>(words.size() * 4)});
  Put(out, words);
}

// Tables at 0x1000 that show 0x5000 at 0x5000, a ring at 0x6000 with a batch at 0x5000, a context at 0x7000.
std::string Prepared() {
  std::string out;
  for (uint32_t level = 1; level <= 3; ++level)
    PutMemory(&out, level * 0x1000, {(level + 1) * 0x1000 | 3, 0});
  PutMemory(&out, 0x4000 + 5 * 8, {0x5003, 0});
  for (uint32_t page = 6; page <= 8; ++page) Put(&out, {2, 0, 16, 1, page, page * 0x1000 | 1, 0});
  PutMemory(&out, 0x6000, {0x1880'0101, 0x5000, 0, 0});
  PutMemory(&out, 0x8014, {0, 0, 16, 0, 0x6000, 0, 1});
  PutMemory(&out, 0x80C4, {0, 0, 0x1000});
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dxg;
  static const bool quiet = (spdlog::set_level(spdlog::level::off), true);
  (void)quiet;
  if (size < 2) return 0;
  std::string bytes;
  const bool prepared = (data[0] & 1) != 0, submits = (data[0] & 2) != 0;
  if (prepared) bytes = Prepared();
  std::span<const uint8_t> input(data + 1, size - 1);
  if (prepared && submits) {
    const auto batch = static_cast<uint32_t>(std::min<size_t>(input.size(), 0x1000));
    Put(&bytes, {4, 0, 12, 0, 0x5000, batch});
    bytes.append(reinterpret_cast<const char*>(input.data()), batch);
    Put(&bytes, {0, 0, 12, 9, 0x2510, 0x7119, 0, 0, 12, 9, 0x2550, 1});
  } else {
    while (input.size() >= 2) {
      const size_t length = std::min<size_t>(input[1], input.size() - 2);
      Put(&bytes, {input[0] % 16u, 0, static_cast<uint32_t>(std::min<size_t>(length, 16) / 4 * 4)});
      bytes.append(reinterpret_cast<const char*>(input.data() + 2), length);
      input = input.subspan(2 + length);
    }
  }
  int ends[2] = {-1, -1};
  FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  const UniqueFd program(ends[0]);
  hostsim::serve::TbxOptions options;
  options.gpu = {.clock_hz = 1'000'000, .execution = {.executes = true, .instructions_max = 4096}};
  options.room = std::make_shared<hostsim::serve::TbxRoom>(1u << 20);
  hostsim::serve::TbxSession session(UniqueFd(ends[1]), "fuzz", options);
  // All of it has room in the socket, and nobody reads the answers: a long one waits until the program is
  // gone.
  FUZZ_CHECK(send(program.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
             static_cast<ssize_t>(bytes.size()));
  shutdown(program.get(), SHUT_RDWR);
  session.Run();
  return 0;
}
