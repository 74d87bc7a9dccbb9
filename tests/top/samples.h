#pragma once

#include "cuse-dxg/top/picture.h"

namespace dxg::top {

// A second of a daemon with an adapter, two processes and two refusals.
inline ControlReply::Live SampleOf(uint64_t second) {
  constexpr uint64_t kSecond = 1'000'000'000, kMiB = 1 << 20;
  ControlReply::Live live;
  live.set_has_guest(true);
  live.set_guest_ns((100 + second) * kSecond);
  live.set_host_ns((7 + second) * kSecond);
  live.set_calls(1000 + 250 * second);
  live.set_refused(4 + second);
  live.set_waits(3);
  auto* adapter = live.add_adapters();
  adapter->set_luid(0x10000);
  adapter->set_profile("discrete");
  adapter->set_description("SimGPU Discrete");
  adapter->mutable_local()->set_size(8192 * kMiB);
  adapter->mutable_local()->set_budget(8000 * kMiB);
  adapter->mutable_local()->set_used(2000 * kMiB);
  adapter->mutable_non_local()->set_size(16384 * kMiB);
  adapter->mutable_non_local()->set_budget(16000 * kMiB);
  for (const char* name : {"3D", "copy"}) {
    auto* engine = adapter->add_engines();
    engine->set_name(name);
    engine->set_queues(2);
  }
  adapter->mutable_engines(0)->set_running_ns(second * kSecond / 4);
  adapter->mutable_engines(0)->set_completed(120 * second);
  adapter->mutable_engines(0)->set_ready(1);
  for (uint64_t i = 0; i < 2; ++i) {
    auto* host = live.add_host_processes();
    host->set_handle(static_cast<uint32_t>(0x40000000 + 0x40 * i));
    host->set_process_id(10 + i);
    auto* use = host->add_uses();
    use->set_luid(0x10000);
    use->set_local((i == 0 ? 500 : 1500) * kMiB);
    use->add_running_ns(i == 0 ? second * kSecond / 4 : 0);
    use->add_running_ns(0);
    auto* guest = live.add_guest_processes();
    guest->set_process_id(3000 + i);
    guest->set_started(77 + i);
    guest->set_user(1000);
    guest->set_name(i == 0 ? "train" : "view");
    guest->set_host_handle(host->handle());
    guest->set_calls(i == 0 ? 900 + 200 * second : 100 + 50 * second);
    guest->set_refused(i == 0 ? 0 : 4 + second);
    guest->set_bytes((i == 0 ? 600 : 1500) * kMiB);
  }
  auto* waiting = live.mutable_guest_processes(1)->add_waiting();
  waiting->set_call("WaitForSynchronizationObjectFromCpu");
  waiting->set_count(2);
  auto* call = live.mutable_guest_processes(0)->add_by_name();
  call->set_name("Lock2");
  call->set_count(200 * second);
  auto* refusal = live.add_refusals();
  refusal->set_last_ns((100 + second) * kSecond - kSecond / 2);
  refusal->set_process(3001);
  refusal->set_name("view");
  refusal->set_call("DestroyDevice");
  refusal->set_error(22);
  refusal->set_count(4 + second);
  refusal->set_why("0x40000000 is no live handle of this process; expected a device");
  refusal = live.add_refusals();
  refusal->set_last_ns((100 + second) * kSecond - 90 * kSecond);
  refusal->set_code(0xC0DE);
  refusal->set_error(25);
  refusal->set_count(1);
  return live;
}

}  // namespace dxg::top
