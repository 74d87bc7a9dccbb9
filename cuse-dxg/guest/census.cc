#include "cuse-dxg/guest/census.h"

#include <algorithm>
#include <cstring>

#include "base/monotonic.h"
#include "proto/abi/qaitype.h"
#include "proto/contract/contract.h"

namespace dxg::guest {
namespace {

// D3DDDI_QUERYREGISTRY_INFO: which key, and the name of the value.
constexpr size_t kValueName = 8;
constexpr size_t kValueNameUnits = 260;
constexpr uint32_t kAdapterKey = 1;  // this key and the one before have values with names

std::string_view NameOfRegistryValue(const std::string& data,
                                     std::array<char, Fidelity::kWhatBytesMax>* room) {
  size_t length = fidelity::kRegistryValue.copy(room->data(), room->size());
  for (size_t unit = 0; unit < kValueNameUnits && length < room->size(); ++unit) {
    const size_t at = kValueName + 2 * unit;
    if (at + 2 > data.size()) break;
    const char low = data[at], high = data[at + 1];
    if (low == '\0' && high == '\0') break;
    (*room)[length++] = high == '\0' ? low : '?';
  }
  return {room->data(), length};
}

}  // namespace

uint64_t Census::NowNs() { return MonotonicNs(); }

void Census::CountCall(const Answered& call) {
  OfCall& of = calls_[call.row->nr];
  of.count.fetch_add(1, std::memory_order_relaxed);
  if (!call.status.ok()) of.refused.fetch_add(1, std::memory_order_relaxed);
}

void Census::Count(const Answered& call) {
  NoteRefusal(call);
  CountPlain(call);
}

void Census::NoteRefusal(const Answered& call) {
  if (call.row == nullptr) unknown_.fetch_add(1, std::memory_order_relaxed);
  if (!call.status.ok())
    refusals_.Note({call.row, call.code, call.process, call.thread, call.name, call.status}, NowNs());
}

void Census::CountPlain(const Answered& call) {
  if (call.row != nullptr) CountCall(call);
  if (call.status.ok()) return;
  if (call.row == nullptr) {
    CountDetail(call, fidelity::kRequestCode, call.code);
  } else {
    CountDetail(call, fidelity::kErrno, static_cast<uint64_t>(-static_cast<int64_t>(call.status.value())));
  }
}

void Census::CountQuery(const Answered& call, const QueryAdapterInfo::Request& request) {
  CountCall(call);
  const std::string& data = request.private_data();
  uint32_t key = 0;
  if (request.type() == KMTQAITYPE_QUERYREGISTRY && data.size() >= sizeof key) {
    std::memcpy(&key, data.data(), sizeof key);
    if (key <= kAdapterKey) {
      std::array<char, Fidelity::kWhatBytesMax> room;
      return CountDetail(call, NameOfRegistryValue(data, &room), std::nullopt);
    }
  }
  CountDetail(call, fidelity::kType, request.type());
}

void Census::CountDetail(const Answered& call, std::string_view what, std::optional<uint64_t> number) {
  things_.Note(
      {.kind = call.status.ok() ? FidelityKind::kExact : FidelityKind::kRefused,
       .call = call.row != nullptr ? call.row->name : std::string_view(),
       .what = what,
       .number = number},
      [&] {
        return FidelityFirst{.process = static_cast<uint64_t>(call.process),
                             .thread = static_cast<uint32_t>(call.thread),
                             .ns = NowNs()};
      },
      call.status.why());
}

void Census::AddTo(ControlReply* reply) const {
  things_.AddTo(reply);
  for (const contract::CallRow& row : contract::Calls()) {
    const OfCall& of = calls_[row.nr];
    if (of.count == 0) continue;
    ControlReply::Call* call = reply->add_calls();
    call->set_name(row.name);
    call->set_count(of.count);
    call->set_refused(of.refused);
  }
  reply->set_age_ns(NowNs() - start_ns_);
}

Census::Totals Census::totals() const {
  Totals totals{unknown_, unknown_};
  for (const OfCall& of : calls_) {
    totals.refused += of.refused;
    totals.calls += of.count;
  }
  return totals;
}

void Census::AddTo(ControlReply::Live* live) const {
  constexpr int kRefusalsMax = 64;
  live->set_has_guest(true);
  live->set_guest_ns(NowNs());
  const Totals all = totals();
  live->set_calls(all.calls);
  live->set_refused(all.refused);
  refusals_.AddTo(live, kRefusalsMax);
}

void Census::AddTotalsTo(ControlReply* reply) const {
  const Totals all = totals();
  auto add = [reply](const char* name, const char* metric, uint64_t value) {
    ControlReply::Count* count = reply->add_counts();
    count->set_name(name);
    count->set_metric(metric);
    count->set_value(value);
    count->set_only_grows(true);
  };
  add("calls", "calls", all.calls);
  add("refused calls", "refused_calls", all.refused);
}

}  // namespace dxg::guest
