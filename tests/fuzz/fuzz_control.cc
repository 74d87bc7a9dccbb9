// Random bytes as a packet to the control socket: always one reply that can be read, and a host that still
// answers.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "cuse-dxg/control/server.h"
#include "hostsim/backend/in_process.h"
#include "tests/fuzz/fuzz_check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto backend = *dxg::hostsim::CreateInProcessBackend({});
  dxg::HostControl& host = *backend->control();
  std::vector<std::byte> packet(size);  // ends where the bytes end, so that reading on is seen
  if (size != 0) std::memcpy(packet.data(), data, size);
  const std::string bytes = dxg::control::Answer(packet, host);
  dxg::ControlReply reply;
  FUZZ_CHECK(bytes.size() <= dxg::control::kReplyBytesMax);
  FUZZ_CHECK(reply.ParseFromString(bytes));
  dxg::ControlRequest clear;
  clear.mutable_clear_faults();
  host.Serve(clear, &reply);
  dxg::ControlRequest list;
  list.mutable_list_faults();
  reply.Clear();
  host.Serve(list, &reply);
  for (const auto& point : reply.points()) FUZZ_CHECK(point.rules_size() == 0);
  return 0;
}
