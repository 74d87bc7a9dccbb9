#include "link/vmbus/bus_address.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>

namespace dxg::vmbus {
namespace {

constexpr std::string_view kVmbus = "vmbus";

}  // namespace

Result<BusAddress> ParseBusAddress(const std::string& text, const char* option,
                                   std::initializer_list<std::string_view> known) {
  std::string_view rest = text;
  const auto wrong = [&] {
    return Status::Refuse(EINVAL, "{} {}: expected vmbus[:PATH] and after commas any of: {}", option, text,
                          fmt::join(known, ", "));
  };
  if (!rest.starts_with(kVmbus)) return wrong();
  rest.remove_prefix(kVmbus.size());
  BusAddress bus_address;
  if (rest.starts_with(':')) {
    bus_address.path = rest.substr(1, rest.find(',') - 1);
    if (bus_address.path.empty()) return wrong();
    rest.remove_prefix(1 + bus_address.path.size());
  }
  while (!rest.empty()) {
    if (rest.front() != ',') return wrong();
    rest.remove_prefix(1);
    const std::string_view item = rest.substr(0, rest.find(','));
    rest.remove_prefix(item.size());
    const size_t equals = std::min(item.find('='), item.size());
    const std::string word(item.substr(0, equals));
    if (std::find(known.begin(), known.end(), word) == known.end() || bus_address.has(word)) return wrong();
    bus_address.words[word] = equals < item.size() ? item.substr(equals + 1) : std::string_view();
  }
  return bus_address;
}

}  // namespace dxg::vmbus
