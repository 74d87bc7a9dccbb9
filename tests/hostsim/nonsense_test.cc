#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "hostsim/adapter/escape.h"
#include "hostsim/memory/private_data.h"
#include "tests/hostsim/rig.h"

// Random commands from a seed: the host answers each once, only with statuses that a guest knows, and ends
// clean.

namespace dxg::hostsim {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// What the guest's driver has names for; a host that answers anything else reads as INVALID_PARAMETER to
// clients.
constexpr int32_t kKnownStatuses[] = {
    kStatusSuccess,
    kStatusPending,
    kStatusTimeout,
    kStatusObjectNameInvalid,
    kStatusObjectNameNotFound,
    kStatusObjectNameCollision,
    kStatusDeviceRemoved,
    kStatusInvalidHandle,
    kStatusIllegalInstruction,
    kStatusNotImplemented,
    kStatusAccessDenied,
    kStatusBufferTooSmall,
    kStatusObjectTypeMismatch,
    kStatusGraphicsAllocationBusy,
    kStatusNotSupported,
    kStatusInvalidParameter,
    kStatusNoMemory,
};

// Numbers that mean something somewhere.
uint64_t Number(Rng& rng) {
  static constexpr uint64_t kInteresting[] = {
      0,  1,  2,   3,   4,   5,    7,    8,          17,         25,         31,         48,   52,
      60, 64, 256, 552, 600, 2080, 8192, 0x7FFFFFFF, 0x80000000, 0x80000006, 0xFFFFFFFF, ~0ull};
  switch (rng.Below(8)) {
    case 0:
      return rng.Next();
    case 1:
      return 0x40000000 + rng.Below(12) * 0x40;  // handles
    case 2:
      return 0x10000 + rng.Below(4) * 16 + rng.Below(3);  // LUIDs
    case 3:
      return kInteresting[rng.Below(std::size(kInteresting))];
    default:
      return 0;
  }
}

std::string Data(Rng& rng) {
  std::string data(rng.Below(2) != 0 ? rng.Below(100) : std::min<uint64_t>(Number(rng), 200'000), '\0');
  const auto fill = static_cast<char>(rng.Next());
  if (rng.Below(2) != 0) std::fill(data.begin(), data.end(), fill);
  for (size_t at = 0; at + 8 <= data.size() && at < 64; at += 4)
    Put<uint32_t>(BytesOf(data), at, Number(rng));
  if (data.size() >= 4 && rng.Below(2) != 0) Put<uint32_t>(BytesOf(data), 0, kEscapeMagic);
  if (data.size() >= kAllocationDataBytes && rng.Below(2) != 0) {
    Put<uint32_t>(BytesOf(data), 0, kAllocationMagic);
    Put<uint32_t>(BytesOf(data), kAllocationVersionAt, kAllocationVersion);
    Put<uint64_t>(BytesOf(data), kAllocationSizeAt, rng.Below(1 << 20));
    Put<uint32_t>(BytesOf(data), kAllocationFlagsAt, 0);
    Put<uint32_t>(BytesOf(data), kAllocationSegmentAt, 0);
  }
  return data;
}

void Fill(Message* message, Rng& rng);

void FillList(Message* message, const FieldDescriptor* field, uint64_t length, Rng& rng) {
  const auto* reflection = message->GetReflection();
  for (uint64_t i = 0; i < length; ++i) {
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_UINT32) {
      reflection->AddUInt32(message, field, static_cast<uint32_t>(Number(rng)));
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_UINT64) {
      reflection->AddUInt64(message, field, Number(rng));
    } else {
      Fill(reflection->AddMessage(message, field), rng);
    }
  }
}

void Fill(Message* message, Rng& rng) {
  const auto* reflection = message->GetReflection();
  uint64_t bytes = 0;
  const uint64_t list = rng.Below(4);
  for (int i = 0; i < message->GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = message->GetDescriptor()->field(i);
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_STRING) continue;
    const std::string data = Data(rng);
    bytes = data.size();
    reflection->SetString(message, field, data);
  }
  for (int i = 0; i < message->GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = message->GetDescriptor()->field(i);
    if (field->is_repeated()) {
      FillList(message, field, list, rng);
      continue;
    }
    // Mostly a size that fits, so that something gets past the first check.
    const bool size = field->name().ends_with("_size") && rng.Below(8) != 0;
    const bool count =
        (field->name().ends_with("_count") || field->name().starts_with("num_")) && rng.Below(8) != 0;
    const uint64_t number = size ? bytes : count ? list : Number(rng);
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_UINT32:
        reflection->SetUInt32(message, field, static_cast<uint32_t>(number));
        break;
      case FieldDescriptor::CPPTYPE_UINT64:
        reflection->SetUInt64(message, field, number);
        break;
      case FieldDescriptor::CPPTYPE_INT32:
        reflection->SetInt32(message, field, static_cast<int32_t>(number));
        break;
      default:
        break;
    }
  }
}

struct Command {
  uint32_t id;
  const google::protobuf::Descriptor* request;
  const google::protobuf::Descriptor* reply;
};

std::vector<Command> Commands() {
  std::vector<Command> commands;
  const auto* file = host::CreateProcess::descriptor()->file();
  for (int i = 0; i < file->message_type_count(); ++i) {
    const auto* message = file->message_type(i);
    if (!message->options().HasExtension(dxg::command)) continue;  // part of another message
    commands.push_back({message->options().GetExtension(dxg::command).id(),
                        message->FindNestedTypeByName("Request"), message->FindNestedTypeByName("Reply")});
  }
  return commands;
}

class Nonsense : public testing::TestWithParam<uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Seeds, Nonsense, testing::Range<uint64_t>(1, 9));

TEST_P(Nonsense, IsAnsweredSafely) {
  AdapterProfile profile = Shipped("discrete");
  profile.mutable_policy()->set_test_escapes(true);
  Rig rig({profile, Shipped("integrated"), Shipped("compute")});
  Rng rng(GetParam());
  const std::vector<Command> commands = Commands();
  auto* factory = google::protobuf::MessageFactory::generated_factory();
  // Something to hit.
  for (int i = 0; i < 4; ++i) {
    const Caller caller = rig.NewCaller(static_cast<size_t>(i) % 3);
    rig.NewContext(caller, rig.NewDevice(caller));
  }
  struct Asked {
    std::unique_ptr<Message> request, reply;
    int completions = 0;
  };
  std::vector<std::unique_ptr<Asked>> waiting;  // for something that another command may bring
  int successes = 0;
  for (int step = 0; step < 12000; ++step) {
    const Command& command = commands[rng.Below(commands.size())];
    auto asked = std::make_unique<Asked>();
    asked->request.reset(factory->GetPrototype(command.request)->New());
    asked->reply.reset(factory->GetPrototype(command.reply)->New());
    Message* const reply = asked->reply.get();
    Fill(asked->request.get(), rng);
    const Caller caller{static_cast<uint32_t>(0x40000000 + rng.Below(6) * 0x40),
                        0x10000 + rng.Below(4) * 16 + 2};
    rig.host().Submit(caller, command.id, *asked->request, reply,
                      [count = &asked->completions](bool) { ++*count; });
    ASSERT_LE(asked->completions, 1);
    const bool waits = asked->completions == 0;
    waiting.push_back(std::move(asked));
    rig.clock.AdvanceNs(rng.Below(1'000'000));
    const FieldDescriptor* status = command.reply->FindFieldByName("status");
    if (status == nullptr || waits) continue;
    const int32_t value = reply->GetReflection()->GetInt32(*reply, status);
    EXPECT_NE(std::find(std::begin(kKnownStatuses), std::end(kKnownStatuses), value),
              std::end(kKnownStatuses))
        << "command " << command.id << " answered " << value;
    successes += value == kStatusSuccess;
  }
  EXPECT_GT(successes, 100) << "too much nonsense: little got past the first checks";
  for (uint32_t process = 0x40000000; process < 0x40000000 + 4000 * 0x40; process += 0x40) {
    rig.Ask<host::DestroyProcess>({process, 0}, {});
    rig.Ask<host::DestroyProcess>({process + 0x40000000, 0}, {});
    rig.Ask<host::DestroyProcess>({process + 0x80000000, 0}, {});
  }
  for (const auto& asked : waiting) EXPECT_EQ(asked->completions, 1);
  for (uint32_t shared = 0x40000000; shared < 0x40000000 + 4000 * 0x40; shared += 0x40) {
    host::DestroyNtSharedObject::Request request;
    request.set_shared_handle(shared);
    rig.Ask<host::DestroyNtSharedObject>({}, request);
  }
  rig.ExpectNothingLeft();
  const Accounting accounting = rig.host().Account();
  EXPECT_EQ(accounting.reserved_bytes[kLocal] + accounting.reserved_bytes[kNonLocal], 0u);
}

}  // namespace
}  // namespace dxg::hostsim
