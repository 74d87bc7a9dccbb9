#include "cuse-dxg/trace/objects.h"

#include <fmt/format.h>

#include <algorithm>

#include "cuse-dxg/trace/fields.h"

namespace dxg::trace {
namespace {

constexpr const char* kAdapter = "adapter";

// CreateAllocation gives it back as it came.
bool IsNoObject(const std::string& field) { return field == "global_share"; }

// "adapter_handle" is an adapter, "objects" are objects.
std::string KindOf(const std::string& field) {
  for (const char* const ending : {"_handle", "s"}) {
    if (field.ends_with(ending) && field.size() > std::string_view(ending).size())
      return field.substr(0, field.size() - std::string_view(ending).size());
  }
  return field;
}

const char* EndText(Objects::End end) {
  constexpr const char* kTexts[] = {"never destroyed", "destroyed", "with its owner", "its process ended"};
  return kTexts[static_cast<size_t>(end)];
}

bool IsLeft(const Objects::Object& object) {
  return object.end == Objects::End::kNone || object.end == Objects::End::kProcessEnded;
}

}  // namespace

void Objects::Add(const TraceRecord& record, const Decoder& decoder, uint64_t number) {
  if (record.has_open() && !record.open().shared() && record.result() == 0) {
    ++files_[record.pid()];
    file_of_[record.open().file()] = record.pid();
  } else if (record.has_close()) {
    const auto found = file_of_.find(record.close().file());
    if (found == file_of_.end()) return;
    const uint32_t pid = found->second;
    file_of_.erase(found);
    if (--files_[pid] == 0) EndOfProcess(pid);
  } else if (record.has_call()) {
    const guest::CallReport& call = decoder.call();
    if (call.row == nullptr || call.request == nullptr || call.reply == nullptr || !call.status->ok()) return;
    const std::string_view name = call.row->name;
    if (name.starts_with("Destroy") || name.starts_with("Close")) return Destroy(call);
    Create(call, number);
  }
}

void Objects::Create(const guest::CallReport& call, uint64_t number) {
  const auto pid = static_cast<uint32_t>(call.pid);
  std::vector<size_t> owners;
  for (const HandleField& named : HandlesOf(call.request, *call.request)) {
    const auto found = living_.find({pid, named.of_adapter, named.value});
    if (found != living_.end() && std::ranges::find(owners, found->second) == owners.end())
      owners.push_back(found->second);
  }
  bool first = true;
  for (const HandleField& made : HandlesOf(call.reply, *call.request)) {
    if (IsNoObject(made.name) || living_.contains({pid, made.of_adapter, made.value})) continue;
    if (objects_.size() == kObjectsMax) {
      ++left_out_;
      continue;
    }
    const size_t index = objects_.size();
    objects_.push_back({.pid = pid,
                        .handle = made.value,
                        .kind = KindOf(made.name),
                        .call = call.row->name,
                        .record = number,
                        .begin_ns = call.begin_ns,
                        .owners = owners,
                        .ended_by = {}});
    living_[{pid, made.of_adapter, made.value}] = index;
    for (const size_t owner : owners) owned_[owner].push_back(index);
    // What comes with it ends with it: a queue's fence, a resource's allocations.
    if (first && !made.in_list) owners.push_back(index);
    first = false;
  }
}

// A device beside other handles is where they are, and not what ends.
void Objects::Destroy(const guest::CallReport& call) {
  const std::vector<HandleField> named = HandlesOf(call.request, *call.request);
  for (const HandleField& handle : named) {
    if (handle.name == "device" && named.size() > 1) continue;
    const auto found = living_.find({static_cast<uint32_t>(call.pid), handle.of_adapter, handle.value});
    if (found != living_.end()) EndOf(found->second, End::kDestroyed, call.row->name);
  }
}

void Objects::EndOf(size_t index, End end, const std::string& by) {
  std::vector<std::pair<size_t, End>> left{{index, end}};
  while (!left.empty()) {
    const auto [next, how] = left.back();
    left.pop_back();
    Object& object = objects_[next];
    if (object.end != End::kNone) continue;
    object.end = how;
    object.ended_by = by;
    living_.erase({object.pid, object.kind == kAdapter, object.handle});
    const auto owned = owned_.find(next);
    if (owned == owned_.end()) continue;
    // An adapter that is closed leaves what was made with it.
    if (object.kind != kAdapter) {
      for (const size_t one : owned->second) left.emplace_back(one, End::kWithOwner);
    }
    owned_.erase(owned);
  }
}

void Objects::EndOfProcess(uint32_t pid) {
  for (auto each = living_.lower_bound({pid, false, 0});
       each != living_.end() && std::get<0>(each->first) == pid;) {
    objects_[each->second].end = End::kProcessEnded;
    each = living_.erase(each);
  }
}

std::string Objects::Text(bool all, uint64_t begin_ns) const {
  std::string text = fmt::format("{:<10}{:<24}{:<14}{:<32}{:>10}{:>14}  {}\n", "process", "object", "handle",
                                 "made by", "record", "at s", "end");
  uint64_t left = 0;
  for (const Object& object : objects_) {
    left += IsLeft(object);
    if (!all && !IsLeft(object)) continue;
    const double at_s =
        object.begin_ns > begin_ns ? static_cast<double>(object.begin_ns - begin_ns) / 1e9 : 0;
    text += fmt::format("{:<10}{:<24}{:<#14x}{:<32}{:>10}{:>14.6f}  {}{}{}\n", object.pid, object.kind,
                        object.handle, object.call, object.record, at_s, EndText(object.end),
                        object.ended_by.empty() ? "" : ", by ", object.ended_by);
  }
  text += fmt::format("{} objects, of which {} were never destroyed\n", objects_.size(), left);
  if (left_out_ != 0) text += fmt::format("and {} that there was no room for\n", left_out_);
  return text;
}

std::string Objects::Dot() const {
  std::string text = "digraph objects {\n  rankdir=LR;\n  node [shape=box, fontname=monospace];\n";
  for (size_t i = 0; i < objects_.size(); ++i) {
    const Object& object = objects_[i];
    text += fmt::format("  o{} [label=\"{} {:#x}\\n{}, process {}\"{}];\n", i, object.kind, object.handle,
                        object.call, object.pid, IsLeft(object) ? ", style=filled, fillcolor=orange" : "");
    for (const size_t owner : object.owners) text += fmt::format("  o{} -> o{};\n", owner, i);
  }
  return text + "}\n";
}

}  // namespace dxg::trace
