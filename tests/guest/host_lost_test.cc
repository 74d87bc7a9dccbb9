// The host is lost: what waited for it goes on, and no fence keeps anybody waiting.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "base/page.h"
#include "base/unique_fd.h"
#include "tests/guest/rig.h"

namespace dxg::guest {
namespace {

constexpr uint64_t kRaised = ~0ull;

// Fences of every kind, each on a page of its own of the host's memory.
class HostLostTest : public FenceTest {
 protected:
  static constexpr size_t kPage = kPageBytes, kWords = 1 << 17;

  HostLostTest() : memory_(memfd_create("host memory", MFD_CLOEXEC)) {
    EXPECT_EQ(ftruncate(memory_.get(), kWords * sizeof(uint64_t)), 0);
    host.regions.begin()->second.file = memory_.get();
    context_.device.v = device;
    EXPECT_EQ(Call(file, 100, LX_DXCREATECONTEXTVIRTUAL, &context_), 0);
    fence_.device.v = periodic_.device.v = paging_queue_.device.v = device;
    fence_.info.type = _D3DDDI_MONITORED_FENCE;
    periodic_.info.type = _D3DDDI_PERIODIC_MONITORED_FENCE;
    hw_queue_.context = context_.context;
  }

  // Starts to create them all; what is held is answered by Answer.
  void StartAll() {
    calls_ = {StartCall(file, 100, LX_DXCREATESYNCHRONIZATIONOBJECT, &fence_),
              StartCall(file, 100, LX_DXCREATESYNCHRONIZATIONOBJECT, &periodic_),
              StartCall(file, 100, LX_DXCREATEPAGINGQUEUE, &paging_queue_),
              StartCall(file, 100, LX_DXCREATEHWQUEUE, &hw_queue_)};
    ASSERT_EQ(host.held(), calls_.size());
  }
  void AnswerAll() {
    for (const auto& call : calls_) {
      host.next_lock += kPage;
      pages_.push_back(host.next_lock - host.regions.begin()->first);
      host.ReleaseOne();
      EXPECT_EQ(call->Wait(), 0);
    }
  }
  // Every word of the host's memory.
  std::vector<uint64_t> Memory() {
    std::vector<uint64_t> words(kWords);
    const auto bytes = static_cast<ssize_t>(kWords * sizeof(uint64_t));
    EXPECT_EQ(pread(memory_.get(), words.data(), bytes, 0), bytes);
    return words;
  }
  // The fences are raised, and nothing else is written.
  std::vector<uint64_t> OnlyFencesRaised() {
    std::vector<uint64_t> words(kWords);
    for (const uint64_t page : pages_) words[page / sizeof(uint64_t)] = kRaised;
    return words;
  }

  const std::set<std::string> creations_ = {"CREATESYNCOBJECT", "CREATEPAGINGQUEUE", "CREATEHWQUEUE"};

 private:
  UniqueFd memory_;
  d3dkmt_createcontextvirtual context_{};
  d3dkmt_createsynchronizationobject2 fence_{}, periodic_{};
  d3dkmt_createpagingqueue paging_queue_{};
  d3dkmt_createhwqueue hw_queue_{};
  std::vector<std::shared_ptr<Outcome>> calls_;
  std::vector<uint64_t> pages_;  // offsets in the host's memory
};

TEST_F(HostLostTest, RaisesEachFence) {
  host.hold = creations_;
  StartAll();
  AnswerAll();
  EXPECT_EQ(Memory(), std::vector<uint64_t>(kWords));
  driver.HostLost();
  EXPECT_EQ(Memory(), OnlyFencesRaised());
}

TEST_F(HostLostTest, RaisesTheFencesThatAreBeingMade) {
  host.hold = creations_;
  StartAll();
  driver.HostLost();
  AnswerAll();
  EXPECT_EQ(Memory(), OnlyFencesRaised());
}

TEST_F(HostLostTest, IsAChangeOfState) {
  driver.HostLost();
  HostAdapter next;
  next.luid = kLuid;
  next.address = 8;
  driver.AdapterArrived(next);
  d3dkmt_getdevicestate args{};
  args.device.v = CreateDevice(file, 100, OpenAdapter(file, 100));
  args.state_type = _D3DKMT_DEVICESTATE_EXECUTION;
  for (int i = 0; i < 2; ++i) EXPECT_EQ(Call(file, 100, LX_DXGETDEVICESTATE, &args), 0);
  EXPECT_EQ(std::count(host.asked.begin(), host.asked.end(), "GETDEVICESTATE"), 1);
}

TEST(EventTable, AllHappenOnce) {
  EventTable events;
  const Process process{client::Identity{}};
  const auto once = std::make_shared<CountingFile>(), always = std::make_shared<CountingFile>();
  const uint64_t first = events.Add(process, once, EventTable::Lifetime::kOnce);
  const uint64_t second = events.Add(process, always, EventTable::Lifetime::kUntilRemoved);
  for (int i = 0; i < 2; ++i) {
    events.AllHappen();
    events.Happened(first);
    events.Happened(second);
  }
  EXPECT_EQ(once->count, 1);
  EXPECT_EQ(always->count, 1);
  EXPECT_EQ(events.size(), 0u);
  EXPECT_EQ(once.use_count(), 1) << "let go";
  EXPECT_EQ(always.use_count(), 1) << "let go";
}

}  // namespace
}  // namespace dxg::guest
