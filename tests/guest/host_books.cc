#include "tests/guest/host_books.h"

#include <algorithm>
#include <vector>

#include "proto/dxg/host.pb.h"

namespace dxg::guest {
namespace {

// The request and the reply of that command; null where the call is another.
template <typename Command>
struct As {
  explicit As(const HostCall& call)
      : request(dynamic_cast<const typename Command::Request*>(call.request)),
        reply(dynamic_cast<const typename Command::Reply*>(call.reply)) {}
  explicit operator bool() const { return request != nullptr; }
  const typename Command::Request* request;
  const typename Command::Reply* reply;
};

constexpr uint32_t kMonitored = 5, kPeriodic = 6;  // types of CreateSyncObject that are the device's

}  // namespace

void HostBooks::Add(const char* kind, uint32_t handle, uint32_t owner) {
  if (handle != 0) objects_.emplace(handle, Object{kind, owner});
}

void HostBooks::End(const char* kind, uint32_t handle) {
  const auto [begin, end] = objects_.equal_range(handle);
  for (auto each = begin; each != end; ++each) {
    if (std::string(each->second.kind) != kind) continue;
    objects_.erase(each);
    break;
  }
  const auto [other, none] = objects_.equal_range(handle);
  if (std::any_of(other, none, [kind](const auto& each) { return std::string(each.second.kind) == kind; }))
    return;  // the other one of that number has what is left
  std::vector<std::pair<uint32_t, const char*>> owned;
  for (const auto& [child, object] : objects_) {
    if (object.owner == handle) owned.emplace_back(child, object.kind);
  }
  for (const auto& [child, its_kind] : owned) End(its_kind, child);
}

void HostBooks::NoteMemory(const HostCall& call) {
  if (const As<host::CreateAllocation> made(call); made) {
    const uint32_t resource = made.reply->resource() != 0 ? made.reply->resource() : made.request->resource();
    if (made.reply->resource() != 0) Add("resource", made.reply->resource(), made.request->device());
    for (const auto& each : made.reply->allocations())
      Add("allocation", each.allocation(), resource != 0 ? resource : made.request->device());
  }
  if (const As<host::OpenResource> opened(call); opened && opened.reply->status() >= 0) {
    Add("resource", opened.reply->resource(), opened.request->device());
    for (const uint32_t each : opened.reply->allocations()) Add("allocation", each, opened.reply->resource());
  }
  if (const As<host::DestroyAllocation> ended(call); ended) {
    // An empty resource that the guest takes back by its allocations lives on to the device's end, as the
    // driver leaves it.
    std::map<uint32_t, bool> owners;
    for (const uint32_t each : ended.request->allocations()) {
      if (const auto found = objects_.find(each); found != objects_.end()) owners[found->second.owner] = true;
      End("allocation", each);
    }
    if (ended.request->resource() != 0) End("resource", ended.request->resource());
    for (const auto& [owner, unused] : owners) {
      bool empty = true;
      for (const auto& [handle, object] : objects_) empty = empty && object.owner != owner;
      if (empty && ended.request->flags() != 0) End("resource", owner);
    }
  }
}

void HostBooks::NoteSync(const HostCall& call) {
  if (const As<host::CreateSyncObject> made(call); made) {
    const bool of_device = made.request->type() == kMonitored || made.request->type() == kPeriodic;
    Add("sync object", made.reply->sync_object(), of_device ? made.request->device() : 0);
  }
  if (const As<host::OpenSyncObject> opened(call); opened && opened.reply->status() >= 0)
    Add("sync object", opened.reply->sync_object(), opened.request->device());
  if (const As<host::DestroySyncObject> ended(call); ended) End("sync object", ended.request->sync_object());
  if (const As<host::CreateNtSharedObject> made(call); made) Add("name", made.reply->shared_handle(), 0);
  if (const As<host::DestroyNtSharedObject> ended(call); ended) End("name", ended.request->shared_handle());
}

void HostBooks::Note(const HostCall& call) {
  if (const As<host::CreateDevice> made(call); made) Add("device", made.reply->device(), 0);
  if (const As<host::DestroyDevice> ended(call); ended) End("device", ended.request->device());
  if (const As<host::CreateContextVirtual> made(call); made)
    Add("context", made.reply->context(), made.request->device());
  if (const As<host::DestroyContext> ended(call); ended) End("context", ended.request->context());
  if (const As<host::CreateHwQueue> made(call); made && made.reply->status() >= 0)
    Add("hardware queue", made.reply->hwqueue(), made.request->context());
  if (const As<host::DestroyHwQueue> ended(call); ended) End("hardware queue", ended.request->hwqueue());
  if (const As<host::CreatePagingQueue> made(call); made)
    Add("paging queue", made.reply->paging_queue(), made.request->device());
  if (const As<host::DestroyPagingQueue> ended(call); ended)
    End("paging queue", ended.request->paging_queue());
  NoteMemory(call);
  NoteSync(call);
}

std::map<std::string, size_t> HostBooks::Counts() const {
  std::map<std::string, size_t> counts;
  for (const auto& [handle, object] : objects_) ++counts[object.kind];
  return counts;
}

}  // namespace dxg::guest
