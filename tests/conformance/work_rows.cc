// Submissions, and hardware queues with their signals and waits.
#include "tests/conformance/call_rows.h"

namespace dxg::conformance {
namespace {

// Where a submission's commands would be. Nothing is there, and with null rendering nobody looks.
constexpr uint64_t kNoCommands = 0x10000;

const std::vector<HandleField> kHwQueueFirst = {{"Queue", 0, ObjectType::kHwQueue}};

std::vector<CallRow> SubmitRows() {
  return {
      {.name = "SubmitCommand",
       .code = LX_DXSUBMITCOMMAND,
       .fill =
           [](World& world, std::byte* args) {
             auto& submit = As<d3dkmt_submitcommand>(args);
             submit.command_buffer = kNoCommands;
             submit.command_length = 64;
             submit.flags.null_rendering = 1;
             submit.broadcast_context_count = 1;
             submit.broadcast_context[0] = world.Live(ObjectType::kContext);
           },
       .needs_context = true,
       .is_queued = true,
       .host_may_refuse = true,  // a real GPU's driver wants private data
       .handles = {{"Context", 28, ObjectType::kContext}},
       .pointers = {{.name = "PrivateData",
                     .offset = 288,
                     .size_offset = 296,
                     .size_value = 13,
                     .memory_bytes = 13,
                     .read_only_asks_host = true},
                    {.name = "History",
                     .offset = 376,
                     .size_offset = 368,
                     .memory_bytes = sizeof(d3dkmthandle),
                     .read_only_asks_host = true}},
       .values = {{"ContextCount0", 24, 4, 0, -EINVAL},
                  {"ContextCountAboveLimit", 24, 4, kContextsMax + 1, -EINVAL},
                  {"ContextCountMax", 24, 4, 0xffffffff, -EINVAL},
                  {"PrivateDataSizeAboveLimit", 296, 4, kMessageMax + 1, -EINVAL},
                  {"PrivateDataSizeMax", 296, 4, 0xffffffff, -EINVAL},
                  {"HistoryCountAboveLimit", 368, 4, 1025, -EINVAL},
                  {"HistoryCountMax", 368, 4, 0xffffffff, -EINVAL},
                  {"PrimariesAboveLimit", 300, 4, kMessageMax + 1, -EINVAL},
                  {"PrimariesMax", 300, 4, 0xffffffff, -EINVAL},
                  {"PrimariesMoreThanTheArray", 300, 4, 17, -EINVAL, true},
                  {"Length0", 8, 4, 0, -EINVAL, true},
                  {"ReservedFlag", 12, 4, 1 << 2, -EINVAL, true},
                  {"Reserved", 284, 4, 0xffffffff, 0, true},
                  {"Reserved1", 372, 4, 0xffffffff, 0, true}}},
      {.name = "SubmitCommandToHwQueue",
       .code = LX_DXSUBMITCOMMANDTOHWQUEUE,
       .fill =
           [](World& world, std::byte* args) {
             auto& submit = As<d3dkmt_submitcommandtohwqueue>(args);
             submit.hwqueue = world.Live(ObjectType::kHwQueue);
             submit.hwqueue_progress_fence_id = 1;
             submit.command_buffer = kNoCommands;
             submit.command_length = 64;
           },
       .needs_hw_queue = true,
       .is_queued = true,
       .host_may_refuse = true,
       .handles = kHwQueueFirst,
       .pointers = {{.name = "PrivateData",
                     .offset = 32,
                     .size_offset = 28,
                     .size_value = 13,
                     .memory_bytes = 13,
                     .read_only_asks_host = true},
                    {.name = "Primaries",
                     .offset = 48,
                     .size_offset = 40,
                     .memory_bytes = sizeof(d3dkmthandle),
                     .read_only_asks_host = true}},
       .values = {{"PrivateDataSizeAboveLimit", 28, 4, kMessageMax + 1, -EINVAL},
                  {"PrivateDataSizeMax", 28, 4, 0xffffffff, -EINVAL},
                  {"PrimariesAboveLimit", 40, 4, kMessageMax + 1, -EINVAL},
                  {"PrimariesMax", 40, 4, 0xffffffff, -EINVAL},
                  {"Length0", 24, 4, 0, -EINVAL, true},
                  {"Progress0", 8, 8, 0, -EINVAL, true},
                  {"Reserved", 4, 4, 0xffffffff, 0, true},
                  {"Reserved1", 44, 4, 0xffffffff, 0, true}}},
  };
}

std::vector<CallRow> HwQueueRows() {
  return {
      {.name = "CreateHwQueue",
       .code = LX_DXCREATEHWQUEUE,
       .fill =
           [](World& world, std::byte* args) {
             d3dkmt_createcontextvirtual context = {};
             context.device = world.Live(ObjectType::kDevice);
             context.flags.value = context_flags::kHwQueues;
             world.node.Ioctl(LX_DXCREATECONTEXTVIRTUAL, context, "CreateContextVirtual");
             As<d3dkmt_createhwqueue>(args).context = context.context;
           },
       .read_only_struct = -EFAULT,
       .needs_hw_queue = true,
       .pointers = {{.name = "PrivateData",
                     .offset = 16,
                     .size_offset = 8,
                     .size_value = 13,
                     .memory_bytes = 13,
                     .read_only = 0,  // it is written, and what goes wrong there is not reported
                     .read_only_asks_host = true}},
       .values = {{"ContextZero", 0, 4, 0, -EINVAL},
                  {"ContextUnknown", 0, 4, 0x40fff000, -EINVAL},
                  {"ContextAllOnes", 0, 4, 0xffffffff, -EINVAL},
                  {"PrivateDataSizeAboveLimit", 8, 4, kMessageMax + 1, -EINVAL},
                  {"PrivateDataSizeMax", 8, 4, 0xffffffff, -EINVAL},
                  {"ReservedFlag", 4, 4, 1u << 31, -EINVAL, true},
                  {"Reserved", 12, 4, 0xffffffff, 0}}},
      {.name = "DestroyHwQueue",
       .code = LX_DXDESTROYHWQUEUE,
       .fill = FillFirstHandle<ObjectType::kHwQueue>,
       .needs_hw_queue = true,
       .handles = kHwQueueFirst},
      {.name = "SubmitSignalSyncObjectsToHwQueue",
       .code = LX_DXSUBMITSIGNALSYNCOBJECTSTOHWQUEUE,
       .fill =
           [](World& world, std::byte* args) {
             auto& signal = As<d3dkmt_submitsignalsyncobjectstohwqueue>(args);
             signal.hwqueue_count = 1;
             signal.hwqueues = world.ListOf(ObjectType::kHwQueue);
             FillFence(world, signal);
           },
       .needs_hw_queue = true,
       .is_queued = true,
       .pointers = {HandleList("Queues", 8, 4, ObjectType::kHwQueue),
                    HandleList("Objects", 24, 16, ObjectType::kMonitoredFence),
                    OptionalValueList("Values", 32, 16, 0)},
       .values = {{"QueueCount0", 4, 4, 0, -EINVAL},
                  {"QueueCountAboveLimit", 4, 4, kContextsMax + 1, -EINVAL},
                  {"QueueCountMax", 4, 4, 0xffffffff, -EINVAL},
                  {"Count0", 16, 4, 0, -EINVAL},
                  {"CountAboveLimit", 16, 4, kObjectsMax + 1, -EINVAL},
                  {"CountMax", 16, 4, 0xffffffff, -EINVAL},
                  {"EnqueueCpuEvent", 0, 4, signal_flags::kEnqueueCpuEvent, -EINVAL, true},
                  {"ReservedFlag", 0, 4, 1 << 3, -EINVAL, true},
                  {"Reserved", 20, 4, 0xffffffff, 0}}},
      {.name = "SubmitWaitForSyncObjectsToHwQueue",
       .code = LX_DXSUBMITWAITFORSYNCOBJECTSTOHWQUEUE,
       .fill =
           [](World& world, std::byte* args) {
             auto& wait = As<d3dkmt_submitwaitforsyncobjectstohwqueue>(args);
             wait.hwqueue = world.Live(ObjectType::kHwQueue);
             FillFence(world, wait);
           },
       .needs_hw_queue = true,
       .is_queued = true,
       .handles = kHwQueueFirst,
       .pointers = {HandleList("Objects", 8, 4, ObjectType::kMonitoredFence), ValueList("Values", 16, 4)},
       .values = BadCounts(4, kObjectsMax)},
  };
}

}  // namespace

std::vector<CallRow> WorkRows() { return Join({SubmitRows(), HwQueueRows()}); }

}  // namespace dxg::conformance
