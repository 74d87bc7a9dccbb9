// budget-client NODE CALL: makes CALL as often as each number on its input says, and says "done" each time.
#include "tests/bench/client.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cstdio>
#include <functional>
#include <map>
#include <string>

#include "proto/abi/dxg_commands.h"

using namespace dxg;
using namespace dxg::bench;

namespace {

// All that the calls need, made before the first of them.
class Calls {
 public:
  explicit Calls(const char* path)
      : node_(open(path, O_RDWR | O_CLOEXEC)),
        client_(node_),
        fence_(client_.CreateFence()),
        context_(client_.CreateContext(0)),
        queue_(client_.CreateHwQueue(client_.CreateContext(0, true))),
        locked_(client_.Create(kBytes)) {
    client_.CreateQueue();
    const auto buffer = client_.Create(kPageBytes);
    client_.MakeResident(buffer);
    commands_ = client_.Map(buffer);
    dxg_commands list = dxg_commands_begin(client_.Lock(buffer), kPageBytes);
    dxg_push_nop(&list);
    used_ = static_cast<uint32_t>(list.used);
    client_.Lock(locked_);
    client_.Unlock(locked_);
    memory_info_.adapter = client_.adapter();
    state_.device = client_.device();
    state_.state_type = _D3DKMT_DEVICESTATE_EXECUTION;
    type_.adapter = client_.adapter();
    type_.type = 15;  // KMTQAITYPE_ADAPTERTYPE
    type_.private_data = reinterpret_cast<uint64_t>(&adapter_type_);
    type_.private_data_size = sizeof adapter_type_;
  }

  std::map<std::string, std::function<void()>> all() {
    return {{"local", [this] { Make(LX_DXGETDEVICESTATE, state_); }},
            {"host", [this] { Make(LX_DXQUERYVIDEOMEMORYINFO, memory_info_); }},
            {"nested", [this] { Make(LX_DXQUERYADAPTERINFO, type_); }},
            {"signal", [this] { client_.Signal(fence_, ++value_); }},
            {"submit", [this] { client_.Submit(context_, commands_, used_); }},
            {"submit-hw", [this] { client_.Submit(queue_, commands_, used_, ++progress_); }},
            {"create-destroy", [this] { client_.Destroy(client_.Create(kBytes)); }},
            {"lock-unlock", [this] {
               client_.Lock(locked_);
               client_.Unlock(locked_);
             }}};
  }

 private:
  static constexpr uint64_t kBytes = 65536;

  template <typename Args>
  void Make(unsigned long code, Args args) const {
    if (ioctl(node_, code, &args) != 0) Fail(fmt::format("ioctl {:#x}: errno {}", code, errno));
  }

  const int node_;
  Client client_;
  const Client::Fence fence_;
  const d3dkmthandle context_;
  const Client::HwQueue queue_;
  const d3dkmthandle locked_;
  uint64_t commands_ = 0, value_ = 0, progress_ = 0;
  uint32_t used_ = 0, adapter_type_ = 0;
  d3dkmt_getdevicestate state_{};
  d3dkmt_queryvideomemoryinfo memory_info_{};
  d3dkmt_queryadapterinfo type_{};
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    fmt::print(stderr, "usage: budget-client NODE CALL\n");
    return 2;
  }
  Calls calls(argv[1]);
  const auto all = calls.all();
  const auto call = all.find(argv[2]);
  if (call == all.end()) {
    fmt::print(stderr, "budget-client: there is no call {}\n", argv[2]);
    return 2;
  }
  int times = 0;
  while (std::scanf("%d", &times) == 1) {
    for (int i = 0; i < times; ++i) call->second();
    fmt::print("done\n");
    std::fflush(stdout);
  }
  return 0;
}
