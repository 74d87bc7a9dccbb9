#include "hostsim/work/command_buffer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "hostsim/memory/io_space.h"
#include "hostsim/memory/storage.h"
#include "proto/abi/dxg_commands.h"
#include "tests/hostsim/command_writer.h"

// The interpreter alone: memory that one page table shows, no engine, no time.

namespace dxg::hostsim {
namespace {

constexpr uint64_t kBase = 0x100000;         // of the memory
constexpr uint64_t kMemoryBytes = 1u << 20;  // which has a page that is not there
constexpr uint64_t kHole = kBase + kMemoryBytes / 2;
constexpr uint64_t kReadOnly = kHole + kPageBytes;  // a page that takes no writes
constexpr uint64_t kBuffer = 0x10000;               // where commands are

// Bytes of a storage, and commands in another one.
class FakeMemory : public CommandEnvironment {
 public:
  FakeMemory()
      : budget_({}),
        video_(std::make_shared<VideoMemory>(std::vector<Segment>{{kLocal, 1ull << 30, false}}, budget_,
                                             AdapterProfile::Trouble())),
        space_(std::make_shared<IoSpace>(1)),
        regions_(space_),
        memory(New(kMemoryBytes)),
        buffer(New(kMemoryBytes)) {}

  bool Translate(GpuAddress start, uint64_t bytes, bool write, std::vector<GpuSpan>* spans,
                 GpuFault* fault) override {
    ++translations;
    spans->clear();
    uint64_t address = start.value;
    while (bytes != 0) {
      const bool in_buffer = address >= kBuffer && address < kBuffer + kPageBytes * 8;
      const bool in_memory = address >= kBase && address < kBase + kMemoryBytes;
      const uint64_t page = address / kPageBytes * kPageBytes;
      if ((!in_buffer && !in_memory) || page == kHole)
        return *fault = {GpuFault::kUnmapped, GpuAddress(address), write}, false;
      if (write && (in_buffer || page == kReadOnly))
        return *fault = {GpuFault::kReadOnly, GpuAddress(address), write}, false;
      const uint64_t part = std::min(bytes, page + kPageBytes - address);
      spans->push_back({.storage = in_buffer ? buffer : memory,
                        .offset = address - (in_buffer ? kBuffer : kBase),
                        .bytes = part});
      address += part;
      bytes -= part;
    }
    return true;
  }
  uint64_t Timestamp() override { return 4711; }
  void Mark(uint64_t id) override { marks.push_back(id); }
  Aftermath* aftermath() override { return &after_; }
  void Note(FidelityKind, std::string_view what) override { noted.emplace_back(what); }
  bool LeaveOut(const GpuDispatch&) override { return true; }

  template <class T>
  T At(uint64_t address) {
    T value;
    memory->Read(address - kBase, {reinterpret_cast<uint8_t*>(&value), sizeof value});
    return value;
  }
  template <class T>
  void Set(uint64_t address, const std::vector<T>& values) {
    memory->Write(address - kBase,
                  {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(T)});
  }

  uint64_t translations = 0;
  std::vector<uint64_t> marks;
  std::vector<std::string> noted;

 private:
  std::shared_ptr<Storage> New(uint64_t bytes) {
    StorageTraits traits;
    traits.bytes = bytes;
    return std::make_shared<Storage>(video_, traits, regions_.Allocate(bytes), count_);
  }

  std::atomic<uint64_t> count_{0};
  MemoryBudget budget_;
  std::shared_ptr<VideoMemory> video_;
  std::shared_ptr<IoSpace> space_;
  RegionSet regions_;
  Aftermath after_;

 public:
  const std::shared_ptr<Storage> memory;
  const std::shared_ptr<Storage> buffer;
};

class CommandBuffer : public testing::Test {
 public:
  CommandStop Run(const CommandWriter& commands, uint64_t budget = CommandRun::kUnlimited) {
    return RunBytes(commands.bytes(), budget);
  }
  CommandStop RunBytes(const std::string& bytes, uint64_t budget = CommandRun::kUnlimited) {
    gpu.buffer->Write(0, BytesOf(std::string_view(bytes)));
    CommandRun run(GpuAddress(kBuffer), static_cast<uint32_t>(bytes.size()));
    return run.Run(gpu, cancelled, budget);
  }
  void ExpectInvalid(const CommandWriter& commands) {
    const CommandStop stop = Run(commands);
    EXPECT_EQ(stop.kind, CommandStop::kInvalid);
    EXPECT_EQ(stop.op_address.value, kBuffer + 8) << "of the first op";
  }
  void ExpectFault(const CommandWriter& commands, uint64_t address, bool write) {
    const CommandStop stop = Run(commands);
    EXPECT_EQ(stop.kind, CommandStop::kPageFault);
    EXPECT_EQ(stop.fault.address.value, address);
    EXPECT_EQ(stop.fault.write, write);
  }

  FakeMemory gpu;
  std::atomic<bool> cancelled{false};
};

// -- Refusals.

TEST_F(CommandBuffer, OfAnotherDriverDoesNothingAndIsCounted) {
  EXPECT_EQ(RunBytes("").kind, CommandStop::kDone);
  EXPECT_EQ(RunBytes("short").kind, CommandStop::kDone);
  EXPECT_EQ(RunBytes(std::string(4096, '\xFF')).kind, CommandStop::kDone);
  EXPECT_EQ(gpu.noted, std::vector<std::string>(3, std::string(fidelity::kForeignCommands)));
  EXPECT_EQ(Run(CommandWriter()).kind, CommandStop::kDone) << "the magic alone";
  EXPECT_EQ(gpu.noted.size(), 3u);
}

TEST_F(CommandBuffer, NotMappedFaultsAtItsAddress) {
  CommandRun run(GpuAddress(0x5000), 64);
  const CommandStop stop = run.Run(gpu, cancelled, CommandRun::kUnlimited);
  EXPECT_EQ(stop.kind, CommandStop::kPageFault);
  EXPECT_EQ(stop.fault.address.value, 0x5000u);
  EXPECT_FALSE(stop.fault.write);
}

TEST_F(CommandBuffer, RefusesMalformedOps) {
  const std::string magic = CommandWriter().bytes();
  auto op = [](uint32_t number, uint32_t bytes, size_t length) {
    std::string text(length, '\0');
    Put<uint32_t>(BytesOf(text), 0, number);
    if (length >= 8) Put<uint32_t>(BytesOf(text), 4, bytes);
    return text;
  };
  EXPECT_EQ(RunBytes(magic + "1234").kind, CommandStop::kInvalid) << "cut off in a header";
  EXPECT_EQ(RunBytes(magic + op(DXG_OP_NOP, 0, 8)).kind, CommandStop::kInvalid) << "would never end";
  EXPECT_EQ(RunBytes(magic + op(DXG_OP_NOP, 12, 16)).kind, CommandStop::kInvalid) << "not a multiple of 8";
  EXPECT_EQ(RunBytes(magic + op(DXG_OP_NOP, 16, 8)).kind, CommandStop::kInvalid) << "longer than the buffer";
  EXPECT_EQ(RunBytes(magic + op(DXG_OP_NOP, ~7u, 8)).kind, CommandStop::kInvalid);
  EXPECT_EQ(RunBytes(magic + op(DXG_OP_NOP, 4096, 4096)).kind, CommandStop::kDone);
  for (const uint32_t number : {12u, 15u, 20u, 0x80000000u, ~0u}) {
    EXPECT_EQ(RunBytes(magic + op(number, 32, 32)).kind, CommandStop::kInvalid) << number;
  }
  for (uint32_t number = DXG_OP_FILL; number <= DXG_OP_MATMUL; ++number) {
    for (const uint32_t bytes : {72u, 128u}) {
      EXPECT_EQ(RunBytes(magic + op(number, bytes, bytes)).kind, CommandStop::kInvalid) << number;
    }
    if (number != DXG_OP_HANG) {
      EXPECT_EQ(RunBytes(magic + op(number, 8, 8)).kind, CommandStop::kInvalid) << number;
    }
  }
}

TEST_F(CommandBuffer, RefusesMembersOutOfRange) {
  ExpectInvalid(CommandWriter().Fill(kBase + 1, 16, 0));
  ExpectInvalid(CommandWriter().Fill(kBase, 2, 0));
  ExpectInvalid(CommandWriter().Copy(kBase, kBase + 15, 16));
  ExpectInvalid(CommandWriter().Copy(kBase, kBase, 1));
  ExpectInvalid(CommandWriter().Write64(kBase + 4, 0));
  ExpectInvalid(CommandWriter().AtomicAdd64(kBase + 1, 0));
  ExpectInvalid(CommandWriter().Wait64(kBase + 4, 0));
  ExpectInvalid(CommandWriter().Wait64(kBase, 0, ~0ull, 2));
  ExpectInvalid(CommandWriter().Timestamp(kBase + 2));
  ExpectInvalid(CommandWriter().Delay(DXG_DELAY_NS_MAX + 1));
  ExpectInvalid(CommandWriter().Fault(1u << 31));
  ExpectInvalid(CommandWriter().Touch(kBase, 2));
  ExpectInvalid(CommandWriter().Add(kBase, kBase, kBase, 1, 4));
  ExpectInvalid(CommandWriter().Add(kBase + 2, kBase, kBase, 1, DXG_TYPE_F32));
  ExpectInvalid(CommandWriter().Add(kBase, kBase + 4, kBase, 1, DXG_TYPE_F64));
  ExpectInvalid(CommandWriter().Add(kBase, kBase + 4, kBase + 64, 2, DXG_TYPE_F32));
  ExpectInvalid(CommandWriter().Add(kBase, kBase, kBase, ~0ull, DXG_TYPE_I64));
  ExpectInvalid(CommandWriter().Reduce(kBase, kBase, 0, DXG_TYPE_I32, DXG_REDUCE_SUM));
  ExpectInvalid(CommandWriter().Reduce(kBase, kBase, 1, DXG_TYPE_I32, 3));
}

TEST_F(CommandBuffer, RefusesMatricesThatDoNotFit) {
  const dxg_op_matmul good = {{0, 0},       kBase, kBase + 0x1000, kBase + 0x2000, 4, 4, 4, 4, 4, 4,
                              DXG_TYPE_F32, 0};
  EXPECT_EQ(Run(CommandWriter().Matmul(good)).kind, CommandStop::kDone);
  auto bad = [&](auto change) {
    dxg_op_matmul product = good;
    change(product);
    ExpectInvalid(CommandWriter().Matmul(product));
  };
  bad([](auto& product) { product.m = DXG_MATMUL_MAX + 1; });
  bad([](auto& product) { product.a_row = 3; });
  bad([](auto& product) { product.b_row = 3; });
  bad([](auto& product) { product.c_row = 3; });
  bad([](auto& product) { product.type = 4; });
  bad([](auto& product) { product.flags = 2; });
  bad([](auto& product) { product.a = product.c; });
  bad([](auto& product) { product.b = product.c + 60; });
  bad([](auto& product) { product.b += 2; });
}

TEST_F(CommandBuffer, FaultsWhereMemoryIsNot) {
  ExpectFault(CommandWriter().Write64(kHole, 1), kHole, true);
  ExpectFault(CommandWriter().Write64(kReadOnly + 8, 1), kReadOnly + 8, true);
  ExpectFault(CommandWriter().AtomicAdd64(kReadOnly, 1), kReadOnly, true);
  ExpectFault(CommandWriter().Wait64(kHole, 1), kHole, false);
  ExpectFault(CommandWriter().Timestamp(kReadOnly), kReadOnly, true);
  ExpectFault(CommandWriter().Touch(kHole + 1), kHole + 1, false);
  ExpectFault(CommandWriter().Touch(kReadOnly + 1, DXG_TOUCH_WRITE), kReadOnly + 1, true);
  EXPECT_EQ(Run(CommandWriter().Touch(kReadOnly + 1)).kind, CommandStop::kDone);
  ExpectFault(CommandWriter().Copy(kBase, kHole - 16, 32), kHole, false);
  ExpectFault(CommandWriter().Copy(kHole - 16, kBase, 32), kHole, true);
  ExpectFault(CommandWriter().Add(kBase, kBase, kHole - 4, 2, DXG_TYPE_I32), kHole, false);
  ExpectFault(CommandWriter().Reduce(kReadOnly, kBase, 2, DXG_TYPE_I32, DXG_REDUCE_SUM), kReadOnly, true);
  ExpectFault(CommandWriter().Copy(kBase, ~0ull - 100, 200), ~0ull - 100, false);
  ExpectFault(CommandWriter().Fill(~3ull, ~3ull, 0), ~3ull, true);
}

TEST_F(CommandBuffer, ReachesUpToTheFault) {
  const CommandStop stop = Run(CommandWriter().Write64(kBase, 1).Fill(kHole - 8, 16, 7).Write64(kBase, 2));
  EXPECT_EQ(stop.kind, CommandStop::kPageFault);
  EXPECT_EQ(gpu.At<uint64_t>(kBase), 1u) << "nothing behind the fault runs";
}

// -- What ops do.

TEST_F(CommandBuffer, FillsAndCopies) {
  EXPECT_EQ(
      Run(CommandWriter().Fill(kBase + 4, 0x10004, 0xA1B2C3D4).Copy(kBase + 0x20001, kBase + 3, 0x10006))
          .kind,
      CommandStop::kDone);
  EXPECT_EQ(gpu.At<uint32_t>(kBase), 0u);
  EXPECT_EQ(gpu.At<uint32_t>(kBase + 4), 0xA1B2C3D4u);
  EXPECT_EQ(gpu.At<uint32_t>(kBase + 0x10004), 0xA1B2C3D4u);
  EXPECT_EQ(gpu.At<uint32_t>(kBase + 0x10008), 0u);
  EXPECT_EQ(gpu.At<uint8_t>(kBase + 0x20001), 0u);
  EXPECT_EQ(gpu.At<uint32_t>(kBase + 0x20002), 0xA1B2C3D4u);
  EXPECT_EQ(gpu.At<uint32_t>(kBase + 0x30002), 0xA1B2C3D4u);
  EXPECT_EQ(gpu.At<uint8_t>(kBase + 0x30006), 0u);
}

TEST_F(CommandBuffer, NothingIsFilledByNothing) {
  EXPECT_EQ(Run(CommandWriter().Fill(kHole, 0, 1).Copy(kHole, kHole, 0).Add(kHole, kHole, kHole, 0, 0)).kind,
            CommandStop::kDone);
}

TEST_F(CommandBuffer, WordsAreWrittenAddedAndStamped) {
  EXPECT_EQ(
      Run(CommandWriter().Write64(kBase, ~0ull).AtomicAdd64(kBase, 3).Timestamp(kBase + 8).Nop().Marker(9))
          .kind,
      CommandStop::kDone);
  EXPECT_EQ(gpu.At<uint64_t>(kBase), 2u) << "wraps";
  EXPECT_EQ(gpu.At<uint64_t>(kBase + 8), 4711u);
  EXPECT_EQ(gpu.marks, std::vector<uint64_t>{9});
}

TEST_F(CommandBuffer, StopsWhereTimePasses) {
  CommandWriter commands;
  commands.Delay(5).Wait64(kBase, 7, 0xFF, DXG_COMPARE_EQUAL).Marker(1).Hang();
  gpu.buffer->Write(0, BytesOf(std::string_view(commands.bytes())));
  CommandRun run(GpuAddress(kBuffer), static_cast<uint32_t>(commands.bytes().size()));
  CommandStop stop = run.Run(gpu, cancelled, CommandRun::kUnlimited);
  EXPECT_EQ(stop.kind, CommandStop::kDelay);
  EXPECT_EQ(stop.delay_ns, 5u);
  EXPECT_EQ(run.Run(gpu, cancelled, CommandRun::kUnlimited).kind, CommandStop::kWaiting);
  gpu.Set<uint64_t>(kBase, {0x108});
  EXPECT_EQ(run.Run(gpu, cancelled, CommandRun::kUnlimited).kind, CommandStop::kWaiting)
      << "8 is not equal to 7";
  gpu.Set<uint64_t>(kBase, {0x107});
  EXPECT_EQ(run.Run(gpu, cancelled, CommandRun::kUnlimited).kind, CommandStop::kHang);
  EXPECT_EQ(run.Run(gpu, cancelled, CommandRun::kUnlimited).kind, CommandStop::kHang) << "still";
  EXPECT_EQ(gpu.marks, std::vector<uint64_t>{1}) << "once";
}

TEST_F(CommandBuffer, WaitsCompareUnsigned) {
  gpu.Set<uint64_t>(kBase, {~0ull});
  EXPECT_EQ(Run(CommandWriter().Wait64(kBase, 5)).kind, CommandStop::kDone);
  EXPECT_EQ(Run(CommandWriter().Wait64(kBase, ~0ull)).kind, CommandStop::kDone);
  gpu.Set<uint64_t>(kBase, {4});
  EXPECT_EQ(Run(CommandWriter().Wait64(kBase, 5)).kind, CommandStop::kWaiting);
}

TEST_F(CommandBuffer, FaultCarriesItsCode) {
  const CommandStop stop = Run(CommandWriter().Nop().Fault(77).Write64(kBase, 1));
  EXPECT_EQ(stop.kind, CommandStop::kDeviceFault);
  EXPECT_EQ(stop.code, 77u);
  EXPECT_EQ(stop.op_address.value, kBuffer + 16);
  EXPECT_EQ(gpu.At<uint64_t>(kBase), 0u);
}

TEST_F(CommandBuffer, CancelledGoesNoFurther) {
  cancelled = true;
  EXPECT_EQ(Run(CommandWriter().Write64(kBase, 1)).kind, CommandStop::kCancelled);
  EXPECT_EQ(gpu.At<uint64_t>(kBase), 0u);
}

TEST_F(CommandBuffer, BudgetLeavesLargeOpsForLater) {
  CommandWriter commands;
  commands.Write64(kBase, 1).Fill(kBase + 8, 0x1000, 3);
  gpu.buffer->Write(0, BytesOf(std::string_view(commands.bytes())));
  CommandRun run(GpuAddress(kBuffer), static_cast<uint32_t>(commands.bytes().size()));
  EXPECT_EQ(run.Run(gpu, cancelled, 0x1000).kind, CommandStop::kBudget);
  EXPECT_EQ(gpu.At<uint64_t>(kBase), 1u);
  EXPECT_EQ(gpu.At<uint32_t>(kBase + 8), 0u);
  EXPECT_EQ(run.Run(gpu, cancelled, CommandRun::kUnlimited).kind, CommandStop::kDone);
  EXPECT_EQ(gpu.At<uint32_t>(kBase + 8), 3u);
}

TEST_F(CommandBuffer, LargeRangesAskThePageTablesRarely) {
  const uint64_t before = gpu.translations;
  EXPECT_EQ(Run(CommandWriter().Copy(kBase + 0x40000, kBase, 0x40000)).kind, CommandStop::kDone);
  EXPECT_LE(gpu.translations - before, 4u);
}

// -- Arrays.

template <class T>
std::vector<T> RandomNumbers(size_t count, uint64_t seed) {
  Rng rng(seed);
  std::vector<T> numbers(count);
  for (T& number : numbers) {
    number =
        std::is_integral_v<T> ? static_cast<T>(rng.Next()) : static_cast<T>(rng.Below(2000)) / T{16} - T{60};
  }
  return numbers;
}

template <class T>
constexpr uint32_t kTypeOf = std::is_same_v<T, float>     ? DXG_TYPE_F32
                             : std::is_same_v<T, int32_t> ? DXG_TYPE_I32
                             : std::is_same_v<T, double>  ? DXG_TYPE_F64
                                                          : DXG_TYPE_I64;

// As the GPU computes: integers wrap.
template <class T>
T Plus(T a, T b) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  return a + b;
}
template <class T>
T Times(T a, T b) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
  return a * b;
}

template <class T>
class Arrays : public CommandBuffer {};
using Types = testing::Types<float, int32_t, double, int64_t>;
TYPED_TEST_SUITE(Arrays, Types);

TYPED_TEST(Arrays, AddAndMad) {
  using T = TypeParam;
  constexpr uint64_t kCount = 10007;  // more than a block, and not a whole number of them
  const auto a = RandomNumbers<T>(kCount, 1), b = RandomNumbers<T>(kCount, 2),
             c = RandomNumbers<T>(kCount, 3);
  const uint64_t at_a = kBase, at_b = kBase + 0x20000, at_c = kBase + 0x40000, out = kBase + 0x90000;
  this->gpu.Set(at_a, a);
  this->gpu.Set(at_b, b);
  this->gpu.Set(at_c, std::vector<T>(c.begin(), c.begin() + 1000));
  CommandWriter commands;
  commands.Add(out, at_a, at_b, kCount, kTypeOf<T>).Mad(at_b, at_a, at_b, at_c, 1000, kTypeOf<T>);
  ASSERT_EQ(this->Run(commands).kind, CommandStop::kDone);
  for (const uint64_t i : {uint64_t{0}, uint64_t{1}, uint64_t{999}, uint64_t{8191}, kCount - 1}) {
    EXPECT_EQ(this->gpu.template At<T>(out + i * sizeof(T)), Plus(a[i], b[i])) << i;
  }
  EXPECT_EQ(this->gpu.template At<T>(out + kCount * sizeof(T)), T{0});
  for (const uint64_t i : {0u, 999u}) {
    EXPECT_EQ(this->gpu.template At<T>(at_b + i * sizeof(T)), Plus(Times(a[i], b[i]), c[i]))
        << i << ", in place";
  }
  EXPECT_EQ(this->gpu.template At<T>(at_b + 1000 * sizeof(T)), b[1000]);
}

TYPED_TEST(Arrays, Reduce) {
  using T = TypeParam;
  constexpr uint64_t kCount = 9001;
  auto numbers = RandomNumbers<T>(kCount, 4);
  this->gpu.Set(kBase, numbers);
  const uint64_t out = kBase + 0x20000;
  CommandWriter commands;
  for (const uint32_t kind : {DXG_REDUCE_SUM, DXG_REDUCE_MIN, DXG_REDUCE_MAX}) {
    commands.Reduce(out + kind * sizeof(T), kBase, kCount, kTypeOf<T>, kind);
  }
  ASSERT_EQ(this->Run(commands).kind, CommandStop::kDone);
  using Wide = std::conditional_t<std::is_same_v<T, float>, double, T>;
  Wide sum = 0;
  for (const T number : numbers) sum = Plus(sum, static_cast<Wide>(number));
  EXPECT_EQ(this->gpu.template At<T>(out), static_cast<T>(sum));
  EXPECT_EQ(this->gpu.template At<T>(out + sizeof(T)), *std::min_element(numbers.begin(), numbers.end()));
  EXPECT_EQ(this->gpu.template At<T>(out + 2 * sizeof(T)), *std::max_element(numbers.begin(), numbers.end()));
}

// A tile in the middle of larger matrices, and more rows and columns than one tile of the implementation.
TYPED_TEST(Arrays, MatmulGivesTheBitsOfALoop) {
  using T = TypeParam;
  const uint32_t m = 70, n = 33, k = 71, a_row = 80, b_row = 40, c_row = 37;
  const auto a = RandomNumbers<T>(m * a_row, 5), b = RandomNumbers<T>(k * b_row, 6),
             c = RandomNumbers<T>(m * c_row, 7);
  const uint64_t at_a = kBase, at_b = kBase + 0x10000, at_c = kBase + 0x20000;
  this->gpu.Set(at_a, a);
  this->gpu.Set(at_b, b);
  for (const uint32_t accumulate : {0u, DXG_MATMUL_ACCUMULATE}) {
    this->gpu.Set(at_c, c);
    dxg_op_matmul product = {{0, 0}, at_c, at_a, at_b, m, n, k, a_row, b_row, c_row, kTypeOf<T>, accumulate};
    ASSERT_EQ(this->Run(CommandWriter().Matmul(product)).kind, CommandStop::kDone);
    for (uint32_t i = 0; i < m; ++i) {
      for (uint32_t j = 0; j < c_row && i * c_row + j < m * c_row; ++j) {
        T sum = accumulate != 0 ? c[i * c_row + j] : T{0};
        for (uint32_t l = 0; l < k; ++l)
          sum = Plus(sum, Times(a[i * a_row + l], b[l * b_row + (j < n ? j : 0)]));
        if (j >= n) sum = c[i * c_row + j];
        ASSERT_EQ(this->gpu.template At<T>(at_c + (i * c_row + j) * sizeof(T)), sum) << i << ',' << j;
      }
    }
  }
}

TEST_F(CommandBuffer, NaNMakesASumButNoLeast) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  gpu.Set<float>(kBase, {nan, 3, nan, 2, 5});
  CommandWriter commands;
  for (const uint32_t kind : {DXG_REDUCE_SUM, DXG_REDUCE_MIN, DXG_REDUCE_MAX}) {
    commands.Reduce(kBase + 0x1000 + kind * 4, kBase, 5, DXG_TYPE_F32, kind);
  }
  ASSERT_EQ(Run(commands.Reduce(kBase + 0x1000 + 12, kBase, 1, DXG_TYPE_F32, DXG_REDUCE_MIN)).kind,
            CommandStop::kDone);
  EXPECT_TRUE(std::isnan(gpu.At<float>(kBase + 0x1000)));
  EXPECT_EQ(gpu.At<float>(kBase + 0x1004), 2);
  EXPECT_EQ(gpu.At<float>(kBase + 0x1008), 5);
  EXPECT_TRUE(std::isnan(gpu.At<float>(kBase + 0x100C))) << "there is nothing else";
}

}  // namespace
}  // namespace dxg::hostsim
