#include "tests/conformance/after_exec.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <string_view>

#include "tests/conformance/memory_client.h"

namespace dxg::conformance {
namespace {

constexpr int kFixedArguments = 4;  // program, flag, path of the node, job

bool AskDevice(const std::vector<uint64_t>& numbers) {
  const Node node(static_cast<int>(numbers.at(0)));
  return node.IsDevice(Handle(static_cast<uint32_t>(numbers.at(1))));
}

bool LockAndLook(const std::vector<uint64_t>& numbers) {
  const Node node(static_cast<int>(numbers.at(0)));
  d3dkmt_lock2 args = {};
  args.device = Handle(static_cast<uint32_t>(numbers.at(1)));
  args.allocation = Handle(static_cast<uint32_t>(numbers.at(2)));
  node.Ioctl(LX_DXLOCK2, args, "Lock2");
  const std::span bytes(reinterpret_cast<std::byte*>(args.data), 3 * kPageBytes);  // Safety: just locked
  if (FindWrongByte(bytes, kAfterExecSeed) != -1) return false;
  FillPattern(bytes, kAfterExecSeed + 1);
  d3dkmt_unlock2 unlock = {args.device, args.allocation};
  node.Ioctl(LX_DXUNLOCK2, unlock, "Unlock2");
  node.Ioctl(LX_DXLOCK2, args, "Lock2");
  const std::span again(reinterpret_cast<std::byte*>(args.data), 3 * kPageBytes);  // Safety: the same
  return FindWrongByte(again, kAfterExecSeed + 1) == -1;
}

bool OpenAndLook(const std::vector<uint64_t>& numbers) {
  const MemoryClient client;
  const SharedResource opened = client.OpenShared(static_cast<int>(numbers.at(0)));
  return FindWrongByte({client.Lock(opened.allocations.at(0)), kPageBytes}, kAfterExecSeed) == -1;
}

}  // namespace

[[noreturn]] void ExecAfter(const std::string& job, const std::vector<uint64_t>& numbers) {
  std::vector<std::string> arguments = {"dxg-conformance", kAfterExecFlag, options().device, job};
  for (uint64_t number : numbers) arguments.push_back(std::to_string(number));
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  execv("/proc/self/exe", argv.data());
  fmt::print(stderr, "execv failed\n");
  _exit(2);
}

int AfterExec(int argc, char** argv) {
  if (argc <= kFixedArguments) return 2;
  options().device = argv[2];
  const std::string_view job = argv[3];
  std::vector<uint64_t> numbers;
  for (int i = kFixedArguments; i < argc; ++i) numbers.push_back(std::strtoull(argv[i], nullptr, 0));
  try {
    if (job == "device") return AskDevice(numbers) ? 0 : 1;
    if (job == "lock") return LockAndLook(numbers) ? 0 : 1;
    if (job == "open") return OpenAndLook(numbers) ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "after exec: {}\n", error.what());
    return 1;
  }
  return 2;
}

}  // namespace dxg::conformance
