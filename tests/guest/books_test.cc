// After a failure, count. Every call that makes something is made to fail at each of its steps: each command
// to the host is refused, each visit to the client, each word of what it writes cannot be written, each
// handle that the host names is in use, the device ends meanwhile. The books of the guest, of the client and
// of the host are then as they were.
#include <ostream>

#include "tests/guest/creating.h"

namespace dxg::guest {
namespace {

struct Case {
  const char* name;
  std::unique_ptr<Creating> (*make)(BooksTest& test);
};

template <typename T>
Case Of(const char* name) {
  return {name, [](BooksTest& test) -> std::unique_ptr<Creating> { return std::make_unique<T>(test); }};
}

void PrintTo(const Case& each, std::ostream* out) { *out << each.name; }

// The handles in an answer, one after the other. Those that the guest does not enter are left out.
template <typename Visit>
void ForEachHandle(const HostCall& call, Visit visit) {
  if (auto* device = dynamic_cast<host::CreateDevice::Reply*>(call.reply))
    visit([=](uint32_t with) { device->set_device(with); });
  if (auto* context = dynamic_cast<host::CreateContextVirtual::Reply*>(call.reply))
    visit([=](uint32_t with) { context->set_context(with); });
  if (auto* queue = dynamic_cast<host::CreatePagingQueue::Reply*>(call.reply)) {
    visit([=](uint32_t with) { queue->set_paging_queue(with); });
    visit([=](uint32_t with) { queue->set_sync_object(with); });
  }
  if (auto* queue = dynamic_cast<host::CreateHwQueue::Reply*>(call.reply)) {
    visit([=](uint32_t with) { queue->set_hwqueue(with); });
    visit([=](uint32_t with) { queue->set_progress_fence(with); });
  }
  if (auto* made = dynamic_cast<host::CreateSyncObject::Reply*>(call.reply))
    visit([=](uint32_t with) { made->set_sync_object(with); });
  if (auto* opened = dynamic_cast<host::OpenSyncObject::Reply*>(call.reply))
    visit([=](uint32_t with) { opened->set_sync_object(with); });
  if (auto* made = dynamic_cast<host::CreateAllocation::Reply*>(call.reply)) {
    if (made->resource() != 0) visit([=](uint32_t with) { made->set_resource(with); });
    for (int i = 0; i < made->allocations_size(); ++i)
      visit([=](uint32_t with) { made->mutable_allocations(i)->set_allocation(with); });
  }
  if (auto* opened = dynamic_cast<host::OpenResource::Reply*>(call.reply)) {
    visit([=](uint32_t with) { opened->set_resource(with); });
    for (int i = 0; i < opened->allocations_size(); ++i)
      visit([=](uint32_t with) { opened->set_allocations(i, with); });
  }
}

// The host refuses the n-th command that has a status. False: there are fewer.
bool SetStatus(const HostCall& call, int32_t status) {
  const auto set = [status](auto* reply) {
    if (reply != nullptr) reply->set_status(status);
    return reply != nullptr;
  };
  return set(dynamic_cast<host::CreateHwQueue::Reply*>(call.reply)) ||
         set(dynamic_cast<host::SetExistingSysmemStore::Reply*>(call.reply)) ||
         set(dynamic_cast<host::OpenSyncObject::Reply*>(call.reply)) ||
         set(dynamic_cast<host::OpenResource::Reply*>(call.reply)) ||
         set(dynamic_cast<host::WaitForSyncObjectFromCpu::Reply*>(call.reply));
}

class AfterAFailure : public BooksTest, public testing::WithParamInterface<Case> {
 protected:
  AfterAFailure() : creating(GetParam().make(*this)) { baseline = Count(); }

  // One try with something wrong; with what came to be all the same it ends, too.
  void Try(const std::string& what, const std::function<void()>& spoil, bool host_may_keep = false) {
    Books before = Count();
    spoil();
    const int32_t result = creating->Make();
    access.unwritable.clear();
    host.refuse.clear();
    change_answer = nullptr;
    delivery.before_step = nullptr;
    delivery.refuse_step = delivery.refuse_enter = 0;
    delivery.kill_after_answer = false;
    if (result >= 0) creating->Unmake();
    Books after = Count();
    if (host_may_keep) before.host = after.host;
    EXPECT_EQ(after, before) << what << ": result " << result;
  }

  Books baseline;
  std::unique_ptr<Creating> creating;
};

TEST_P(AfterAFailure, NothingIsLeftWhereAWordCannotBeWritten) {
  creating->Prepare();
  for (const auto place : creating->written) {
    for (size_t at = 0; at < place.size(); at += 4) {
      Try(fmt::format("byte {} of {}", at, place.size()),
          [&] { access.unwritable = {reinterpret_cast<uint64_t>(place.data() + at)}; });
    }
  }
  creating->Forget();
  EXPECT_EQ(Count(), baseline);
}

TEST_P(AfterAFailure, NothingIsLeftWhereACommandIsRefused) {
  creating->Prepare();
  host.asked.clear();
  ASSERT_EQ(creating->Make(), 0);
  const auto asked = host.asked;
  creating->Unmake();
  for (const auto& command : asked) Try(command, [&] { host.refuse = {command}; });
  for (size_t nth = 1;; ++nth) {
    size_t seen_so_far = 0;
    Try(fmt::format("status {}", nth), [&] {
      change_answer = [&](const HostCall& call) {
        if (SetStatus(call, 0) && ++seen_so_far == nth) SetStatus(call, static_cast<int32_t>(0xc0000022));
      };
    });
    if (seen_so_far < nth) break;
  }
  creating->Forget();
  EXPECT_EQ(Count(), baseline);
}

// Each allocation of memory in turn fails: the call is refused for that, and the same one works next. To undo
// all of it may need memory too, so what is left is left to the end of the process, which the fixture looks
// at.
TEST_P(AfterAFailure, MemoryThatRunsOutRefusesThatCallAlone) {
  names_may_stay = true;
  creating->Prepare();
  ASSERT_EQ(creating->Make(), 0);  // what is made once is there
  creating->Unmake();
  for (uint64_t nth = 1; nth < 10'000; ++nth) {
    fail_allocation = nth;
    const int32_t result = creating->Make();
    fail_allocation = 0;
    const bool over = allocations_of_call < nth;
    if (result >= 0) creating->Unmake();
    // A descriptor that cannot be made is ENOTRECOVERABLE in the driver, whatever the reason.
    EXPECT_TRUE(result == 0 || result == -ENOMEM || result == -ENOTRECOVERABLE) << nth << ": " << result;
    ASSERT_EQ(creating->Make(), 0) << "after allocation " << nth;
    creating->Unmake();
    if (over || HasFailure()) break;
  }
  creating->Forget();
}

TEST_P(AfterAFailure, NothingIsLeftWhereTheClientCannotBeVisited) {
  creating->Prepare();
  const bool kept = creating->host_keeps_what_is_not_shown();
  Try(
      "way in", [&] { delivery.refuse_enter = EPERM; }, kept);
  Try(
      "killed on the way", [&] { delivery.kill_after_answer = true; }, kept);
  for (int nth = 1;; ++nth) {
    int visits = 0;
    std::function<void()> step = [&] {
      if (++visits == nth) delivery.refuse_step = EMFILE;
      delivery.before_step = step;
    };
    Try(
        fmt::format("visit {}", nth), [&] { delivery.before_step = step; }, kept);
    if (visits < nth) break;
  }
  creating->Forget();
  Books at_the_end = Count();
  if (kept) at_the_end.host = baseline.host;
  EXPECT_EQ(at_the_end, baseline);
}

TEST_P(AfterAFailure, NothingIsLeftWhereThePageIsNowhere) {
  creating->Prepare();
  const uint64_t page = host.next_lock;
  Try(
      "page", [&] { host.next_lock = 0x1000; }, creating->host_keeps_what_is_not_shown());
  host.next_lock = page;
}

TEST_P(AfterAFailure, NothingIsLeftWhereAHandleCannotBeEntered) {
  creating->Prepare();
  constexpr uint32_t kIndexTooBig = 0xffffffc0;
  for (const uint32_t bad : {bystander, kIndexTooBig}) {
    for (size_t nth = 1;; ++nth) {
      size_t handles = 0;
      Try(fmt::format("handle {} is {:#x}", nth, bad), [&] {
        change_answer = [&](const HostCall& call) {
          ForEachHandle(call, [&](const auto& set) {
            if (++handles == nth) set(bad);
          });
        };
      });
      if (handles < nth) break;
    }
  }
  EXPECT_EQ(process().TypeOf(bystander), HandleType::kSyncObject);
  creating->Forget();
  EXPECT_EQ(Count(), baseline);
}

TEST_P(AfterAFailure, NothingIsLeftWhereTheDeviceEndsMeanwhile) {
  creating->Prepare();
  host.asked.clear();
  ASSERT_EQ(creating->Make(), 0);
  const auto asked = host.asked;
  creating->Unmake();
  creating->Forget();
  for (const auto& command : asked) {
    creating = GetParam().make(*this);
    creating->Prepare();
    end_device_after = command;
    const int32_t result = creating->Make();
    EXPECT_TRUE(end_device_after.empty());
    if (result >= 0) creating->Unmake();
    creating->Forget();
    EXPECT_EQ(process().TypeOf(device), HandleType::kFree);
    MakeDevice();
    EXPECT_EQ(Count(), baseline) << command << ": result " << result;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Calls, AfterAFailure,
    testing::Values(
        Of<OpensAdapter>("OpenAdapterFromLuid"), Of<Enumerates2>("EnumAdapters2"),
        Of<Enumerates3>("EnumAdapters3"), Of<CreatesDevice>("CreateDevice"),
        Of<CreatesContext>("CreateContextVirtual"), Of<CreatesPlain>("CreateAllocation"),
        Of<CreatesResource>("CreateAllocationResource"), Of<CreatesShared>("CreateAllocationShared"),
        Of<CreatesMore>("CreateAllocationMore"), Of<CreatesOfClientMemory>("CreateAllocationOfClientMemory"),
        Of<CreatesPagingQueue>("CreatePagingQueue"), Of<CreatesHwQueue>("CreateHwQueue"),
        Of<CreatesFence>("CreateFence"), Of<CreatesPeriodicFence>("CreatePeriodicFence"),
        Of<CreatesSharedFence>("CreateSharedFence"), Of<CreatesNotification>("CreateNotification"),
        Of<CreatesMutex>("CreateMutex"), Of<SharesResource>("ShareResource"), Of<SharesFence>("ShareFence"),
        Of<OpensFence>("OpenSyncObjectFromNtHandle2"), Of<OpensResource>("OpenResourceFromNtHandle"),
        Of<CreatesPrivateSyncFile>("CreateSyncFile"), Of<CreatesSharedSyncFile>("CreateSyncFileShared"),
        Of<OpensFenceOfSyncFile>("OpenSyncObjectFromSyncFile"), Of<WaitsWithEventfd>("WaitWithEventfd")),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace dxg::guest
