// Random frames of a device process to the simulated host's session. Nothing may crash, hang or leak, and the
// session ends with the connection.
//
// Input: 1 byte says how, the rest are frames or packets (fuzz_frames.h).
#include <google/protobuf/stubs/logging.h>
#include <spdlog/spdlog.h>

#include "hostsim/serve/socket_session.h"
#include "tests/fuzz/fuzz_frames.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dxg;
  static const bool quiet =
      (spdlog::set_level(spdlog::level::off), google::protobuf::SetLogHandler(nullptr), true);
  (void)quiet;
  if (size == 0) return 0;
  int ends[2] = {-1, -1};
  FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  const UniqueFd device(ends[0]);
  hostsim::serve::SocketSession session(UniqueFd(ends[1]), "fuzz", {});
  const auto input = std::span(data, size).subspan(1);
  const bool by_rings = (data[0] & fuzz::kByRings) != 0;
  protocol::ToHost hello;
  hello.mutable_hello()->set_version(1);
  if (by_rings) {
    auto rings = socket::Rings::Make();
    FUZZ_CHECK(rings.ok());
    hello.mutable_hello()->add_features(socket::kFeatureRings);
    hello.set_descriptors(socket::Rings::kDescriptors);
    fuzz::Send(device.get(), fuzz::Framed(hello.SerializeAsString()), (*rings)->descriptors());
    fuzz::PutInput(**rings, input);
  } else {
    if ((data[0] & fuzz::kNoGreeting) == 0) fuzz::Send(device.get(), fuzz::Framed(hello.SerializeAsString()));
    fuzz::SendInput(device.get(), data[0], input);
    shutdown(device.get(), SHUT_WR);
  }
  session.Run();
  return 0;
}
