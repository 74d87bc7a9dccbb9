// The whole device behind the attach interface: any sequence of calls with any bytes, from two processes,
// against the simulated host. Nothing may crash, hang or leak, every call is answered once, and at the end
// nothing is alive.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstring>
#include <deque>

#include "cuse-dxg/guest/driver.h"
#include "hostsim/backend/in_process.h"
#include "tests/fuzz/fuzz_check.h"

namespace {

using namespace dxg;

// The input, taken from the front; zeros when it is used up.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  bool empty() const { return at_ >= size_; }
  uint8_t Byte() { return at_ < size_ ? data_[at_++] : 0; }
  void Fill(std::span<std::byte> to) {
    for (std::byte& byte : to) byte = static_cast<std::byte>(Byte());
  }

 private:
  const uint8_t* data_;
  size_t size_;
  size_t at_ = 0;
};

class FuzzSpace final : public client::AddressSpace {
 public:
  bool Read(uint64_t, std::span<std::byte>) override { return false; }
  bool Write(uint64_t, std::span<const std::byte>) override { return false; }
  bool Frames(uint64_t, std::span<uint64_t>) override { return false; }
};

// A client's memory: the low page and the upper half are not mapped, one page in eight cannot be written, and
// what is read comes out of the input.
class FuzzAccess final : public client::Access {
 public:
  explicit FuzzAccess(Input& input) : input_(input) {}
  bool Read(pid_t, uint64_t address, std::span<std::byte> to) override {
    if (address < 4096 || address >> 47 != 0) return false;
    input_.Fill(to.first(std::min<size_t>(to.size(), 256)));
    return true;
  }
  bool Write(pid_t, uint64_t address, std::span<const std::byte>) override {
    return address >= 4096 && address >> 47 == 0 && (address >> 12) % 8 != 3;
  }
  bool WritePieces(pid_t tid, std::span<const client::WritePiece> pieces) override {
    return std::all_of(pieces.begin(), pieces.end(),
                       [&](const auto& piece) { return Write(tid, piece.address, piece.from); });
  }
  std::unique_ptr<client::AddressSpace> Pin(pid_t, uint64_t address, uint64_t size, bool) override {
    if (size == 0 || address < 4096 || address >> 47 != 0) return nullptr;
    return std::make_unique<FuzzSpace>();
  }
  std::optional<client::Identity> Identify(pid_t tid) override {
    client::Identity identity;
    identity.tgid = identity.own_pid = tid;
    identity.name = "fuzz";
    return identity;
  }
  bool InGroup(pid_t tid, pid_t tgid) override { return tid == tgid; }
  uint64_t PidNamespace(pid_t) override { return 0; }

 private:
  Input& input_;
};

class FuzzOpen final : public attach::OpenRequest {
 public:
  FuzzOpen(pid_t tid, uint64_t* file) : file_(file) { caller_.tid = tid; }
  const attach::Caller& caller() const override { return caller_; }
  void Accept(uint64_t file) override { *file_ = file; }
  void Refuse(int) override {}

 private:
  attach::Caller caller_;
  uint64_t* file_;
};

class FuzzIoctl final : public attach::IoctlRequest {
 public:
  FuzzIoctl(pid_t tid, uint64_t file, uint32_t code, uint64_t argument, std::vector<std::byte> in,
            int* answers)
      : file_(file), code_(code), argument_(argument), in_(std::move(in)), answers_(answers) {
    caller_.tid = tid;
  }
  const attach::Caller& caller() const override { return caller_; }
  uint64_t file() const override { return file_; }
  uint32_t code() const override { return code_; }
  uint64_t argument() const override { return argument_; }
  std::span<const std::byte> in() const override { return in_; }
  bool kernel_copies_out() const override { return !in_.empty(); }
  void Answer(int32_t, std::span<const std::byte> out) override {
    FUZZ_CHECK(out.size() <= in_.size());
    ++*answers_;
  }
  void OnInterrupt(std::function<void()>) override {}
  void OnKilled(std::function<bool()>) override {}

 private:
  attach::Caller caller_;
  uint64_t file_;
  uint32_t code_;
  uint64_t argument_;
  std::vector<std::byte> in_;
  int* answers_;
};

// Handles that exist make most calls get further than their first check.
void MakeLikely(std::vector<std::byte>& args, uint8_t where, uint8_t which) {
  const uint32_t handle = 0x40000000 + 0x40 * (which % 8);
  const size_t at = static_cast<size_t>(where % 4) * 4;
  if (at + sizeof(handle) <= args.size()) std::memcpy(args.data() + at, &handle, sizeof(handle));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool quiet = (spdlog::set_level(spdlog::level::off), true);
  (void)quiet;
  Input input(data, size);
  FuzzAccess access(input);
  auto backend = hostsim::CreateInProcessBackend({"discrete", "compute"});
  FUZZ_CHECK(backend.ok());
  guest::Driver driver(**backend, access);
  FUZZ_CHECK((*backend)->Start(&driver).ok());
  uint64_t files[2] = {};
  for (int i = 0; i < 2; ++i) driver.Open(std::make_unique<FuzzOpen>(100 + i, &files[i]));

  std::deque<int> answers;  // of each call; it keeps its place
  for (int calls = 0; calls < 64 && !input.empty(); ++calls) {
    const uint8_t choice = input.Byte(), how = input.Byte();
    const auto rows = contract::Calls();
    const auto& row = rows[choice % rows.size()];
    std::vector<std::byte> args(row.args_size);
    input.Fill(args);
    if (how & 8) MakeLikely(args, how >> 4, input.Byte());
    int& answered = answers.emplace_back(0);
    const bool restricted = how & 1;
    driver.Ioctl(std::make_unique<FuzzIoctl>(100 + ((how >> 1) & 1), files[(how >> 2) & 1], row.code,
                                             uint64_t{0x10000} + 4096 * choice,
                                             restricted ? args : std::vector<std::byte>(), &answered));
  }
  for (uint64_t file : files) driver.Release(file);
  FUZZ_CHECK(driver.process_count() == 0);
  (*backend)->Stop();  // what waited for simulated time is answered now
  for (const int times : answers) FUZZ_CHECK(times == 1);
  return 0;
}
