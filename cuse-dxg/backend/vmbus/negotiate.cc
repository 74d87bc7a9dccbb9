#include "cuse-dxg/backend/vmbus/negotiate.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace dxg::vmbus {
namespace {

Status Explain(const PciFunction& function, const char* what, uint32_t offset, const Status& status) {
  return Status::Refuse(-status.value(), "PCI function {}: cannot {} at {:#x} of its configuration space: {}",
                        function.name(), what, offset, status.why());
}

Result<uint32_t> Read(PciFunction& function, uint32_t offset, const char* what) {
  Result<uint32_t> value = function.Read(offset);
  if (!value.ok()) return Explain(function, what, offset, value.status());
  return value;
}

Status Write(PciFunction& function, uint32_t offset, uint32_t value, const char* what) {
  const Status status = function.Write(offset, value);
  return status.ok() ? Status::Ok() : Explain(function, what, offset, status);
}

// A host that cannot be asked is an old one.
uint32_t HostVersion(PciFunction& function) {
  Result<uint32_t> version = function.Read(kConfigVersion);
  return version.ok() && *version != 0 ? *version : kInterfaceVersionOldest;
}

Status NegotiateVersion(PciFunction& function, Negotiated* agreed) {
  DXG_TRY(Write(function, kConfigGuestCaps, kGuestCapWsl2, "say what this guest is able to"));
  const uint32_t host_version = HostVersion(function);
  agreed->interface_version = std::min(host_version, kInterfaceVersionNewest);
  if (host_version < kInterfaceVersionNewest) return Status::Ok();
  DXG_TRY(Write(function, kConfigVersion, kInterfaceVersionNewest, "choose interface version 40"));
  Result<uint32_t> caps = function.Read(kConfigHostCaps);
  agreed->map_guest_memory = caps.ok() && (*caps & kHostCapMapGuestMemory) != 0;
  return Status::Ok();
}

Result<Guid> ReadChannel(PciFunction& function) {
  Guid channel;
  for (uint32_t at = 0; at < channel.bytes.size(); at += sizeof(uint32_t)) {
    DXG_ASSIGN(const uint32_t dword, Read(function, kConfigChannel + at, "read the GUID of its channel"));
    std::memcpy(channel.bytes.data() + at, &dword, sizeof(dword));
  }
  // What the bus reads where nobody answers.
  if (std::all_of(channel.bytes.begin(), channel.bytes.end(), [](uint8_t byte) { return byte == 0xFF; }))
    return Status::Refuse(ENODEV, "PCI function {} reads as all ones: the host has taken it away",
                          function.name());
  return channel;
}

Result<uint64_t> ReadLuid(PciFunction& function) {
  DXG_ASSIGN(const uint64_t low, Read(function, kConfigLuid, "read its LUID"));
  DXG_ASSIGN(const uint64_t high, Read(function, kConfigLuid + sizeof(uint32_t), "read its LUID"));
  return high << 32 | low;
}

}  // namespace

Result<Negotiated> Negotiate(PciFunction& function, const std::optional<Negotiated>& first) {
  Negotiated agreed;
  if (first) {
    agreed.interface_version = first->interface_version;
    agreed.map_guest_memory = first->map_guest_memory;
  } else {
    DXG_TRY(NegotiateVersion(function, &agreed));
  }
  DXG_ASSIGN(agreed.channel, ReadChannel(function));
  if (agreed.interface_version >= kInterfaceVersionNewest) {
    DXG_ASSIGN(agreed.vgpu_luid, ReadLuid(function));
  }
  return agreed;
}

}  // namespace dxg::vmbus
