#include "cuse-dxg/dxcore/notifications.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include <new>

#include "cuse-dxg/dxcore/adapter.h"
#include "cuse-dxg/dxcore/adapter_list.h"

namespace dxg::dxcore {
namespace {

struct Registration {
  uint32_t cookie;
  IUnknown* object;  // with a reference
  Notification notification;
  Callback callback;
  void* context;
  Registration* next = nullptr;
  bool is_over = false;  // it is called no more: once is enough, or it is unregistered
  bool is_new = true;    // some are called at once, whatever there is
  bool is_left =
      false;  // its own callback unregistered it, and could not wait for itself: the thread frees it
  uint64_t budgets[2] = {};  // that the callback was told of; the thread's
};

pthread_mutex_t registrations_mutex = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
// Guarded by registrations_mutex.
Registration* registrations = nullptr;
Registration* called = nullptr;  // the thread looks at it or calls it
uint32_t last_cookie = 0;
pthread_t thread;
bool has_thread = false, stopping = false;

// Whether the object has what its callback waits for. Without the mutex: it asks the driver.
bool HasHappened(Registration* registration, bool is_new) {
  switch (registration->notification) {
    case Notification::kListStale:
      return static_cast<AdapterList*>(static_cast<IAdapterList*>(registration->object))->IsStale();
    case Notification::kNoLongerValid:
      return !static_cast<IAdapter*>(registration->object)->IsValid();
    case Notification::kContentProtectionTeardown:
      return is_new;
    case Notification::kBudgetChange:
      break;
  }
  const Adapter* const adapter = static_cast<Adapter*>(static_cast<IAdapter1*>(registration->object));
  bool differs = is_new;
  for (uint32_t group = 0; group < 2; ++group) {
    Budget budget = {};
    if (adapter->GetBudget(group, &budget) != kOk) continue;
    differs |= budget.budget != registration->budgets[group];
    registration->budgets[group] = budget.budget;
  }
  return differs;
}

Registration* Find(uint32_t cookie) {
  for (Registration* each = registrations; each; each = each->next) {
    if (each->cookie == cookie) return each;
  }
  return nullptr;
}

// The one with the next cookie, so that a pass sees each once, whatever a callback does to the list.
Registration* After(uint32_t cookie) {
  Registration* best = nullptr;
  for (Registration* each = registrations; each; each = each->next) {
    if (each->cookie > cookie && !each->is_over && (!best || each->cookie < best->cookie)) best = each;
  }
  return best;
}

void Unlink(Registration* registration) {
  Registration** at = &registrations;
  while (*at != registration) at = &(*at)->next;
  *at = registration->next;
}

// With the mutex, which it lets go of meanwhile.
void LookAt(Registration* registration) {
  const bool is_new = registration->is_new;
  registration->is_new = false;
  called = registration;
  pthread_mutex_unlock(&registrations_mutex);
  const bool has_happened = HasHappened(registration, is_new);
  if (has_happened)
    registration->callback(registration->notification, registration->object, registration->context);
  pthread_mutex_lock(&registrations_mutex);
  called = nullptr;
  const bool is_once = registration->notification == Notification::kListStale ||
                       registration->notification == Notification::kNoLongerValid;
  if (registration->is_left) {
    pthread_mutex_unlock(&registrations_mutex);
    registration->object->Release();
    free(registration);
    pthread_mutex_lock(&registrations_mutex);
  } else if (has_happened && is_once) {
    registration->is_over = true;
  }
  pthread_cond_broadcast(&changed);
}

timespec NextLook() {
  timespec when;
  clock_gettime(CLOCK_MONOTONIC, &when);
  when.tv_nsec += kLookIntervalMs * 1000000L;
  when.tv_sec += when.tv_nsec / 1000000000L;
  when.tv_nsec %= 1000000000L;
  return when;
}

void* Run(void*) {
  pthread_mutex_lock(&registrations_mutex);
  while (!stopping) {
    uint32_t cookie = 0;
    while (Registration* const next = After(cookie)) {
      cookie = next->cookie;
      LookAt(next);
      if (stopping) break;
    }
    if (stopping) break;
    const timespec when = NextLook();
    pthread_cond_clockwait(&changed, &registrations_mutex, CLOCK_MONOTONIC, &when);
  }
  pthread_mutex_unlock(&registrations_mutex);
  return nullptr;
}

// With the mutex. Signals are the program's.
bool StartThread() {
  if (has_thread) return true;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  has_thread = pthread_create(&thread, nullptr, Run, nullptr) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return has_thread;
}

bool Fits(IUnknown* object, Notification notification) {
  void* found = nullptr;
  const Guid& iid = notification == Notification::kListStale ? kIAdapterList : kIAdapter;
  if (object->QueryInterface(iid, &found) != kOk) return false;
  static_cast<IUnknown*>(found)->Release();
  return found == object;  // one of ours
}

}  // namespace

HResult RegisterNotification(IUnknown* object, Notification notification, Callback callback, void* context,
                             uint32_t* cookie) {
  if (!cookie) return kNullPointer;
  *cookie = 0;
  if (notification > Notification::kContentProtectionTeardown) return kInvalidCall;
  if (!callback) return kNullPointer;
  if (!object || !Fits(object, notification)) return kInvalidArgument;
  void* const memory = malloc(sizeof(Registration));
  if (!memory) return kOutOfMemory;
  object->AddRef();
  const Lock lock(&registrations_mutex);
  auto* const made = new (memory) Registration{++last_cookie, object, notification, callback, context};
  if (!StartThread()) {
    free(memory);
    object->Release();
    return kOutOfMemory;
  }
  *cookie = made->cookie;
  made->next = registrations;
  registrations = made;
  pthread_cond_broadcast(&changed);
  return kOk;
}

HResult UnregisterNotification(uint32_t cookie) {
  pthread_mutex_lock(&registrations_mutex);
  Registration* const registration = Find(cookie);
  if (!registration) {
    pthread_mutex_unlock(&registrations_mutex);
    return kInvalidArgument;
  }
  Unlink(registration);
  const bool is_callback = called == registration && has_thread && pthread_equal(thread, pthread_self());
  while (!is_callback && called == registration) pthread_cond_wait(&changed, &registrations_mutex);
  registration->is_left = is_callback;
  pthread_mutex_unlock(&registrations_mutex);
  if (is_callback) return kOk;
  registration->object->Release();
  free(registration);
  return kOk;
}

void StopNotifications() {
  pthread_mutex_lock(&registrations_mutex);
  const bool join = has_thread;
  stopping = true;
  has_thread = false;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&registrations_mutex);
  if (join && !pthread_equal(thread, pthread_self())) pthread_join(thread, nullptr);
}

void LockNotifications() { pthread_mutex_lock(&registrations_mutex); }

void UnlockNotifications(bool in_child) {
  if (in_child) {
    has_thread = false;
    called = nullptr;
    pthread_cond_t fresh = PTHREAD_COND_INITIALIZER;
    changed = fresh;
  }
  pthread_mutex_unlock(&registrations_mutex);
}

}  // namespace dxg::dxcore
