#include "cuse-dxg/tracer/tracee_memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "base/page.h"
#include "base/unique_fd.h"

namespace dxg::tracer {
namespace {

// A tracer may read this file also where a container's filter forbids process_vm_readv.
bool ReadMemoryFile(pid_t tid, uint64_t address, std::span<std::byte> to) {
  const UniqueFd file(open(fmt::format("/proc/{}/mem", tid).c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid() || address > uint64_t{INT64_MAX}) return false;
  return pread(file.get(), to.data(), to.size(), static_cast<off_t>(address)) ==
         static_cast<ssize_t>(to.size());
}

}  // namespace

bool ReadMemory(pid_t tid, uint64_t address, std::span<std::byte> to) {
  if (to.empty()) return true;
  const iovec here = {to.data(), to.size()};
  // Safety: never followed here, only by the kernel in the tracee.
  const iovec there = {reinterpret_cast<void*>(address), to.size()};
  const ssize_t read = process_vm_readv(tid, &here, 1, &there, 1, 0);
  if (read < 0 && (errno == EPERM || errno == ENOSYS)) return ReadMemoryFile(tid, address, to);
  return read == static_cast<ssize_t>(to.size());
}

std::vector<Mapping> MappingsOf(pid_t tid) {
  std::vector<Mapping> mappings;
  std::ifstream maps(fmt::format("/proc/{}/maps", tid));
  for (std::string line; std::getline(maps, line);) {
    unsigned long begin = 0, end = 0;
    char may_read = '-';
    if (std::sscanf(line.c_str(), "%lx-%lx %c", &begin, &end, &may_read) == 3 && may_read == 'r')
      mappings.push_back({begin, end});
  }
  return mappings;
}

uint64_t NewFrom(uint64_t address, const std::vector<Mapping>& before, const std::vector<Mapping>& now) {
  const auto ends_behind = [address](const Mapping& each) { return each.end > address; };
  const auto mapped = std::ranges::find_if(now, ends_behind);
  if (mapped == now.end() || mapped->begin > address) return 0;
  const auto old = std::ranges::find_if(before, ends_behind);
  if (old == before.end()) return mapped->end - address;
  if (old->begin <= address) return std::min(mapped->end - address, kOldMax);
  return std::min(mapped->end, old->begin) - address;
}

std::string ReadString(pid_t tid, uint64_t address, size_t bytes_max) {
  std::string text;
  while (text.size() < bytes_max) {
    // Within one page: the next one may not be there.
    const uint64_t at = address + text.size();
    const size_t bytes = std::min<size_t>(bytes_max - text.size(), kPageBytes - at % kPageBytes);
    const size_t before = text.size();
    text.resize(before + bytes);
    if (!ReadMemory(tid, at, std::as_writable_bytes(std::span(text).subspan(before)))) return {};
    if (const size_t end = text.find('\0', before); end != std::string::npos) return text.substr(0, end);
  }
  return text;
}

}  // namespace dxg::tracer
