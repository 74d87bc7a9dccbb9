// Random packets of a guest to the simulated host behind a link. Nothing may crash, hang or leak, and the
// session ends with the connection.
//
// Input: 1 byte says how: bit 0 without contact and open channels first, bit 1 a descriptor with each control
// message. Then packets: 2 bytes of length, 1 of the channel, 1 of the packet's type, the payload.
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "hostsim/serve/vmbus_session.h"
#include "link/simulated_bus/protocol.h"
#include "tests/fuzz/fuzz_check.h"

namespace {

using namespace dxg;
namespace link = vmbus::link;

constexpr uint8_t kNoGreeting = 1, kWithDescriptor = 2;

void Greet(link::Socket& host) {
  FUZZ_CHECK(host.Tell(link::InitiateContact{}) && host.Tell(link::RequestOffers{}));
  for (uint32_t relid : {1u, 2u}) {
    link::Open open;
    open.relid = relid;
    FUZZ_CHECK(host.Tell(open));
  }
}

void SendInput(link::Socket& host, uint8_t how, std::span<const uint8_t> input) {
  UniqueFd file;
  if ((how & kWithDescriptor) != 0) {
    constexpr off_t kFileBytes = 16 * 4096;
    file.reset(memfd_create("fuzz", MFD_CLOEXEC));
    FUZZ_CHECK(file.valid() && ftruncate(file.get(), kFileBytes) == 0);
  }
  while (input.size() >= 4) {
    const size_t bytes = std::min<size_t>(input[0] | input[1] << 8, input.size() - 4);
    const auto type = static_cast<uint16_t>(input[3] == 0 ? uint8_t{vmbus::kInBand} : input[3]);
    const link::LinkHeader header{input[2], type, vmbus::kCompletionRequested, 1};
    const int descriptors[] = {file.get()};
    (void)host.Send(
        header, std::as_bytes(input.subspan(4, bytes)),
        std::span(descriptors).first(file.valid() && header.channel == link::kControlChannel ? 1 : 0));
    input = input.subspan(4 + bytes);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool quiet = (spdlog::set_level(spdlog::level::off), true);
  (void)quiet;
  if (size == 0) return 0;
  int ends[2] = {-1, -1};
  FUZZ_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
  link::Socket host{UniqueFd(ends[0])};
  hostsim::serve::VmbusOptions options;
  options.window_megabytes = 64;
  hostsim::serve::VmbusSession session(UniqueFd(ends[1]), "fuzz", options);
  if ((data[0] & kNoGreeting) == 0) Greet(host);
  SendInput(host, data[0], std::span(data, size).subspan(1));
  shutdown(host.fd(), SHUT_WR);
  session.Run();
  return 0;
}
