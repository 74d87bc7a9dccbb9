#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "cuse-dxg/attach/node.h"
#include "cuse-dxg/client/access.h"
#include "cuse-dxg/client/event_file.h"
#include "cuse-dxg/guest/objects.h"
#include "cuse-dxg/guest/task.h"

// Sync files: descriptors that poll, select and epoll report as readable when a fence has reached a value.
// They are opens of the node that answer what a sync_file of the kernel's answers (linux/sync_file.h).

namespace dxg::guest {

class Driver;
class SyncFile;

class Process;
struct SyncObject;

// A fence that reaches a value, once. Files share it: those that were merged from one have it too.
class SyncFence : public std::enable_shared_from_this<SyncFence> {
 public:
  // By whose handle the host is asked.
  struct Source {
    std::weak_ptr<Process> process;
    std::shared_ptr<Device> device;
    uint32_t device_name = 0;  // as the caller named it
    std::shared_ptr<SyncObject> object;
    uint32_t object_name = 0;
  };

  SyncFence(Driver& driver, Source source, uint64_t value);
  ~SyncFence();

  // Has the host tell when the value is reached.
  Task Await();

  // 1: reached; 0: not yet; negative: an errno.
  int32_t status() const;
  uint64_t timestamp_ns() const;
  uint64_t value() const { return value_; }
  // Null: the object is private to its process.
  const std::shared_ptr<SharedSyncObject>& shared() const { return shared_; }
  // The name in what the kernel would tell: its context is a number of its own.
  uint64_t context() const { return context_; }

  void Watch(const std::shared_ptr<SyncFile>& file);

  bool has_descriptor = false;  // counts as one of the shared object; set while it is made, by one call

 private:
  class Event;

  void Happened();
  bool Reached() const;
  void End(int32_t status);

  Driver& driver_;
  const Source source_;
  const std::shared_ptr<SharedSyncObject> shared_;
  const uint64_t value_, context_;
  std::atomic<uint64_t> event_{0};  // of the driver's; removed with the fence
  mutable Mutex mutex_;
  int32_t status_ DXG_GUARDED_BY(mutex_) = 0;
  uint64_t timestamp_ns_ DXG_GUARDED_BY(mutex_) = 0;
  std::vector<std::weak_ptr<SyncFile>> files_ DXG_GUARDED_BY(mutex_);
};

// One sync file, however many descriptors lead to it. Ready when all of its fences are.
class SyncFile final : public SharedObject, public std::enable_shared_from_this<SyncFile> {
 public:
  static constexpr Kind kKind = Kind::kSyncFile;
  static constexpr size_t kFencesMax = 4096;
  static std::shared_ptr<SyncFile> Create(std::vector<std::shared_ptr<SyncFence>> fences, std::string name);

  // Of one fence, with the name that the kernel gives.
  static std::shared_ptr<SyncFile> Create(const std::shared_ptr<SyncFence>& fence);

  std::unique_ptr<OpenFile> Open(Driver& driver, std::shared_ptr<SharedObject> self) override;
  bool writable() const override { return false; }  // as the kernel's own

  const std::vector<std::shared_ptr<SyncFence>>& fences() const { return fences_; }
  const std::string& name() const { return name_; }
  int32_t status() const;
  // What of it is ready, and who wants to hear when that changes.
  uint32_t Poll(std::unique_ptr<attach::PollWaiter> waiter);
  void Wake();

 private:
  SyncFile(std::vector<std::shared_ptr<SyncFence>> fences, std::string name);

  const std::vector<std::shared_ptr<SyncFence>> fences_;
  const std::string name_;
  Mutex waiter_mutex_;
  std::unique_ptr<attach::PollWaiter> waiter_ DXG_GUARDED_BY(waiter_mutex_);
};

// SYNC_IOC_FILE_INFO and SYNC_IOC_MERGE, of any process that has the descriptor. Answers the request.
void SyncFileIoctl(Driver& driver, client::Access& access, std::unique_ptr<attach::IoctlRequest>& request,
                   std::shared_ptr<SyncFile> file);

}  // namespace dxg::guest
