#include "tests/vmbus_uio/fake_node.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>

#include "link/vmbus/ring_channel.h"

namespace dxg::vmbus {
namespace {

constexpr size_t kMonitorBytes = 4096;

std::span<std::byte> MakeMemory(size_t bytes) {
  void* const at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  DXG_CHECK(at != MAP_FAILED);
  return {static_cast<std::byte*>(at), bytes};
}

class FakeNode final : public UioNode {
 public:
  FakeNode(UniqueFd file, std::span<std::byte> rings, std::span<std::byte> monitor)
      : file_(std::move(file)), rings_(rings), monitor_(monitor) {}
  Result<std::span<std::byte>> Map(unsigned index, size_t bytes) override {
    const std::span<std::byte> map = index == 0 ? rings_ : index == 2 ? monitor_ : std::span<std::byte>();
    if (bytes > map.size()) return Status::Refuse(EINVAL, "map {} has no {} bytes", index, bytes);
    return map.first(bytes);
  }
  int fd() const override { return file_.get(); }

 private:
  const UniqueFd file_;
  const std::span<std::byte> rings_, monitor_;
};

class HostSignal final : public Signal {
 public:
  explicit HostSignal(FakeWire& wire) : wire_(wire) {}
  void Ring() override { wire_.Interrupt(); }
  int fd() const override { return wire_.host_fd(); }
  bool Take() override { return (void)wire_.Signal(), true; }

 private:
  FakeWire& wire_;
};

}  // namespace

FakeWire::FakeWire(size_t rings_bytes)
    : rings_(MakeMemory(rings_bytes)), monitor_(MakeMemory(kMonitorBytes)) {
  int guest, host;
  termios raw = {};
  cfmakeraw(&raw);
  DXG_CHECK(openpty(&guest, &host, nullptr, &raw, nullptr) == 0);
  guest_.reset(guest);
  host_.reset(host);
  fcntl(guest, F_SETFL, O_NONBLOCK);
  fcntl(host, F_SETFL, O_NONBLOCK);
}

FakeWire::~FakeWire() {
  munmap(rings_.data(), rings_.size());
  munmap(monitor_.data(), monitor_.size());
}

std::unique_ptr<UioNode> FakeWire::TakeNode() {
  return std::make_unique<FakeNode>(std::move(guest_), rings_, monitor_);
}

void FakeWire::Interrupt() {
  const int32_t count = 1;
  DXG_CHECK(write(host_.get(), &count, sizeof(count)) == sizeof(count) || errno == EIO);
}

bool FakeWire::WaitForSignal() {
  pollfd file = {host_.get(), POLLIN, 0};
  DXG_CHECK(poll(&file, 1, -1) == 1);
  return Signal().has_value();
}

std::optional<int32_t> FakeWire::Signal() {
  int32_t value = 0;
  return read(host_.get(), &value, sizeof(value)) == sizeof(value) ? std::optional(value) : std::nullopt;
}

std::unique_ptr<Channel> FakeWire::HostChannel() {
  auto channel = MakeRingChannel(rings_.last(rings_.size() / 2), rings_.first(rings_.size() / 2),
                                 std::make_unique<HostSignal>(*this), nullptr);
  DXG_CHECK(channel.ok());
  return *std::move(channel);
}

}  // namespace dxg::vmbus
