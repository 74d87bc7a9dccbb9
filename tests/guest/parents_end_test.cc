// A parent's end frees every name that its client ever had: each is looked up, and its number is used again.
#include <algorithm>

#include "tests/guest/creating.h"

namespace dxg::guest {
namespace {

// Everything that hangs off a device; the handles are taken from the host's answers.
class ParentsEnd : public BooksTest {
 protected:
  ParentsEnd() {
    change_answer = [this](const HostCall& call) { Remember(call); };
    const auto make = [this](auto creating) {
      creating->Prepare();
      EXPECT_EQ(creating->Make(), 0);
      return creating;
    };
    make(std::make_unique<CreatesPlain>(*this));
    resource = make(std::make_unique<CreatesResource>(*this))->args.resource.v;
    shared_resource = make(std::make_unique<OpensResource>(*this))->args.resource.v;
    paging_queue = make(std::make_unique<CreatesPagingQueue>(*this))->args.paging_queue.v;
    hw_queue = make(std::make_unique<CreatesHwQueue>(*this))->args.queue.v;
    make(std::make_unique<CreatesHwQueue>(*this));
    make(std::make_unique<CreatesFence>(*this));
    make(std::make_unique<CreatesPeriodicFence>(*this));
    make(std::make_unique<OpensFence>(*this));
    context_of_queues = context;
    MakeContext();
    change_answer = nullptr;
  }

  void MakeContext() {
    d3dkmt_createcontextvirtual made{};
    made.device.v = device;
    ASSERT_EQ(Call(file, 100, LX_DXCREATECONTEXTVIRTUAL, &made), 0);
    context = made.context.v;
  }
  void Remember(const HostCall& call) {
    const auto note = [this](std::initializer_list<uint32_t> handles, const std::string& parent) {
      for (const uint32_t handle : handles) {
        if (handle != 0) names[parent].push_back(handle);
      }
    };
    if (auto* made = dynamic_cast<host::CreateContextVirtual::Reply*>(call.reply))
      note({made->context()}, "device");
    if (auto* queue = dynamic_cast<host::CreatePagingQueue::Reply*>(call.reply))
      note({queue->paging_queue(), queue->sync_object()}, "paging queue");
    if (auto* queue = dynamic_cast<host::CreateHwQueue::Reply*>(call.reply)) {
      note({queue->hwqueue(), queue->progress_fence()},
           names.contains("hardware queue") ? "context" : "hardware queue");
    }
    if (auto* made = dynamic_cast<host::CreateSyncObject::Reply*>(call.reply))
      note({made->sync_object()}, "device");
    if (auto* opened = dynamic_cast<host::OpenSyncObject::Reply*>(call.reply))
      note({opened->sync_object()}, "device");
    if (auto* made = dynamic_cast<host::CreateAllocation::Reply*>(call.reply)) {
      const std::string parent = made->resource() != 0 && !names.contains("resource") ? "resource" : "device";
      note({made->resource()}, parent);
      for (const auto& each : made->allocations()) note({each.allocation()}, parent);
    }
    if (auto* opened = dynamic_cast<host::OpenResource::Reply*>(call.reply)) {
      note({opened->resource()}, "opened resource");
      for (const uint32_t each : opened->allocations()) note({each}, "opened resource");
    }
  }
  // None of them means anything, all others do, and each number can be given out again.
  void AllFree(const std::vector<std::string>& parents) {
    for (const auto& [parent, handles] : names) {
      const bool ended = std::find(parents.begin(), parents.end(), parent) != parents.end();
      for (const uint32_t handle : handles) {
        EXPECT_EQ(process().TypeOf(handle) == HandleType::kFree, ended)
            << std::hex << handle << " of the " << parent;
        EXPECT_FALSE(ended && process().IsMonitored(handle).ok()) << std::hex << handle;
      }
    }
    if (process().TypeOf(device) == HandleType::kFree) {
      adapter = OpenAdapter(file, 100);
      MakeDevice();
    }
    for (const auto& parent : parents) {
      for (const uint32_t handle : names[parent]) EXPECT_EQ(MakeMutex(handle), handle);
    }
  }
  const std::vector<std::string> all = {"device",         "context",  "paging queue",
                                        "hardware queue", "resource", "opened resource"};

  std::map<std::string, std::vector<uint32_t>> names;  // by the parent that the test ends
  uint32_t resource = 0, shared_resource = 0, paging_queue = 0, hw_queue = 0, context_of_queues = 0;
};

TEST_F(ParentsEnd, OfAHardwareQueue) {
  d3dkmt_destroyhwqueue args{{.v = hw_queue}};
  ASSERT_EQ(Call(file, 100, LX_DXDESTROYHWQUEUE, &args), 0);
  AllFree({"hardware queue"});
}

TEST_F(ParentsEnd, OfAPagingQueue) {
  d3dddi_destroypagingqueue args{{.v = paging_queue}};
  ASSERT_EQ(Call(file, 100, LX_DXDESTROYPAGINGQUEUE, &args), 0);
  AllFree({"paging queue"});
}

TEST_F(ParentsEnd, OfAContext) {
  d3dkmt_destroycontext args{};
  args.context.v = context_of_queues;
  ASSERT_EQ(Call(file, 100, LX_DXDESTROYCONTEXT, &args), 0);
  EXPECT_EQ(process().TypeOf(context_of_queues), HandleType::kFree);
  AllFree({"context", "hardware queue"});
}

TEST_F(ParentsEnd, OfAResource) {
  for (const uint32_t each : {resource, shared_resource}) {
    d3dkmt_destroyallocation2 args{};
    args.device.v = device;
    args.resource.v = each;
    ASSERT_EQ(Call(file, 100, LX_DXDESTROYALLOCATION2, &args), 0);
  }
  AllFree({"resource", "opened resource"});
}

TEST_F(ParentsEnd, OfADevice) {
  DestroyDevice();
  AllFree(all);
}

TEST_F(ParentsEnd, OfAnAdapter) {
  d3dkmt_closeadapter args{{.v = adapter}};
  ASSERT_EQ(Call(file, 100, LX_DXCLOSEADAPTER, &args), 0);
  AllFree(all);
}

TEST_F(ParentsEnd, TakesEveryPageOutOfTheClient) {
  ASSERT_GT(delivery.mapped, 0);
  DestroyDevice();
  EXPECT_EQ(delivery.mapped, 0);
}

}  // namespace
}  // namespace dxg::guest
