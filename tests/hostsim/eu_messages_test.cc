#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <limits>
#include <vector>

#include "hostsim/work/eu/messages.h"
#include "tests/hostsim/streamer_rig.h"

// Messages of a thread, one at a time: what they read and write in memory and in registers.

namespace dxg::hostsim::eu {
namespace {

constexpr uint64_t kBase = StreamerMemory::kBase, kGpuHole = StreamerMemory::kHole;
constexpr uint64_t kSurfaces = kBase + 0x1000, kTable = 0x200, kBuffer = kBase + 0x4000;
constexpr uint32_t kBufferBytes = 100;
constexpr uint8_t kCache0 = 10, kCache1 = 12;
constexpr uint32_t kSrc0 = 10, kSrc1 = 30, kTo = 50;

class EuMessages : public testing::Test {
 protected:
  EuMessages() {
    group_.local.resize(256);
    group_.members.resize(2);
    // Surface 0: a buffer of kBufferBytes; 1: null; 2: an image.
    gpu_.Set<uint32_t>(kSurfaces + kTable, {0x400, 0x440, 0x480});
    std::vector<uint32_t> buffer(16, 0), null(16, 0), image(16, 0);
    buffer[0] = 4u << 29;
    buffer[2] = (kBufferBytes - 1) & 0x7F;
    buffer[8] = static_cast<uint32_t>(kBuffer);
    null[0] = 7u << 29;
    image[0] = 1u << 29;
    gpu_.Set(kSurfaces + 0x400, buffer);
    gpu_.Set(kSurfaces + 0x440, null);
    gpu_.Set(kSurfaces + 0x480, image);
    std::memset(thread_.grf, 0xEE, sizeof thread_.grf);
  }

  Message Make(uint8_t function, uint32_t type, uint32_t bits, uint32_t surface, uint32_t lanes) {
    Message message;
    message.sfid = function;
    message.descriptor = type << 14 | bits | surface;
    message.lanes = static_cast<uint8_t>(lanes);
    message.lane_mask = lanes == 16 ? 0xFFFF : 0xFF;
    message.src0 = kSrc0;
    message.src1 = kSrc1;
    message.destination = kTo;
    message.destination_is_null = true;
    return message;
  }
  static void Answers(Message* message, uint32_t registers) {
    message->destination_is_null = false;
    message->destination_registers = static_cast<uint8_t>(registers);
  }
  MessageResult Send(const Message& message) {
    PageCache pages(gpu_);
    messages_.Enter(&group_, &pages);
    return messages_.Send(message, thread_);
  }
  template <class Word>
  void Put(uint32_t reg, const std::vector<Word>& words) {
    std::memcpy(thread_.grf + reg * kRegisterBytes, words.data(), words.size() * sizeof(Word));
  }
  template <class Word = uint32_t>
  Word Get(uint32_t reg, uint32_t index) {
    Word word;
    std::memcpy(&word, thread_.grf + reg * kRegisterBytes + index * sizeof word, sizeof word);
    return word;
  }
  static std::vector<uint32_t> Offsets(uint32_t count, uint32_t first, uint32_t step) {
    std::vector<uint32_t> offsets;
    for (uint32_t i = 0; i < count; ++i) offsets.push_back(first + i * step);
    return offsets;
  }
  static std::vector<uint64_t> Addresses(uint32_t count, uint64_t first, uint64_t step) {
    std::vector<uint64_t> addresses;
    for (uint32_t i = 0; i < count; ++i) addresses.push_back(first + i * step);
    return addresses;
  }

  StreamerMemory gpu_;
  ThreadGroup group_;
  Thread thread_{};
  Messages messages_{{.general = kBase + 0x8000, .surface = kSurfaces, .binding_table = kTable}};
};

TEST_F(EuMessages, UntypedReadsOfASurfaceEndWithIt) {
  gpu_.Set<uint32_t>(kBuffer, Offsets(32, 1000, 1));
  Message message = Make(kCache1, 1, 1u << 12 | 0b1100u << 8, 0, 16);  // components 0 and 1
  message.src0_registers = 2;
  Answers(&message, 4);
  message.lane_mask = 0x8003;
  Put(kSrc0, Offsets(16, 0, 8));
  Put<uint32_t>(kSrc0 + 1, {0, 0, 0, 0, 0, 0, 0, 96});
  ASSERT_EQ(Send(message).kind, MessageResult::kDone);
  EXPECT_EQ(Get(kTo, 0), 1000u);
  EXPECT_EQ(Get(kTo, 1), 1002u);
  EXPECT_EQ(Get(kTo + 2, 1), 1003u);
  EXPECT_EQ(Get(kTo, 2), 0xEEEEEEEE) << "a lane that is off";
  EXPECT_EQ(Get(kTo + 1, 7), 1024u) << "the last 4 bytes";
  EXPECT_EQ(Get(kTo + 3, 7), 0u) << "behind the end";
}

TEST_F(EuMessages, UntypedWritesBehindTheEndAreDropped) {
  Message message = Make(kCache1, 9, 2u << 12 | 0b1110u << 8, 0, 8);
  message.src0_registers = message.src1_registers = 1;
  Put<uint32_t>(kSrc0, {0, 96, 97, 100, 0xFFFFFFFC, 4, 8, 12});
  Put(kSrc1, Offsets(8, 1, 1));
  ASSERT_EQ(Send(message).kind, MessageResult::kDone);
  EXPECT_EQ(gpu_.At<uint32_t>(kBuffer), 1u);
  EXPECT_EQ(gpu_.At<uint32_t>(kBuffer + 96), 3u) << "addresses are of whole dwords";
  EXPECT_EQ(gpu_.At<uint32_t>(kBuffer + 100), 0u);
  EXPECT_EQ(gpu_.At<uint32_t>(kBuffer - 4), 0u);
}

// Lanes side by side are moved in one piece, which nobody is to notice.
TEST_F(EuMessages, RowsOfDwords) {
  Message store = Make(kCache1, 9, 1u << 12 | 0b1110u << 8, 0, 16);
  store.src0_registers = store.src1_registers = 2;
  Put(kSrc0, Offsets(16, 8, 4));
  Put(kSrc1, Offsets(16, 500, 1));
  ASSERT_EQ(Send(store).kind, MessageResult::kDone);
  EXPECT_EQ(gpu_.At<uint32_t>(kBuffer + 4), 0u);
  EXPECT_EQ(gpu_.At<uint32_t>(kBuffer + 8), 500u);
  EXPECT_EQ(gpu_.At<uint32_t>(kBuffer + 68), 515u);
  Message load = Make(kCache1, 1, 1u << 12 | 0b1110u << 8, 0, 16);
  load.src0_registers = 2;
  Answers(&load, 2);
  Put(kSrc0, Offsets(16, 44, 4));  // the last two lanes are behind the end
  ASSERT_EQ(Send(load).kind, MessageResult::kDone);
  EXPECT_EQ(Get(kTo, 6), 515u);
  EXPECT_EQ(Get(kTo + 1, 6), 0u);
  Put(kSrc0, Offsets(16, 36, 4));  // all in it
  ASSERT_EQ(Send(load).kind, MessageResult::kDone);
  EXPECT_EQ(Get(kTo, 0), 507u);
  load.lane_mask = 0xFFFE;
  Put(kSrc0, Offsets(16, 32, 4));
  ASSERT_EQ(Send(load).kind, MessageResult::kDone);
  EXPECT_EQ(Get(kTo, 0), 507u) << "a lane that is off keeps what it had";
  EXPECT_EQ(Get(kTo, 1), 507u);
  // Data of which a half is in each source.
  store.src0_registers = 3;
  store.src1_registers = 1;
  Put(kSrc0, Offsets(16, 8, 4));
  Put(kSrc0 + 2, Offsets(8, 600, 1));
  Put(kSrc1, Offsets(8, 700, 1));
  ASSERT_EQ(Send(store).kind, MessageResult::kDone);
  EXPECT_EQ(gpu_.At<uint32_t>(kBuffer + 8), 600u);
  EXPECT_EQ(gpu_.At<uint32_t>(kBuffer + 40), 700u);
}

TEST_F(EuMessages, OtherSurfaces) {
  Message message = Make(kCache1, 1, 2u << 12 | 0b1110u << 8, 1, 8);
  message.src0_registers = 1;
  Answers(&message, 1);
  Put(kSrc0, Offsets(8, 0, 4));
  ASSERT_EQ(Send(message).kind, MessageResult::kDone);
  EXPECT_EQ(Get(kTo, 0), 0u) << "null";
  message.descriptor += 1;
  const MessageResult image = Send(message);
  EXPECT_EQ(image.kind, MessageResult::kRefused);
  EXPECT_NE(image.why.find("surface 2 is an image"), std::string::npos) << image.why;
  message.descriptor = (message.descriptor & ~0xFFu) | 0xF8;
  EXPECT_EQ(Send(message).kind, MessageResult::kRefused);
}

TEST_F(EuMessages, BytesAreExtendedWithZeros) {
  gpu_.Set<uint8_t>(kBase + 0x8000, {0x81, 0x82, 0x83, 0x84});
  Message message = Make(kCache0, 4, 1u << 10, 0xFF, 8);  // two bytes each, stateless
  message.src0_registers = 1;
  Answers(&message, 1);
  Put(kSrc0, Offsets(8, 1, 0));
  ASSERT_EQ(Send(message).kind, MessageResult::kDone);
  EXPECT_EQ(Get(kTo, 7), 0x8382u) << "at an odd address";
  Message store = Make(kCache0, 12, 0, 0xFF, 8);
  store.src0_registers = store.src1_registers = 1;
  store.lane_mask = 2;
  Put(kSrc0, Offsets(8, 0, 1));
  Put(kSrc1, Offsets(8, 0xAAAA, 1));
  ASSERT_EQ(Send(store).kind, MessageResult::kDone);
  EXPECT_EQ(gpu_.At<uint32_t>(kBase + 0x8000), 0x8483AB81u);
}

TEST_F(EuMessages, LocalMemoryIsTheGroups) {
  Message store = Make(kCache0, 12, 2u << 10, 0xFE, 8);
  store.src0_registers = store.src1_registers = 1;
  Put<uint32_t>(kSrc0, {0, 252 | 1u << 28, 253, 256, 4, 8, 12, 16});
  Put(kSrc1, Offsets(8, 1, 1));
  ASSERT_EQ(Send(store).kind, MessageResult::kDone);
  Message load = Make(kCache0, 4, 2u << 10, 0xFE, 8);
  load.src0_registers = 1;
  Answers(&load, 1);
  ASSERT_EQ(Send(load).kind, MessageResult::kDone);
  EXPECT_EQ(Get(kTo, 0), 1u);
  EXPECT_EQ(Get(kTo, 1), 2u);
  EXPECT_EQ(Get(kTo, 2), 0u) << "over the end";
  EXPECT_EQ(Get(kTo, 3), 0u);
}

TEST_F(EuMessages, ByAddress) {
  gpu_.Set(kBuffer, Addresses(16, 0x1111'2222'3333'0000, 1));
  Message load = Make(kCache1, 0x10, 2u << 8 | 1u << 10, 0, 8);  // two qwords
  load.src0_registers = 2;
  Answers(&load, 4);
  Put(kSrc0, Addresses(8, kBuffer | 0xFFFFull << 48, 8));  // canonical addresses repeat bit 47
  ASSERT_EQ(Send(load).kind, MessageResult::kDone);
  EXPECT_EQ(Get<uint64_t>(kTo, 3), 0x1111'2222'3333'0003u);
  EXPECT_EQ(Get<uint64_t>(kTo + 2, 3), 0x1111'2222'3333'0004u) << "the second component";
  Message store = Make(kCache1, 0x1A, 1u << 10, 0, 8);  // two bytes
  store.src0_registers = 2;
  store.src1_registers = 1;
  store.lane_mask = 1;
  Put(kSrc0, Addresses(8, kBuffer + kPageBytes - 1, 8));
  Put(kSrc1, Offsets(8, 0xBBAA, 1));
  ASSERT_EQ(Send(store).kind, MessageResult::kDone);
  EXPECT_EQ(gpu_.At<uint8_t>(kBuffer + kPageBytes - 1), 0xAA);
  EXPECT_EQ(gpu_.At<uint8_t>(kBuffer + kPageBytes), 0xBB) << "over the end of a page";
}

TEST_F(EuMessages, AFaultNamesTheAddress) {
  Message load = Make(kCache1, 0x11, 2u << 12 | 0b1110u << 8, 0, 8);
  load.src0_registers = 2;
  Answers(&load, 1);
  Put(kSrc0, Addresses(8, kGpuHole - 12, 4));
  const MessageResult result = Send(load);
  ASSERT_EQ(result.kind, MessageResult::kFault);
  EXPECT_EQ(result.fault.address.value, kGpuHole);
  EXPECT_FALSE(result.fault.write);
  EXPECT_EQ(Get(kTo, 0), 0xEEEEEEEE) << "no register is written";
}

TEST_F(EuMessages, Blocks) {
  gpu_.Set<uint32_t>(kBuffer, Offsets(25, 7, 1));
  Message load = Make(kCache0, 0, 4u << 8, 0, 16);  // 8 owords of a surface of a little more than 6
  load.header = true;
  load.src0_registers = 1;
  Answers(&load, 4);
  Put<uint32_t>(kSrc0, {0, 0, 1, 0});
  ASSERT_EQ(Send(load).kind, MessageResult::kDone);
  EXPECT_EQ(Get(kTo, 0), 11u) << "offsets are of owords";
  EXPECT_EQ(Get(kTo + 2, 3), 7u + 23);
  EXPECT_EQ(Get(kTo + 2, 4), 0u) << "an oword that is not all in the surface";
  load.descriptor |= 1u << 14;  // a block that begins at any dword
  Put<uint32_t>(kSrc0, {0, 0, 24, 0});
  ASSERT_EQ(Send(load).kind, MessageResult::kDone);
  EXPECT_EQ(Get(kTo, 0), 13u) << "offsets are of bytes";
  EXPECT_EQ(Get(kTo + 2, 2), 7u + 24) << "a dword of an oword that is not all in the surface";
  EXPECT_EQ(Get(kTo + 2, 3), 0u);
  Message store = Make(kCache1, 0x15, 1u << 8, 0, 1);  // one oword, of the high half
  store.header = true;
  store.src0_registers = store.src1_registers = 1;
  store.lane_mask = 1;
  Put<uint64_t>(kSrc0, {kBuffer + 0x100 + 8});
  Put(kSrc1, Offsets(8, 20, 1));
  ASSERT_EQ(Send(store).kind, MessageResult::kDone);
  EXPECT_EQ(gpu_.At<uint32_t>(kBuffer + 0x100), 24u) << "at a multiple of 16";
  EXPECT_EQ(gpu_.At<uint32_t>(kBuffer + 0x110), 0u);
}

TEST_F(EuMessages, Scratch) {
  Message store = Make(kCache0, 0, 1u << 18 | 1u << 17 | 1u << 12 | 3, 0, 16);  // two registers at the third
  store.header = true;
  store.src0_registers = 1;
  store.src1_registers = 2;
  Put<uint32_t>(kSrc0, {0, 0, 0, 0, 0, 0x1000 | 0x2A5});
  Put(kSrc1, Offsets(16, 60, 1));
  ASSERT_EQ(Send(store).kind, MessageResult::kDone);
  EXPECT_EQ(gpu_.At<uint32_t>(kBase + 0x8000 + 0x1000 + 3 * 32), 60u);
  EXPECT_EQ(gpu_.At<uint32_t>(kBase + 0x8000 + 0x1000 + 4 * 32), 68u);
}

TEST_F(EuMessages, Atomics) {
  struct Row {
    uint32_t operation, old, first, second, result, answer;
  };
  constexpr Row kRows[] = {
      {1, 0b1100, 0b1010, 0, 0b1000, 0b1100},
      {2, 0b1100, 0b1010, 0, 0b1110, 0b1100},
      {3, 0b1100, 0b1010, 0, 0b0110, 0b1100},
      {4, 1, 2, 0, 2, 1},
      {5, 1, 0, 0, 2, 1},
      {6, 0, 0, 0, ~0u, 0},
      {7, 3, 4, 0, 7, 3},
      {8, 3, 4, 0, ~0u, 3},
      {9, 3, 4, 0, 1, 3},
      {10, ~0u, 1, 0, 1, ~0u},
      {11, ~0u, 1, 0, ~0u, ~0u},
      {12, ~0u, 1, 0, ~0u, ~0u},
      {13, ~0u, 1, 0, 1, ~0u},
      {14, 5, 5, 9, 9, 5},
      {14, 5, 6, 9, 5, 5},
      {15, 5, 0, 0, 4, 4},
  };
  for (const Row& row : kRows) {
    for (const uint32_t surface : {0u, 0xFEu}) {
      SCOPED_TRACE(row.operation);
      Message message = Make(kCache1, 2, row.operation << 8 | 1u << 12 | 1u << 13, surface, 8);
      message.lane_mask = 1u << 2;
      message.src0_registers = 1;
      message.src1_registers = 2;
      Answers(&message, 1);
      gpu_.Set<uint32_t>(kBuffer + 8, {row.old});
      std::memcpy(&group_.local[8], &row.old, sizeof row.old);
      Put(kSrc0, Offsets(8, 0, 4));
      Put(kSrc1, Offsets(8, row.first, 0));
      Put(kSrc1 + 1, Offsets(8, row.second, 0));
      ASSERT_EQ(Send(message).kind, MessageResult::kDone);
      uint32_t found = gpu_.At<uint32_t>(kBuffer + 8);
      if (surface == 0xFE) std::memcpy(&found, &group_.local[8], sizeof found);
      EXPECT_EQ(found, row.result);
      EXPECT_EQ(Get(kTo, 2), row.answer);
    }
  }
}

TEST_F(EuMessages, LanesOfAnAtomicDoNotOverlap) {
  Message message = Make(kCache1, 2, 7u << 8 | 1u << 13, 0, 16);
  message.src0_registers = message.src1_registers = 2;
  Answers(&message, 2);
  Put(kSrc0, Offsets(16, 4, 0));
  Put(kSrc1, Offsets(16, 1, 1));
  ASSERT_EQ(Send(message).kind, MessageResult::kDone);
  EXPECT_EQ(gpu_.At<uint32_t>(kBuffer + 4), 136u);
  EXPECT_EQ(Get(kTo + 1, 7), 120u) << "the last lane found what all others had added";
}

TEST_F(EuMessages, WideAtomics) {
  gpu_.Set<uint64_t>(kBuffer, {0xFFFF'FFFF, 5});
  Message message = Make(kCache1, 0x12, 7u << 8 | 1u << 12 | 1u << 13, 0, 8);
  message.lane_mask = 3;
  message.src0_registers = message.src1_registers = 2;
  Answers(&message, 2);
  Put(kSrc0, Addresses(8, kBuffer, 8));
  Put(kSrc1, Addresses(8, 1, 1));
  ASSERT_EQ(Send(message).kind, MessageResult::kDone);
  EXPECT_EQ(gpu_.At<uint64_t>(kBuffer), 0x1'0000'0000u);
  EXPECT_EQ(gpu_.At<uint64_t>(kBuffer + 8), 7u);
  EXPECT_EQ(Get<uint64_t>(kTo, 0), 0xFFFF'FFFFu);
}

TEST_F(EuMessages, FloatAtomics) {
  gpu_.Set<float>(kBuffer, {1.5f, 1.5f});
  for (const auto& [operation, wanted] : {std::pair(1u, 2.5f), std::pair(2u, -1.f)}) {
    Message message = Make(kCache1, 0x1B, operation << 8 | 1u << 12, 0, 8);
    message.lane_mask = 3;
    message.src0_registers = message.src1_registers = 1;
    Put(kSrc0, Offsets(8, 0, 0));
    Put<float>(kSrc1, {2.5f, -1.f});
    gpu_.Set<float>(kBuffer, {1.5f});
    ASSERT_EQ(Send(message).kind, MessageResult::kDone);
    EXPECT_EQ(gpu_.At<float>(kBuffer), wanted);
  }
}

TEST_F(EuMessages, TheLastSignalLetsAllPassABarrier) {
  group_.members[0].thread = std::make_unique<Thread>();
  group_.members[1].thread = std::make_unique<Thread>();
  Message signal = Make(3, 0, 0, 0, 1);
  signal.descriptor = 0x02000004;
  PageCache pages(gpu_);
  messages_.Enter(&group_, &pages);
  Thread &first = *group_.members[0].thread, &second = *group_.members[1].thread;
  EXPECT_EQ(messages_.Send(signal, first).kind, MessageResult::kDone);
  EXPECT_TRUE(first.waits_at_barrier);
  EXPECT_EQ(messages_.Send(signal, first).kind, MessageResult::kRefused);
  EXPECT_EQ(messages_.Send(signal, second).kind, MessageResult::kDone);
  EXPECT_FALSE(first.waits_at_barrier);
  EXPECT_FALSE(second.waits_at_barrier);
}

TEST_F(EuMessages, WhatIsNotHereIsRefusedByName) {
  struct Row {
    uint8_t function;
    uint32_t type;
    const char* name;
  };
  constexpr Row kRows[] = {{2, 0, "the sampler"},      {kCache1, 0x0D, "images"},
                           {kCache1, 5, "images"},     {kCache1, 4, "images"},
                           {6, 0, "the URB"},          {kCache1, 0x1F, "message 0x7c0"},
                           {kCache0, 2, "message 0x"}, {7, 0, "does not end"}};
  for (const Row& row : kRows) {
    Message message = Make(row.function, row.type, 0, 0, 8);
    message.src0_registers = 1;
    const MessageResult result = Send(message);
    EXPECT_EQ(result.kind, MessageResult::kRefused);
    EXPECT_NE(result.why.find(row.name), std::string::npos) << result.why;
  }
}

TEST_F(EuMessages, TooFewRegistersAreRefused) {
  Message message = Make(kCache1, 1, 1u << 12, 0, 16);  // 4 components of 16 lanes
  message.src0_registers = 2;
  Answers(&message, 7);
  EXPECT_EQ(Send(message).kind, MessageResult::kRefused);
  Answers(&message, 8);
  Put(kSrc0, Offsets(16, 0, 0));
  EXPECT_EQ(Send(message).kind, MessageResult::kDone);
  message.src0_registers = 1;
  EXPECT_EQ(Send(message).kind, MessageResult::kRefused);
}

}  // namespace
}  // namespace dxg::hostsim::eu
