// Random bytes as a profile, with its files and a scenario, and what a program then asks of its adapters: a
// profile that is taken has adapters that a host can have, and each complaint has a source.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "hostsim/adapter/profile.h"
#include "hostsim/machine/host.h"
#include "proto/dxg/host.pb.h"
#include "proto/dxg/options.pb.h"
#include "tests/fuzz/fuzz_check.h"

namespace dxg::hostsim {
namespace {

template <class Command>
typename Command::Reply Ask(Host& host, const Caller& caller, const typename Command::Request& request) {
  typename Command::Reply reply;
  const uint32_t id = Command::descriptor()->options().GetExtension(dxg::command).id();
  host.Submit(caller, id, request, &reply, [](bool) {});
  return reply;
}

// Private data of every kind, for the rules that the profile has.
void Use(const std::vector<AdapterProfile>& profiles, const std::string& data) {
  VirtualClock clock(0);
  const auto machine = Host::Create(World{.clock = clock}, profiles);
  host::CreateProcess::Request process;
  process.set_process_id(1);
  const Caller caller = {Ask<host::CreateProcess>(*machine, {}, process).process(),
                         machine->Adapters().front().address};
  const auto bytes = static_cast<uint32_t>(data.size());
  host::QueryAdapterInfo::Request query;
  query.set_query_type(data.empty() ? 0 : static_cast<uint8_t>(data[0]));
  query.set_private_data(data);
  query.set_private_data_size(bytes);
  for (int turn = 0; turn < 3; ++turn)
    FUZZ_CHECK(Ask<host::QueryAdapterInfo>(*machine, caller, query).private_data().size() == data.size());
  host::Escape::Request escape;
  escape.set_adapter(machine->Adapters().front().host_handle);
  escape.set_priv_drv_data(data);
  escape.set_priv_drv_data_size(bytes);
  const auto escaped = Ask<host::Escape>(*machine, caller, escape).priv_drv_data();
  FUZZ_CHECK(escaped.empty() || escaped.size() == data.size());
  host::CreateDevice::Request device;
  const uint32_t made = Ask<host::CreateDevice>(*machine, caller, device).device();
  host::CreateAllocation::Request allocation;
  allocation.set_device(made);
  allocation.set_alloc_count(1);
  allocation.add_allocations()->set_priv_drv_data_size(bytes);
  allocation.set_allocation_data(data);
  const auto allocated = Ask<host::CreateAllocation>(*machine, caller, allocation);
  FUZZ_CHECK(allocated.allocation_data().empty() || allocated.allocation_data().size() == data.size());
  host::CreateContextVirtual::Request context;
  context.set_device(made);
  context.set_priv_drv_data(data);
  context.set_priv_drv_data_size(bytes);
  const uint32_t on = Ask<host::CreateContextVirtual>(*machine, caller, context).context();
  host::SubmitCommand::Request submit;
  submit.set_command_buffer(0x10000);
  submit.set_command_length(8);
  submit.set_broadcast_context_count(1);
  submit.add_broadcast_context(on);
  submit.set_priv_drv_data(data);
  submit.set_priv_drv_data_size(bytes);
  Ask<host::SubmitCommand>(*machine, caller, submit);
  host::DestroyProcess::Request end;
  Ask<host::DestroyProcess>(*machine, {caller.process, 0}, end);
}

}  // namespace
}  // namespace dxg::hostsim

// The text, a zero, and then the bytes of the file "f", which are the private data as well.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dxg::hostsim;
  const std::string all(reinterpret_cast<const char*>(data), size);  // Safety: any bytes are chars
  const size_t zero = all.find('\0');
  const std::string rest = zero == std::string::npos ? "" : all.substr(zero + 1);
  dxg::ControlRequest::AddAdapter wanted;
  wanted.set_name("fuzz");
  // Half of them as what only changes a profile that is sound.
  wanted.set_text((size % 2 == 0 ? "base: \"discrete\"\n" : "") + all.substr(0, zero));
  auto* file = wanted.add_files();
  file->set_name("f");
  file->set_data(rest);
  if (size % 3 == 0) wanted.set_scenario(ShippedScenarios()[size % ShippedScenarios().size()].name);
  if (wanted.text().empty()) return 0;  // that is a name
  auto profiles = ReadProfiles(wanted);
  if (!profiles.ok()) {
    FUZZ_CHECK(profiles.status().why().starts_with("fuzz:") ||
               profiles.status().why().starts_with("scenario"));
    return 0;
  }
  FUZZ_CHECK(!profiles->empty());
  for (const dxg::AdapterProfile& profile : *profiles) {
    FUZZ_CHECK(!profile.name().empty() && profile.nodes_size() > 0);
    FUZZ_CHECK(profile.base().empty() && profile.adapters().empty());
  }
  Use(*profiles, rest);
  return 0;
}
