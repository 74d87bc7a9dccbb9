#include "link/socket/messages.h"

namespace dxg::socket {

protocol::AdapterInfo ToMessage(const HostAdapter& adapter) {
  protocol::AdapterInfo info;
  info.set_luid(adapter.luid);
  info.set_host_luid(adapter.host_luid);
  info.set_address(adapter.address);
  info.set_host_handle(adapter.host_handle);
  info.set_interface_version(adapter.interface_version);
  info.set_compute_only(adapter.compute_only);
  info.set_async_messages(adapter.async_messages);
  return info;
}

HostAdapter FromMessage(const protocol::AdapterInfo& info) {
  HostAdapter adapter;
  adapter.luid = info.luid();
  adapter.host_luid = info.host_luid();
  adapter.address = info.address();
  adapter.host_handle = info.host_handle();
  adapter.interface_version = info.interface_version();
  adapter.compute_only = info.compute_only();
  adapter.async_messages = info.async_messages();
  return adapter;
}

}  // namespace dxg::socket
