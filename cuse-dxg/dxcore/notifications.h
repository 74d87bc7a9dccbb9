#pragma once

#include "cuse-dxg/dxcore/com.h"

// Callbacks of the factory. The driver tells a client nothing of this, so one thread looks four times a
// second, as long as something is registered. A child of fork() has no such thread, and its registrations
// stay silent.

namespace dxg::dxcore {

constexpr int kLookIntervalMs = 250;

// As the functions of the factory.
HResult RegisterNotification(IUnknown* object, Notification notification, Callback callback, void* context,
                             uint32_t* cookie);
HResult UnregisterNotification(uint32_t cookie);

// Ends the thread; for when the library is unloaded.
void StopNotifications();

// Its mutex, over fork().
void LockNotifications();
void UnlockNotifications(bool in_child);

}  // namespace dxg::dxcore
