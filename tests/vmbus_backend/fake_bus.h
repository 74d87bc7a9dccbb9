#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "cuse-dxg/backend/vmbus/bus.h"
#include "link/vmbus/message.h"
#include "link/vmbus/pci_config.h"
#include "proto/contract/host_commands.gen.h"
#include "proto/contract/wire.h"
#include "tests/vmbus_backend/fake_channel.h"

// A VMBus with a host that answers by a script. It records everything that a guest does to it, in the terms
// of the golden records.

namespace dxg::vmbus {

// One thing that the guest did. "pkt global SETIOSPACEREGION 1 1 1000...": channel, command, transaction,
// flags, bytes.
class BusLog {
 public:
  void Add(std::string what) {
    std::lock_guard lock(mutex_);
    lines_.push_back(std::move(what));
  }
  std::vector<std::string> Take() {
    std::lock_guard lock(mutex_);
    return std::exchange(lines_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> lines_;
};

inline std::string Hex(std::span<const std::byte> bytes) {
  std::string hex;
  for (std::byte each : bytes) hex += fmt::format("{:02x}", static_cast<unsigned>(each));
  return hex;
}

struct FakeFunction final : PciFunction {
  FakeFunction(std::shared_ptr<BusLog> bus_log, std::string its_name, std::map<uint32_t, uint32_t> words)
      : log(std::move(bus_log)), own_name(std::move(its_name)), config(std::move(words)) {}
  std::string name() const override { return own_name; }
  bool compute_only() const override { return compute; }
  Result<uint32_t> Read(uint32_t offset) override {
    if (!config.contains(offset)) return Status::Refuse(EIO, "the test has no word at {:#x}", offset);
    log->Add(fmt::format("pci_read {} {:#x}", offset, config[offset]));
    return config[offset];
  }
  Status Write(uint32_t offset, uint32_t value) override {
    log->Add(fmt::format("pci_write {} {:#x}", offset, value));
    return Status::Ok();
  }

  const std::shared_ptr<BusLog> log;
  const std::string own_name;
  std::map<uint32_t, uint32_t> config;
  bool compute = false;
};

// Of a host that speaks version 40, in the golden records' values; `number` tells several apart.
inline std::map<uint32_t, uint32_t> Config(uint32_t number = 0, uint32_t version = 40, uint32_t caps = 0) {
  return {{192, 0xc0ffee + number}, {196, 0xbadbeef},  {200, 0x4030201},  {204, 0x8070605},
          {208, version},           {212, 0x11223344}, {216, 0x55667788}, {220, caps}};
}

class FakeBus final : public Bus {
 public:
  static constexpr uint32_t kGlobal = 1, kVgpu = 2;  // relids; further vGPUs follow
  using Answers = std::function<std::optional<PacketBytes>(const std::string& channel, uint32_t command)>;

  FakeBus() : log(std::make_shared<BusLog>()) {
    answers = [](const std::string&, uint32_t command) { return DefaultAnswer(command); };
  }

  static ChannelOffer Global(uint32_t relid = kGlobal) { return {kGlobalClass, Guid{{1, 2, 3}}, relid, 64}; }
  static ChannelOffer Vgpu(uint32_t number = 0, uint32_t relid = 0) {
    ChannelOffer offer{kVgpuClass, {}, relid != 0 ? relid : kVgpu + number, 0};
    for (uint32_t i = 0; i < 4; ++i)
      std::memcpy(offer.instance.bytes.data() + 4 * i, &Config(number)[192 + 4 * i], 4);
    return offer;
  }
  std::shared_ptr<FakeFunction> Function(uint32_t number = 0, uint32_t version = 40, uint32_t caps = 0) {
    return std::make_shared<FakeFunction>(log, fmt::format("function {}", number),
                                          Config(number, version, caps));
  }

  // As the script of the golden records answers, as far as the start goes.
  static std::optional<PacketBytes> DefaultAnswer(uint32_t command, uint32_t bits = 0) {
    PacketBytes answer(712);
    const auto put = [&](size_t at, auto value) { std::memcpy(answer.data() + at, &value, sizeof(value)); };
    if (command == 14) {  // OPENADAPTER
      put(0, 0x40000740u);
      put(8, 40u);
      put(12, 16u);
      answer.resize(16);
    } else if (command == 36) {  // GETINTERNALADAPTERINFO
      put(12, bits);
      put(16, 0xbbbb0002aaaa0001ull);
      put(704, 0xdddd0004cccc0003ull);
    }
    return answer;
  }

  // Bus
  Status Start(BusEvents* to) override {
    events = to;
    if (at_start) at_start(*to);
    return Status::Ok();
  }
  void Stop() override { log->Add("stop"); }
  Result<std::unique_ptr<Channel>> Open(const ChannelOffer& offer) override {
    std::lock_guard lock(mutex);
    if (open.contains(offer.relid)) ADD_FAILURE() << "channel " << offer.relid << " is opened twice";
    if (refused.contains(offer.relid))
      return Status::Refuse(EBUSY, "the test refuses channel {}", offer.relid);
    const std::string name = offer.channel_class == kGlobalClass ? "global"
                             : offer.relid == kVgpu              ? "vgpu"
                                                                 : fmt::format("vgpu{}", offer.relid);
    log->Add("vmbus_open " + name);
    open.insert(offer.relid);
    auto answering = std::make_shared<FakeChannelState>(
        [this, name, relid = offer.relid](const SentPacket& packet) { return Answer(name, relid, packet); });
    channels[offer.relid] = answering;
    return std::unique_ptr<Channel>(
        std::make_unique<FakeChannel>(answering, [this, name, relid = offer.relid] {
          log->Add("vmbus_close " + name);
          std::lock_guard guard(mutex);
          open.erase(relid);
        }));
  }
  Result<Window> ReserveWindow(const ChannelOffer& global) override {
    log->Add(fmt::format("mmio_alloc {}", global.mmio_megabytes));
    if (window_error != 0) return Status::Refuse(window_error, "the test has no window");
    return window;
  }
  Result<uint32_t> CreateGpadl(const ChannelOffer& global, std::shared_ptr<ClientPages> pages) override {
    log->Add(fmt::format("gpadl {} {}", global.relid, pages->size()));
    return 0xe1e11;
  }
  void TearDownGpadl(const ChannelOffer& global, uint32_t gpadl) override {
    log->Add(fmt::format("gpadl_teardown {} {:#x}", global.relid, gpadl));
  }
  Result<std::unique_ptr<Pinned>> Pin(std::shared_ptr<ClientPages> pages) override {
    struct Held final : Pinned {
      Held(std::shared_ptr<BusLog> to, uint64_t all) : log(std::move(to)), bytes(all) {}
      ~Held() override { log->Add("unpin"); }
      bool Frames(uint64_t page, std::span<uint64_t> frames) override {
        for (size_t i = 0; i < frames.size(); ++i) frames[i] = 0x1000 + page + i;
        return page + frames.size() <= bytes / 4096;
      }
      const std::shared_ptr<BusLog> log;
      const uint64_t bytes;
    };
    log->Add("pin");
    return std::unique_ptr<Pinned>(std::make_unique<Held>(log, pages->size()));
  }

  std::shared_ptr<FakeChannelState> channel(uint32_t relid) {
    std::lock_guard lock(mutex);
    return channels.at(relid);
  }

  const std::shared_ptr<BusLog> log;
  BusEvents* events = nullptr;
  std::function<void(BusEvents&)> at_start;
  Answers answers;  // none: the host is silent
  std::set<uint32_t> refused;
  Window window{0x30000000, 64ull << 20, 5, 0x2000, nullptr};
  int window_error = 0;

 private:
  Channel::Sent Answer(const std::string& name, uint32_t relid, const SentPacket& packet) {
    const auto& p = packet.payload;
    const bool ext = p.size() >= 16 && contract::wire::Get<4>(p.data()) == kExtHeaderBytes;
    const auto head = DecodeHead(p, ext);
    if (!head) return Channel::Sent::kYes;
    const auto* command = contract::FindHostCommand(head->command);
    log->Add(fmt::format("pkt {} {} {} {} {}", name, command ? command->name : "?", packet.transaction,
                         packet.flags, Hex(p)));
    const auto answer = answers(name, head->command);
    if (answer && (packet.flags & kCompletionRequested) != 0)
      channel(relid)->Answer(packet.transaction, *answer);
    return Channel::Sent::kYes;
  }

  std::mutex mutex;  // guards the two below
  std::map<uint32_t, std::shared_ptr<FakeChannelState>> channels;
  std::set<uint32_t> open;
};

// What a back-end tells, to be waited for.
class Heard final : public BackendEvents {
 public:
  void AdapterArrived(const HostAdapter& adapter) override {
    {
      std::lock_guard lock(mutex_);
      adapters_.push_back(adapter);
    }
    Add(fmt::format("arrived {:#x}", adapter.luid));
  }
  void AdapterStopped(uint64_t luid) override { Add(fmt::format("stopped {:#x}", luid)); }
  void AdapterRemoved(uint64_t luid) override { Add(fmt::format("removed {:#x}", luid)); }
  void DeviceStateChanged(uint64_t cookie) override { Add(fmt::format("state {:#x}", cookie)); }
  void GuestEvent(uint64_t event) override { Add(fmt::format("event {}", event)); }
  void HostLost() override { Add("lost"); }

  // Waits for so many, and gives them all.
  std::vector<std::string> Wait(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return told_.size() >= count; });
    return told_;
  }
  std::vector<std::string> told() {
    std::lock_guard lock(mutex_);
    return told_;
  }
  HostAdapter adapter(size_t which = 0) {
    std::lock_guard lock(mutex_);
    return adapters_.at(which);
  }

 private:
  void Add(std::string what) {
    std::lock_guard lock(mutex_);
    told_.push_back(std::move(what));
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> told_;
  std::vector<HostAdapter> adapters_;
};

}  // namespace dxg::vmbus
