#include "cuse-dxg/guest/open_file.h"

#include "cuse-dxg/guest/calls/sync_file.h"
#include "cuse-dxg/guest/driver.h"
#include "cuse-dxg/guest/export.h"
#include "cuse-dxg/guest/teardown.h"
#include "proto/abi/dxg_export.h"

namespace dxg::guest {

void SharedObjectFile::Ioctl(std::unique_ptr<attach::IoctlRequest>& request) {
  driver.ServeCall(nullptr, request);
}

void SharedObjectFile::Released() { DropDescriptor(driver.host(), object_).Start(nullptr); }

void SharedResourceFile::Ioctl(std::unique_ptr<attach::IoctlRequest>& request) {
  if (request->code() != DXG_IOCTL_EXPORT) return SharedObjectFile::Ioctl(request);
  Export(driver, driver.access(), request, resource_);
}

OpenSyncFile::OpenSyncFile(Driver& driver, const std::shared_ptr<SyncFile>& sync_file)
    : SharedObjectFile(driver, sync_file), sync_file_(sync_file) {}

void OpenSyncFile::Ioctl(std::unique_ptr<attach::IoctlRequest>& request) {
  SyncFileIoctl(driver, driver.access(), request, sync_file_);
}

uint32_t OpenSyncFile::Poll(std::unique_ptr<attach::PollWaiter> waiter) {
  return sync_file_->Poll(std::move(waiter));
}

// -- Which object has which file ------------------------------------------------------------------

std::unique_ptr<OpenFile> SharedSyncObject::Open(Driver& driver, std::shared_ptr<SharedObject> self) {
  return std::make_unique<SharedObjectFile>(driver, std::move(self));
}

std::unique_ptr<OpenFile> SharedResource::Open(Driver& driver, std::shared_ptr<SharedObject> self) {
  return std::make_unique<SharedResourceFile>(driver, std::static_pointer_cast<SharedResource>(self));
}

std::unique_ptr<OpenFile> SyncFile::Open(Driver& driver, std::shared_ptr<SharedObject> self) {
  return std::make_unique<OpenSyncFile>(driver, std::static_pointer_cast<SyncFile>(self));
}

}  // namespace dxg::guest
