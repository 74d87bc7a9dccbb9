// Submission: what the driver itself refuses, and in which order it looks.

#include <gtest/gtest.h>

#include <vector>

#include "tests/conformance/limits.h"
#include "tests/conformance/memory.h"
#include "tests/conformance/sync_client.h"

namespace dxg::conformance {
namespace {

TEST(SubmitCommand, LooksAtCountsThenContextThenLists) {
  SKIP_WITHOUT_CONTEXTS();
  const SyncClient client;
  d3dkmt_submitcommand args = {};
  args.command_buffer = 0x10000;
  args.command_length = 64;
  args.broadcast_context[0] = kUnknownHandle;
  args.history_buffer_array = args.priv_drv_data = kUnmappedAddress;
  args.priv_drv_data_size = 4;
  for (uint32_t count : {0u, 65u, 0xffffffffu}) {
    args.broadcast_context_count = count;
    EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITCOMMAND, args), -EINVAL) << count;
  }
  args.broadcast_context_count = 1;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITCOMMAND, args), -EINVAL) << "the context";
  args.broadcast_context[0] = client.CreateContext();
  EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITCOMMAND, args), -EFAULT) << "the private data";
  args.priv_drv_data_size = 0;
  args.num_history_buffers = 1;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITCOMMAND, args), -EFAULT) << "the history";
  args.num_history_buffers = 1025;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITCOMMAND, args), -EINVAL);
}

TEST(SubmitCommand, MorePrivateDataThanAMessageHoldsIsRefused) {
  SKIP_WITHOUT_CONTEXTS();
  const SyncClient client;
  std::vector<uint8_t> data(kMessageMax, 0);
  d3dkmt_submitcommand args = {};
  args.command_buffer = 0x10000;
  args.command_length = 64;
  args.broadcast_context_count = 1;
  args.broadcast_context[0] = client.CreateContext();
  args.priv_drv_data = Address(data.data());
  args.priv_drv_data_size = kMessageMax;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITCOMMAND, args), -EINVAL);
}

TEST(SubmitCommandToHwQueue, LooksAtSizesThenQueueThenLists) {
  SKIP_WITHOUT_HW_QUEUES();
  const SyncClient client;
  const HwQueue queue = client.CreateHwQueue();
  d3dkmt_submitcommandtohwqueue args = {};
  args.hwqueue = kUnknownHandle;
  args.hwqueue_progress_fence_id = 1;
  args.command_buffer = 0x10000;
  args.command_length = 64;
  args.written_primaries = args.priv_drv_data = kUnmappedAddress;
  args.num_primaries = kMessageMax + 1;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITCOMMANDTOHWQUEUE, args), -EINVAL);
  args.num_primaries = 1;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITCOMMANDTOHWQUEUE, args), -EINVAL) << "the queue";
  args.hwqueue = queue.handle;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITCOMMANDTOHWQUEUE, args), -EFAULT) << "the primaries";
  args.num_primaries = 0;
  args.priv_drv_data_size = 1;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITCOMMANDTOHWQUEUE, args), -EFAULT) << "the private data";
  EXPECT_EQ(queue.progress.Value(), 0u);
}

}  // namespace
}  // namespace dxg::conformance
