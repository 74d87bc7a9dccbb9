#include "hostsim/adapter/driver_model.h"

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "hostsim/adapter/escape.h"
#include "proto/abi/qaitype.h"
#include "tests/guest/counted_memory.h"
#include "tests/hostsim/gpu_rig.h"

// The private data of other drivers than the simulator's own, by rules of a profile.

namespace dxg::hostsim {
namespace {

AdapterProfile Described(const std::string& text, const std::string& base = "discrete") {
  AdapterProfile profile = Shipped(base);
  AdapterProfile change;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &change)) << text;
  profile.MergeFrom(change);
  return profile;
}

std::string ZeroBytes(size_t bytes) { return std::string(bytes, '\0'); }

template <class T>
std::string WithNumber(std::string data, size_t at, T value) {
  Put<T>(BytesOf(data), at, value);
  return data;
}

uint64_t NumberIn(std::string_view data, size_t at) { return Get<uint64_t>(BytesOf(data), at); }

// -- Allocations.

TEST(DriverModelAllocation, SizeIsWhereTheRuleSays) {
  MemoryRig rig(Described(R"(driver_model { allocations {
    match { bytes: 48 magic { at: 0 value: 0xABCD width: 2 } }
    size { at: 8 width: 4 } alignment: 0x10000 segment: 2
    writes { at: 16 fact: ALLOCATED_BYTES } writes { at: 24 width: 1 value: 7 } writes { at: 32 data: "made" }
  } })"));
  const std::string good =
      WithNumber<uint32_t>(WithNumber<uint16_t>(std::string(48, '\x11'), 0, 0xABCD), 8, 0x10001);
  const auto answer = rig.TryCreate({good});
  ASSERT_TRUE(answer.accepted);
  EXPECT_EQ(answer.reply.allocations(0).allocation_size(), 0x20000u);
  std::string expected = WithNumber<uint64_t>(good, 16, 0x20000);
  expected[24] = 7;
  expected.replace(32, 4, "made");
  EXPECT_EQ(answer.reply.allocation_data(), expected) << "only what the rule writes is changed";

  EXPECT_FALSE(rig.TryCreate({good.substr(0, 47)}).accepted) << "another size";
  EXPECT_FALSE(rig.TryCreate({WithNumber<uint16_t>(good, 0, 0xABCE)}).accepted) << "another magic";
  EXPECT_FALSE(rig.TryCreate({WithNumber<uint32_t>(good, 8, 0)}).accepted) << "no bytes";
  EXPECT_TRUE(rig.TryCreate({PrivateData(kPage)}).accepted) << "the simulator's own data";
}

TEST(DriverModelAllocation, FirstRuleThatMatchesCounts) {
  MemoryRig rig(Described(R"(driver_model {
    allocations { match { bytes: 16 magic { at: 0 value: 4 mask: 6 } } size { at: 8 } not_cpu_visible: true }
    allocations { match { bytes: 16 magic { at: 0 value: 1 mask: 1 } } size { at: 8 } cached: true }
    allocations { match { bytes: 16 } bytes: 4096 }
  })"));
  const std::string sized = WithNumber<uint64_t>(ZeroBytes(16), 8, 3 * kPage);
  const auto locked = [&](uint32_t flags) {
    const auto answer = rig.TryCreate({WithNumber<uint32_t>(sized, 0, flags)});
    EXPECT_TRUE(answer.accepted);
    return rig.Lock(answer.reply.allocations(0).allocation()).status();
  };
  EXPECT_NE(locked(0xFFFFFFF5), kStatusSuccess) << "of the bits that count, only that one is set";
  EXPECT_EQ(locked(7), kStatusSuccess) << "the mask's other bit is set";
  const auto fixed = rig.TryCreate({WithNumber<uint32_t>(sized, 0, 2)});
  ASSERT_TRUE(fixed.accepted);
  EXPECT_EQ(fixed.reply.allocations(0).allocation_size(), kPage);
}

TEST(DriverModelAllocation, DataThatIsTooShortForTheRuleIsRefused) {
  MemoryRig rig(Described(R"(memory { unknown_allocation_bytes: 65536 } driver_model { allocations {
    match { magic { at: 0 value: 5 } } size { at: 8 } writes { at: 16 fact: ALLOCATED_BYTES } } })"));
  const std::string good = WithNumber<uint64_t>(WithNumber<uint32_t>(ZeroBytes(24), 0, 5), 8, kPage);
  EXPECT_TRUE(rig.TryCreate({good}).accepted);
  EXPECT_FALSE(rig.TryCreate({good.substr(0, 23)}).accepted) << "no room for what is written";
  EXPECT_FALSE(rig.TryCreate({good.substr(0, 15)}).accepted) << "no room for the size";
  EXPECT_FALSE(rig.TryCreate({WithNumber<uint64_t>(good, 8, ~0ull)}).accepted) << "too large to be rounded";
  const auto unknown = rig.TryCreate({good.substr(0, 3)});
  ASSERT_TRUE(unknown.accepted) << "no rule matches";
  EXPECT_EQ(unknown.reply.allocations(0).allocation_size(), 65536u);
}

// -- Contexts and hardware queues.

TEST(DriverModelCreation, TakesTheSizesOfItsRulesAlone) {
  GpuRig rig(Described(R"(driver_model {
    contexts { match { bytes: 0 } }
    contexts { match { bytes: 64 magic { at: 4 value: 1 } } writes { at: 8 fact: NODES } }
    hw_queues { match { bytes: 8 } writes { at: 0 width: 2 value: 513 } }
  })"));
  const auto create = [&rig](const std::string& data) {
    host::CreateContextVirtual::Request request;
    request.set_device(rig.device);
    request.set_flags(GpuRig::kHwQueueSupported);
    request.set_priv_drv_data(data);
    request.set_priv_drv_data_size(static_cast<uint32_t>(data.size()));
    return rig.Ask<host::CreateContextVirtual>(rig.caller, request).reply;
  };
  const std::string good = WithNumber<uint32_t>(ZeroBytes(64), 4, 1);
  EXPECT_EQ(create(ZeroBytes(64)).context(), 0u);
  EXPECT_EQ(create(good.substr(0, 63)).context(), 0u);
  EXPECT_NE(create("").context(), 0u);
  const auto made = create(good);
  ASSERT_NE(made.context(), 0u);
  EXPECT_EQ(made.priv_drv_data(), WithNumber<uint64_t>(good, 8, 3));

  EXPECT_EQ(rig.TryHwQueue(made.context(), 0, "").status(), kStatusInvalidParameter);
  const auto queue = rig.TryHwQueue(made.context(), 0, "12345678");
  EXPECT_EQ(queue.status(), kStatusSuccess);
  EXPECT_EQ(queue.priv_drv_data(),
            "\x01\x02"
            "345678");
}

// -- Submissions.

class DriverModelSubmission : public testing::Test {
 protected:
  // Submits a command that marks 99, with this private data.
  int32_t Submit(GpuRig& rig, const std::string& data) {
    const std::string own = CommandWriter().Marker(99).bytes();
    auto request = rig.SubmitRequest({rig.context}, rig.Put(own), own.size());
    request.set_priv_drv_data(data);
    request.set_priv_drv_data_size(static_cast<uint32_t>(data.size()));
    return rig.Submit(request);
  }
  const std::string marker_ = CommandWriter().Marker(7).bytes();
};

TEST_F(DriverModelSubmission, CommandsAreWhereTheDataSays) {
  GpuRig rig(Described(R"(driver_model { submissions {
    match { bytes: 24 } commands { address { at: 0 } length { at: 8 width: 4 } unit: 4 } } })"));
  const std::string data = WithNumber<uint32_t>(WithNumber<uint64_t>(ZeroBytes(24), 0, rig.Put(marker_)), 8,
                                                static_cast<uint32_t>(marker_.size()) / 4);
  EXPECT_EQ(Submit(rig, data), kStatusSuccess);
  EXPECT_EQ(rig.Marks(), std::vector<uint64_t>{7});
  EXPECT_EQ(Submit(rig, ZeroBytes(23)), kStatusSuccess);
  EXPECT_EQ(rig.Marks().back(), 99u) << "no rule matches: the call's own commands";
  EXPECT_EQ(Submit(rig, WithNumber<uint32_t>(data, 8, 0x40000000)), kStatusInvalidParameter) << "2^32 bytes";
}

TEST_F(DriverModelSubmission, ListedBuffersRunInTheirOrder) {
  GpuRig rig(Described(R"(driver_model { submissions {
    match { magic { at: 0 value: 0xCC } }
    buffers { count { at: 4 width: 4 } first: 8 entry_bytes: 12 address { at: 4 }
              length { at: 0 width: 4 } } } })"));
  const auto list = [&](const std::vector<uint64_t>& ids) {
    std::string data = WithNumber<uint32_t>(WithNumber<uint32_t>(ZeroBytes(8), 0, 0xCC), 4,
                                            static_cast<uint32_t>(ids.size()));
    for (const uint64_t id : ids) {
      const std::string commands = CommandWriter().Marker(id).bytes();
      const uint32_t bytes = id == 0 ? 0 : static_cast<uint32_t>(commands.size());
      data += WithNumber<uint64_t>(WithNumber<uint32_t>(ZeroBytes(12), 0, bytes), 4, rig.Put(commands));
    }
    return data;
  };
  EXPECT_EQ(Submit(rig, list({1, 2, 0, 3})), kStatusSuccess);
  EXPECT_EQ(rig.Marks(), (std::vector<uint64_t>{1, 2, 3})) << "an empty buffer is none";
  EXPECT_EQ(Submit(rig, list({})), kStatusSuccess);
  EXPECT_EQ(Submit(rig, list({0})), kStatusSuccess);
  EXPECT_EQ(rig.Marks().size(), 3u) << "an empty list has no commands";
  EXPECT_EQ(Submit(rig, list({1, 2}).substr(0, 31)), kStatusInvalidParameter) << "the list ends early";
  EXPECT_EQ(Submit(rig, WithNumber<uint32_t>(list({1}), 4, ~0u)), kStatusInvalidParameter);
  EXPECT_EQ(Submit(rig, list(std::vector<uint64_t>(kBuffersPerSubmissionMax, 0))), kStatusSuccess);
  EXPECT_EQ(Submit(rig, list(std::vector<uint64_t>(kBuffersPerSubmissionMax + 1, 0))),
            kStatusInvalidParameter);
}

// A command counts for as many packets as it has buffers, and those of a broadcast share their list.
TEST_F(DriverModelSubmission, ListedBuffersAreLimited) {
  GpuRig rig(Described(R"(driver_model { submissions { buffers {
    count { at: 0 width: 4 } first: 16 entry_bytes: 16 address { at: 0 } length { at: 8 width: 4 } } } })"));
  constexpr uint32_t kContexts = 64;
  std::string data = WithNumber<uint32_t>(ZeroBytes(16), 0, kBuffersPerSubmissionMax);
  for (uint64_t i = 0; i < kBuffersPerSubmissionMax; ++i)
    data += WithNumber<uint64_t>(WithNumber<uint32_t>(ZeroBytes(16), 8, 64), 0, i);
  auto request = rig.SubmitRequest(std::vector<uint32_t>(kContexts, rig.context), 0, 8);
  request.set_flags(DXG_SUBMIT_NULL_RENDERING);
  request.set_priv_drv_data(data);
  request.set_priv_drv_data_size(static_cast<uint32_t>(data.size()));
  const auto fence = rig.NewFence();
  for (const uint64_t value : {1, 2}) {
    ASSERT_EQ(rig.GpuWait(rig.context, {{fence.handle, value}}), kStatusSuccess);
    const int64_t before = guest::BytesInUse();
    for (uint64_t i = 0; i < kPacketsPerProcessMax / (kContexts * kBuffersPerSubmissionMax) - 1; ++i)
      ASSERT_EQ(rig.Submit(request), kStatusSuccess) << "beside the wait, " << i;
    EXPECT_EQ(rig.Submit(request), kStatusNoMemory);
    EXPECT_LT(guest::BytesInUse() - before, 2 << 20);
    EXPECT_EQ(rig.Signal(fence.handle, value), kStatusSuccess);
    EXPECT_EQ(rig.StateOf(rig.device), 1u);
  }
}

TEST_F(DriverModelSubmission, FenceIsWrittenWhenTheCommandsHaveEnded) {
  GpuRig rig(Described(R"(driver_model { submissions {
    match { bytes: 32 } fence { address { at: 16 } value { at: 24 } } } })"));
  const auto fence = rig.NewFence();
  const std::string data =
      WithNumber<uint64_t>(WithNumber<uint64_t>(ZeroBytes(32), 16, fence.gpu_address), 24, 5);
  EXPECT_EQ(Submit(rig, data), kStatusSuccess);
  EXPECT_EQ(rig.Marks(), std::vector<uint64_t>{99}) << "the commands are those of the call";
  EXPECT_EQ(rig.ValueOf(fence), 5u);
  EXPECT_EQ(Submit(rig, ZeroBytes(32)), kStatusSuccess) << "address 0: no fence";
  EXPECT_EQ(rig.StateOf(rig.device), 1u);
}

TEST_F(DriverModelSubmission, AlsoOfHardwareQueues) {
  GpuRig rig(
      Described(R"(driver_model { submissions { match { bytes: 16 } commands { address { at: 8 } } } })"));
  const auto queue = rig.NewHwQueue();
  const std::string data = WithNumber<uint64_t>(ZeroBytes(16), 8, rig.Put(marker_));
  EXPECT_EQ(rig.SubmitHw(queue.hwqueue(), 1, CommandWriter().Marker(99), data), kStatusSuccess);
  EXPECT_EQ(rig.Marks(), std::vector<uint64_t>{7});
}

// -- Escapes.

TEST(DriverModelEscape, AnswersByRule) {
  Rig rig({Described(R"(driver_model {
    escapes { match { bytes: 8 magic { at: 0 value: 1 } } writes { at: 4 width: 4 fact: PCI_VENDOR } }
    escapes { match { bytes: 9 } refuse: true } })")});
  const Caller caller = rig.NewCaller();
  const auto send = [&](const std::string& data, uint32_t type = 0) {
    host::Escape::Request request;
    request.set_adapter(rig.adapter().host_handle);
    request.set_type(type);
    request.set_priv_drv_data(data);
    request.set_priv_drv_data_size(static_cast<uint32_t>(data.size()));
    return rig.Ask<host::Escape>(caller, request).reply.priv_drv_data();
  };
  EXPECT_EQ(send(WithNumber<uint32_t>(ZeroBytes(8), 0, 1)),
            WithNumber<uint32_t>(WithNumber<uint32_t>(ZeroBytes(8), 0, 1), 4, 0x1414));
  EXPECT_EQ(send(ZeroBytes(8)), "") << "nobody's data";
  std::string ping =
      WithNumber<uint32_t>(WithNumber<uint32_t>(ZeroBytes(8), 0, kEscapeMagic), 4, kEscapePing);
  EXPECT_EQ(send(ping), WithNumber<uint32_t>(ping, 4, kEscapePing | kEscapeReply)) << "the simulator's own";
  EXPECT_EQ(send(ping + "x"), "") << "refused, although it is the simulator's own";
}

// -- Answers.

class AskingClient {
 public:
  explicit AskingClient(const std::string& answers) : rig({Described(answers)}), caller(rig.NewCaller()) {}
  // What comes back for `data`; empty: refused.
  std::string Ask(uint32_t type, std::string data) { return AskFor(caller, type, std::move(data)); }
  std::string AskFor(const Caller& who, uint32_t type, std::string data) {
    return rig.Query(who, type, &data) == kStatusSuccess ? data : "";
  }
  Rig rig;
  const Caller caller;
};

TEST(DriverModelAnswer, ByTheSizeOfTheBuffer) {
  AskingClient asking(R"(answers { type: 0 bytes: 12 data: "twelve" } answers { type: 0 bytes: 6 data: "six" }
                   answers { type: 0 input: "any" data: "ANY" })");
  EXPECT_EQ(asking.Ask(0, "............"), "twelve......");
  EXPECT_EQ(asking.Ask(0, "......"), "six...");
  EXPECT_EQ(asking.Ask(0, "any size"), "ANY size");
  EXPECT_EQ(asking.Ask(0, "other"), "") << "the profile has no answer, and the adapter no such size";
}

TEST(DriverModelAnswer, WritesFactsOverTheData) {
  AskingClient asking(R"(answers { type: 200 data: "abcdefgh" writes { at: 2 width: 2 value: 0x4241 }
                             writes { at: 8 fact: LOCAL_BYTES }
                             writes { at: 16 width: 4 fact: PCI_DEVICE } })");
  const std::string answer = asking.Ask(200, std::string(24, '.'));
  ASSERT_EQ(answer.size(), 24u);
  EXPECT_EQ(answer.substr(0, 8), "abABefgh");
  EXPECT_EQ(NumberIn(answer, 8), 8ull << 30);
  EXPECT_EQ(answer.substr(16), std::string("\x88\0\0\0....", 8));
  EXPECT_EQ(asking.Ask(200, std::string(19, '.')), "") << "no room for all of it";
}

TEST(DriverModelAnswer, TurnsAreCountedForEachProcess) {
  AskingClient asking(R"(answers { type: 0 bytes: 4 data: "1st." } answers { type: 0 bytes: 5 data: "other" }
                   answers { type: 0 bytes: 4 refusal: NOT_SUPPORTED }
                   answers { type: 0 bytes: 4 data: "last" })");
  EXPECT_EQ(asking.Ask(0, "...."), "1st.");
  EXPECT_EQ(asking.Ask(0, "....."), "other") << "another question";
  EXPECT_EQ(asking.Ask(0, "...."), "");
  EXPECT_EQ(asking.Ask(0, "...."), "last");
  EXPECT_EQ(asking.Ask(0, "...."), "last");
  EXPECT_EQ(asking.AskFor(asking.rig.NewCaller(), 0, "...."), "1st.");
}

// -- The vendors that ship.

TEST(ShippedModels, AmdTellsWhatItsRuntimeReads) {
  Rig rig({Shipped("amd-navi")});
  const Caller caller = rig.NewCaller();
  const auto ask = [&](uint32_t bytes) {
    std::string data(bytes, '\0');
    EXPECT_EQ(rig.Query(caller, KMTQAITYPE_UMDRIVERPRIVATE, &data), kStatusSuccess) << bytes;
    return data;
  };
  // The adapter's information, as one that has no library of AMD's puts it together.
  const std::string info = ask(17248).substr(0x960), first = ask(3008), second = ask(3008);
  const auto ordinal = info.find('\5', 0x89C) - 0x89C;
  EXPECT_EQ(ordinal, 1u) << "the compute engine";
  EXPECT_EQ(NumberIn(info, 0xA30), 24ull << 30);
  EXPECT_EQ(NumberIn(info, 0xA38), 0u);
  EXPECT_EQ(NumberIn(info, 0xA40), 16ull << 30);
  EXPECT_EQ(info[0x2E03] & 1, 1);
  EXPECT_NE(NumberIn(info, 0x35C4) >> ordinal & 1, 0u) << "it has hardware queues";
  EXPECT_EQ(Get<uint32_t>(BytesOf(std::string_view(first)), 0x960 + 0x2C), 0x744Cu);
  EXPECT_EQ(Get<uint32_t>(BytesOf(std::string_view(second)), 0x2C), 0u) << "a card";
}

TEST(ShippedModels, AmdMakesAllocationsOf536Bytes) {
  MemoryRig rig(Shipped("amd-navi"));
  const std::string data = WithNumber<uint64_t>(ZeroBytes(536), 0xA8, 3 * kPage);
  const auto local = rig.TryCreate({data}),
             system = rig.TryCreate({WithNumber<uint32_t>(data, 0x50, 0x4000008)});
  ASSERT_TRUE(local.accepted && system.accepted);
  EXPECT_EQ(local.reply.allocations(0).allocation_size(), 3 * kPage);
  EXPECT_EQ(local.reply.allocation_data(), data);
  constexpr uint32_t kInfoCached = 1u << 19;
  EXPECT_EQ(local.reply.allocations(0).allocation_flags() & kInfoCached, 0u);
  EXPECT_NE(system.reply.allocations(0).allocation_flags() & kInfoCached, 0u);
  EXPECT_FALSE(rig.TryCreate({data + "x"}).accepted);
}

TEST(ShippedModels, AdrenoWritesBackWhatItHasAllocated) {
  MemoryRig rig(Shipped("adreno-x1"));
  const std::string data = WithNumber<uint64_t>(WithNumber<uint32_t>(ZeroBytes(304), 0, 304), 16, kGiB);
  const auto answer = rig.TryCreate({data});
  ASSERT_TRUE(answer.accepted);
  EXPECT_EQ(answer.reply.allocation_data(), WithNumber<uint64_t>(data, 48, kGiB));
  std::string ids = ZeroBytes(28);
  EXPECT_EQ(rig.Query(rig.caller, KMTQAITYPE_PHYSICALADAPTERDEVICEIDS, &ids), kStatusSuccess);
  EXPECT_EQ(ids.substr(4, 8), "QCOM0C36");
}

TEST(ShippedModels, BrokenAnswersAreGivenAsTheyAre) {
  AskingClient asking("");
  Rig rig({Shipped("broken-answers")});
  const Caller caller = rig.NewCaller();
  std::string name = ZeroBytes(524), memory(24, 'x'), ids(28, '\0');
  EXPECT_EQ(rig.Query(caller, KMTQAITYPE_UMDRIVERNAME, &name), kStatusSuccess);
  EXPECT_EQ(name, std::string(524, 'A')) << "the file of the profile, which is compiled in";
  EXPECT_EQ(rig.Query(caller, KMTQAITYPE_GETSEGMENTSIZE, &memory), kStatusSuccess);
  EXPECT_EQ(memory, ZeroBytes(24));
  EXPECT_EQ(rig.Query(caller, KMTQAITYPE_PHYSICALADAPTERDEVICEIDS, &ids), kStatusSuccess);
  EXPECT_EQ(ids, ZeroBytes(28));
  EXPECT_NE(rig.NewDevice(caller), 0u) << "the rest is the discrete adapter";
}

}  // namespace
}  // namespace dxg::hostsim
