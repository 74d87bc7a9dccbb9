#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/unique_fd.h"
#include "hostsim/serve/guest_session.h"
#include "hostsim/serve/tbx_device.h"
#include "hostsim/serve/tbx_protocol.h"

namespace dxg::hostsim::serve {

struct TbxOptions {
  TbxGpu gpu;
  std::shared_ptr<TbxRoom> room;  // of all connections
};

// One queue of a program whose runtime speaks TBX (tbx_protocol.h), with a GPU of its own: the runtime gives
// physical addresses for each connection anew. What makes no sense, and what the GPU cannot do, ends the
// connection, because the protocol has no answer that says so.
class TbxSession final : public GuestSession {
 public:
  // The socket is of type SOCK_STREAM and waits.
  TbxSession(UniqueFd connection, std::string name, const TbxOptions& options);

  // GuestSession
  void Run() override;
  void End() override;

  // After Run: why it ended.
  const std::string& reason() const { return reason_; }

 private:
  // A refusal is the end of the connection, and says why; ECONNRESET: the program has closed it.
  Status Serve();
  Status Handle(const tbx::Header& header);
  Status HandleRegister(const tbx::Header& header, std::span<const std::byte> body);
  Status HandleGlobalEntry(const tbx::Header& header, std::span<const std::byte> body);
  Status HandleWrite(const tbx::MemoryBody& body);
  Status HandleRead(const tbx::Header& header, const tbx::MemoryBody& body);
  Status Fill();
  Status Receive(std::span<std::byte> to);
  Status Send(std::span<const std::byte> bytes);
  bool Gone() const;

  const UniqueFd connection_;
  const std::string name_;
  std::atomic<bool> ended_{false};
  std::string reason_;
  TbxDevice device_;
  std::array<std::byte, 64 * 1024> received_;
  size_t first_ = 0, end_ = 0;  // of what is in received_
};

}  // namespace dxg::hostsim::serve
