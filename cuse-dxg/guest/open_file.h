#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "cuse-dxg/attach/node.h"
#include "cuse-dxg/guest/objects.h"

namespace dxg::guest {

class Driver;
class SyncFile;

// An open description of the node, from Open to Release. The kernel names it in every request on it by a
// number, which is its address here.
class OpenFile {
 public:
  explicit OpenFile(Driver& driver) : driver(driver) {}
  virtual ~OpenFile() = default;
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  // Safety: the kernel sends no request on a file after its release.
  static OpenFile& Of(uint64_t number) { return *reinterpret_cast<OpenFile*>(number); }
  uint64_t number() const { return reinterpret_cast<uint64_t>(this); }

  // Takes the request and answers it, now or later. Where it throws bad_alloc, whatever was not taken is
  // still to be answered.
  virtual void Ioctl(std::unique_ptr<attach::IoctlRequest>& request) = 0;
  virtual uint32_t Poll(std::unique_ptr<attach::PollWaiter> /*waiter*/) { return attach::Node::kAlwaysReady; }
  // Its last descriptor is closed; it is deleted next.
  virtual void Released() = 0;
  // Tells apart the processes whose requests have turns; a descriptor that several may have has its own.
  virtual uint64_t process() const { return number(); }
  // What the descriptors lead to; null where they are a process's own.
  virtual std::shared_ptr<SharedObject> object() const { return nullptr; }

  // The process that opened it; 0 of descriptors that several may have.
  virtual pid_t pid() const { return 0; }

  Driver& driver;
  const uint64_t serial = ++last_serial_;  // no other file has it, of whichever driver

 private:
  inline static std::atomic<uint64_t> last_serial_{0};
};

// What ShareObjects gives for a sync object. It has no calls.
class SharedObjectFile : public OpenFile {
 public:
  SharedObjectFile(Driver& driver, std::shared_ptr<SharedObject> object)
      : OpenFile(driver), object_(std::move(object)) {}
  void Ioctl(std::unique_ptr<attach::IoctlRequest>& request) override;
  void Released() override;
  std::shared_ptr<SharedObject> object() const override { return object_; }

 private:
  const std::shared_ptr<SharedObject> object_;
};

// What ShareObjects gives for a resource: it can be exported (DXG_IOCTL_EXPORT).
class SharedResourceFile final : public SharedObjectFile {
 public:
  SharedResourceFile(Driver& driver, const std::shared_ptr<SharedResource>& resource)
      : SharedObjectFile(driver, resource), resource_(resource) {}
  void Ioctl(std::unique_ptr<attach::IoctlRequest>& request) override;

 private:
  const std::shared_ptr<SharedResource> resource_;
};

// What CreateSyncFile gives: a sync_file as the kernel's are.
class OpenSyncFile final : public SharedObjectFile {
 public:
  OpenSyncFile(Driver& driver, const std::shared_ptr<SyncFile>& sync_file);
  void Ioctl(std::unique_ptr<attach::IoctlRequest>& request) override;
  uint32_t Poll(std::unique_ptr<attach::PollWaiter> waiter) override;

 private:
  const std::shared_ptr<SyncFile> sync_file_;
};

}  // namespace dxg::guest
