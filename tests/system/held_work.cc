#include "tests/system/held_work.h"

#include <stdexcept>

#include "tests/conformance/options.h"
#include "tests/conformance/work_client.h"

namespace dxg::held {
namespace {

using namespace conformance;

}  // namespace

bool IsWork(std::string_view kind) {
  return kind == "commands" || kind == "copies" || kind == "writes" || kind == "atomics";
}

std::function<void()> PrepareWork(const char* node, std::string_view kind, std::byte* page) {
  options().device = node;
  WorkClient& client = *new WorkClient;  // to the process's end, as its work
  const d3dkmthandle heap = client.CreateHeap(page, kPageBytes);
  client.MakeResident(client.paging, {&heap, 1});
  const uint64_t held = client.Map(heap, kPageBytes);
  const d3dkmthandle context = client.CreateContext();
  if (kind == "commands") return [&client, context, held] { client.Submit(context, {held, 64}); };
  const GpuMemory own = client.Allocate();
  const Commands commands = client.Compile([&](dxg_commands* list) {
    if (kind == "copies") dxg_push_copy(list, own.gpu, held, kPageBytes);
    if (kind == "writes") dxg_push_copy(list, held, own.gpu, kPageBytes);
    if (kind == "atomics") dxg_push_atomic_add64(list, held, 1);
  });
  return [&client, context, commands] { client.Submit(context, commands); };
}

void WorkBeside(const char* node, int times) {
  options().device = node;
  const WorkClient client;
  const GpuMemory from = client.Allocate(), to = client.Allocate();
  for (int i = 0; i < times; ++i) {
    FillPattern({from.cpu, from.bytes}, static_cast<uint64_t>(i));
    client.Run(client.Compile(
        [&](dxg_commands* commands) { dxg_push_copy(commands, to.gpu, from.gpu, kPageBytes); }));
    if (FindWrongByte({to.cpu, to.bytes}, static_cast<uint64_t>(i)) >= 0)
      throw std::runtime_error("a copy has wrong bytes");
  }
}

}  // namespace dxg::held
