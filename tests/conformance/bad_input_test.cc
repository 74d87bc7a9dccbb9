// What each call does with bad memory, bad handles and bad sizes: the product of the table of calls and of
// what can be wrong with a field of that kind. A row of the table is enough to have a call tested here.

#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

#include "tests/conformance/call_table.h"
#include "tests/conformance/memory_client.h"
#include "tests/conformance/work_client.h"

namespace dxg::conformance {
namespace {

struct BadCase {
  std::string name;
  const CallRow* row;
  int expected;
  // Spoils a call that would succeed. Returns the address to pass, for cases about the struct's own memory.
  std::function<uint64_t(World& world, GuardedMemory& args)> spoil;
  bool needs_full_adapter = false;
};

void PrintTo(const BadCase& bad, std::ostream* out) { *out << bad.name; }

struct Cases {
  std::vector<BadCase> anywhere;   // hold on every node
  std::vector<BadCase> simulator;  // the host has its say, and only the simulator's is known
};

template <typename T>
void Put(GuardedMemory& args, size_t offset, T value, size_t width = sizeof(T)) {
  std::memcpy(args.bytes().data() + offset, &value, width);
}

// Where a case goes that succeeds on the guest's side, and then it is up to the host.
std::vector<BadCase>& HostsSay(const CallRow& row, Cases& cases) {
  return row.host_may_refuse ? cases.simulator : cases.anywhere;
}

void AddStructCases(const CallRow& row, Cases& cases) {
  const auto at = [](uint64_t address) { return [=](World&, GuardedMemory&) { return address; }; };
  const auto all = [](int byte) {
    return [=](World&, GuardedMemory& args) {
      std::memset(args.bytes().data(), byte, args.bytes().size());
      return args.address();
    };
  };
  for (const BadCase& bad :
       std::vector<BadCase>{{"StructNull", &row, -EFAULT, at(0)},
                            {"StructUnmapped", &row, -EFAULT, at(kUnmappedAddress)},
                            {"StructInTheKernel", &row, -EFAULT, at(kKernelAddress)},
                            {"StructOneByteShort", &row, -EFAULT,
                             [](World&, GuardedMemory& args) { return args.one_byte_short(); }},
                            {"StructAllZero", &row, row.all_zero, all(0)},
                            {"StructAllOnes", &row, row.all_ones, all(0xff)}})
    cases.anywhere.push_back(bad);
  HostsSay(row, cases)
      .push_back({"StructReadOnly", &row, row.read_only_struct,
                  [](World&, GuardedMemory& args) { return args.MakeReadOnly(), args.address(); }});
}

void AddHandleCases(const CallRow& row, const HandleField& field, Cases& cases) {
  const auto add = [&](std::vector<BadCase>& list, const char* what, int expected, auto handle_of) {
    list.push_back({std::string(field.name) + what, &row, expected, [=](World& world, GuardedMemory& args) {
                      Put(args, field.offset, handle_of(world).v);
                      return args.address();
                    }});
  };
  const auto number = [](uint32_t value) { return [=](World&) { return Handle(value); }; };
  const ObjectType type = field.type;
  std::vector<BadCase>& list = field.of_the_host ? cases.simulator : cases.anywhere;
  add(list, "Zero", field.zero, number(0));
  add(list, "AllOnes", -EINVAL, number(0xffffffff));
  add(list, "UnknownIndex", -EINVAL, number(0x40fff000));
  add(list, "LargestIndex", -EINVAL, number(0x7fffffc0));
  add(list, "Destroyed", -EINVAL, [=](World& world) { return world.Stale(type); });
  add(list, "OfAnotherProcess", -EINVAL, [=](World& world) { return world.Foreign(type); });
  add(list, "OfAnotherType", -EINVAL, [=](World& world) { return world.OfOtherType(type); });
  add(list, "WithWrongUniqueBits", -EINVAL,
      [=](World& world) { return Handle(world.Live(type).v ^ 0xc0000000); });
  // The guest looks the object up without these bits. The host gets an adapter's handle from the guest,
  // anything else as the client wrote it.
  add(type == ObjectType::kAdapter ? HostsSay(row, cases) : cases.simulator, "WithInstanceBits", row.filled,
      [=](World& world) { return Handle(world.Live(type).v | 0x15); });
}

void AddPointerCases(const CallRow& row, const PointerField& field, Cases& cases) {
  const auto add = [&](std::vector<BadCase>& list, const char* what, int expected, auto address_of) {
    list.push_back({std::string(field.name) + what, &row, expected, [=](World& world, GuardedMemory& args) {
                      GuardedMemory& memory = world.Room(field.memory_bytes);
                      if (!field.content.empty()) {
                        std::memcpy(memory.bytes().data(), field.content.data(),
                                    field.content.size() * sizeof(uint32_t));
                      }
                      if (field.prepare != nullptr) field.prepare(world, memory.bytes());
                      Put(args, field.offset, address_of(memory));
                      Put(args, field.size_offset, field.size_value, field.size_width);
                      return args.address();
                    }});
    list.back().needs_full_adapter = field.written_for_full_adapters && expected == -EFAULT;
  };
  using Memory = GuardedMemory;
  add(field.null_asks_host ? cases.simulator : cases.anywhere, "Null", field.null,
      [](Memory&) { return uint64_t{0}; });
  add(cases.anywhere, "Unmapped", field.unmapped, [](Memory&) { return kUnmappedAddress; });
  add(cases.anywhere, "InTheKernel", field.unmapped, [](Memory&) { return kKernelAddress; });
  if (field.one_byte_short)
    add(cases.anywhere, "OneByteShort", *field.one_byte_short,
        [](Memory& memory) { return memory.one_byte_short(); });
  add(field.read_only_asks_host ? cases.simulator : cases.anywhere, "ReadOnly", field.read_only,
      [](Memory& memory) { return memory.MakeReadOnly(), memory.address(); });
}

Cases Product() {
  Cases cases;
  for (const CallRow& row : CallTable()) {
    const size_t first = cases.anywhere.size(), first_simulator = cases.simulator.size();
    AddStructCases(row, cases);
    for (const HandleField& field : row.handles) AddHandleCases(row, field, cases);
    for (const PointerField& field : row.pointers) AddPointerCases(row, field, cases);
    for (const FieldValue& value : row.values)
      (value.of_the_host ? cases.simulator : cases.anywhere)
          .push_back({value.name, &row, value.result, [=](World&, GuardedMemory& args) {
                        Put(args, value.offset, value.value, value.width);
                        return args.address();
                      }});
    const std::string prefix = std::string(row.name) + "_";
    for (size_t i = first; i < cases.anywhere.size(); ++i) cases.anywhere[i].name.insert(0, prefix);
    for (size_t i = first_simulator; i < cases.simulator.size(); ++i)
      cases.simulator[i].name.insert(0, prefix);
  }
  return cases;
}

// Makes the spoilt call and checks its result, that a refusal leaves the struct as it was, and that the
// client can go on.
void Check(const BadCase& bad) {
  World world;
  GuardedMemory args(_IOC_SIZE(bad.row->code));
  bad.row->fill(world, args.bytes().data());
  const uint64_t address = bad.spoil(world, args);
  const std::vector<std::byte> before(args.bytes().begin(), args.bytes().end());
  int result = world.node.TryIoctlAt(bad.row->code, address);
  if (bad.row->may_be_pending && result == kPending) result = 0;
  EXPECT_EQ(result, bad.expected) << "expected " << ResultName(bad.expected) << ", got "
                                  << ResultName(result);
  const bool unchanged = std::equal(before.begin(), before.end(), args.bytes().begin());
  EXPECT_TRUE(result >= 0 || bad.row->writes_when_refused || unchanged)
      << "a refused call wrote to its struct";
  const d3dkmthandle device = world.node.CreateDevice(world.node.OpenAdapter(world.node.FirstLuid()));
  EXPECT_TRUE(world.node.IsDevice(device));
}

class BadInput : public testing::TestWithParam<BadCase> {};
class SimBadInput : public testing::TestWithParam<BadCase> {};

// [GEN] 1, 3, 4, 5, 8 and 11
TEST_P(BadInput, GetsTheAnswerOfTheDriver) {
  if (GetParam().row->needs_context) {
    SKIP_WITHOUT_CONTEXTS();
  }
  if (GetParam().row->needs_allocations) {
    SKIP_WITHOUT_ALLOCATIONS();
  }
  if (GetParam().row->needs_hw_queue) {
    SKIP_WITHOUT_HW_QUEUES();
  }
  if (GetParam().needs_full_adapter) {
    SKIP_WITHOUT_FULL_ADAPTER();
  }
  Check(GetParam());
}

// [GEN] 1, 3, 4, 5, 7, 8 and 11
TEST_P(SimBadInput, GetsTheAnswerOfTheDriver) {
  BadCase bad = GetParam();
  if (bad.row->is_queued && HostIsAsynchronous()) bad.expected = 0;  // nobody waits for what the host says
  Check(bad);
}

// The last descriptor of the process is closed while a call is on its way: it ends as if it had not been, or
// has never begun, and what the process had goes only then.
class ClosedDuringTheCall : public testing::TestWithParam<const CallRow*> {};

TEST_P(ClosedDuringTheCall, EndsAsItWouldOrNeverBegins) {
  const CallRow& row = *GetParam();
  if (row.needs_context) {
    SKIP_WITHOUT_CONTEXTS();
  }
  if (row.needs_allocations) {
    SKIP_WITHOUT_ALLOCATIONS();
  }
  if (row.needs_hw_queue) {
    SKIP_WITHOUT_HW_QUEUES();
  }
  for (int round = 0; round < 10; ++round) {
    World world;
    GuardedMemory args(_IOC_SIZE(row.code));
    row.fill(world, args.bytes().data());
    const int last = dup(world.node.fd());  // its number may be somebody else's once it is closed
    world.node.Close();
    std::atomic<bool> calling = false;
    std::thread closer([&] {
      while (!calling) std::this_thread::yield();
      for (int i = 0; i < round; ++i) std::this_thread::yield();
      close(last);
    });
    calling = true;
    int result = ioctl(last, row.code, args.address());
    if (result == -1) result = -errno;
    closer.join();
    if (row.may_be_pending && result == kPending) result = 0;
    EXPECT_TRUE(result == row.filled || result == -EBADF || row.host_may_refuse) << ResultName(result);
  }
  const MemoryClient next;
  EXPECT_TRUE(next.node.IsDevice(next.device));
}

std::string NameOf(const testing::TestParamInfo<BadCase>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Calls, BadInput, testing::ValuesIn(Product().anywhere), NameOf);
std::vector<const CallRow*> Rows() {
  std::vector<const CallRow*> rows;
  // A node served from userspace finds itself by the descriptor of the call when it makes another open of it;
  // without one left in the process it cannot.
  for (const CallRow& row : CallTable())
    if (row.code != LX_DXSHAREOBJECTS) rows.push_back(&row);
  return rows;
}

INSTANTIATE_TEST_SUITE_P(Calls, ClosedDuringTheCall, testing::ValuesIn(Rows()),
                         [](const auto& info) { return std::string(info.param->name); });
INSTANTIATE_TEST_SUITE_P(Calls, SimBadInput, testing::ValuesIn(Product().simulator), NameOf);

}  // namespace
}  // namespace dxg::conformance
