// Every struct of a client and every buffer, through the messages and back.
//
// The codecs and tables are generated from the contract's options. Here the same options are read once more,
// by other code and with the offsets of the golden record, so a slip in the generator or a member that the
// contract forgot shows as a byte with a name.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "proto/contract/text.h"
#include "tests/contract/struct_bytes.h"

namespace dxg::contract {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

constexpr uint64_t kSeed = 20260517;  // any number; a failure names it and its try
constexpr int kTries = 1000;
constexpr int kFewTries = 50;  // where more would find the same
constexpr std::byte kFill{0x5a};

// Memory of a client; never empty, so that data() is an address.
struct Memory : std::vector<std::byte> {
  explicit Memory(size_t size, std::byte fill = std::byte{0}) : vector(size, fill) { reserve(1); }
};

std::string Place(const CarriedStruct& carried, size_t choice, int attempt) {
  return carried.name() + ", choice " + std::to_string(choice) + ", seed " + std::to_string(kSeed) +
         ", try " + std::to_string(attempt);
}

// "byte 24: 0x01 is not 0x00", or nothing.
std::string FirstDifference(const Memory& actual, const Memory& expected) {
  for (size_t i = 0; i < expected.size(); ++i) {
    if (actual[i] == expected[i]) continue;
    return "byte " + std::to_string(i) + ": " + std::to_string(std::to_integer<int>(actual[i])) + " is not " +
           std::to_string(std::to_integer<int>(expected[i]));
  }
  return "";
}

std::string Serialized(const std::vector<std::unique_ptr<Message>>& messages) {
  std::string text;
  for (const auto& message : messages) text += message->SerializeAsString() + "|";
  return text;
}

// -- Every byte has its place ---------------------------------------------------------------------

void Cover(const std::vector<CarriedMember>& members, std::vector<bool>* bytes) {
  for (const CarriedMember& member : members) {
    for (size_t i = member.at.offset; i < member.at.end(); ++i) bytes->at(i) = true;
  }
}

TEST(Layout, EveryByteIsCarriedOrAnAddressOrUnusedOrPadding) {
  for (const CarriedStruct& carried : CarriedStruct::All()) {
    std::vector<bool> known(carried.size(), false);
    Cover(carried.members(), &known);
    Cover(carried.addresses(), &known);
    Cover(carried.unused(), &known);
    const std::vector<bool> covered = carried.abi().Covered();
    for (size_t i = 0; i < carried.size(); ++i) {
      EXPECT_EQ(known[i], covered[i]) << carried.name() << " (" << carried.abi().name() << "), byte " << i
                                      << (covered[i] ? ": a member that the contract forgot" : ": padding");
    }
  }
}

// Bytes are not enough: an arm of a union that is there for its size alone covers whatever another arm
// forgot.
TEST(Layout, EveryMemberIsCarriedOrAnAddressOrUnused) {
  for (const CarriedStruct& carried : CarriedStruct::All()) {
    std::vector<bool> used(carried.size(), false);
    Cover(carried.members(), &used);
    Cover(carried.addresses(), &used);
    for (const auto& leaf : carried.abi().Leaves()) {
      const std::string& path = leaf.first;
      const Bytes& at = leaf.second;
      const bool is_unused = std::ranges::any_of(carried.unused(), [&](const CarriedMember& unused) {
        return path == unused.path || path.starts_with(unused.path + ".");
      });
      const auto first = used.begin() + static_cast<ptrdiff_t>(at.offset);
      const bool is_used = std::find(first, first + static_cast<ptrdiff_t>(at.size), false) ==
                           first + static_cast<ptrdiff_t>(at.size);
      EXPECT_TRUE(is_used || is_unused)
          << carried.name() << " (" << carried.abi().name() << "): the contract forgot " << path;
    }
  }
}

TEST(Layout, OnlyArmsOfAUnionShareBytes) {
  for (const CarriedStruct& carried : CarriedStruct::All()) {
    std::vector<CarriedMember> all = carried.members();
    all.insert(all.end(), carried.addresses().begin(), carried.addresses().end());
    all.insert(all.end(), carried.unused().begin(), carried.unused().end());
    for (const CarriedMember& a : all) {
      for (const CarriedMember& b : all) {
        // "size[800]" may be carried of an array whose rest is unused.
        if (a.path.substr(0, a.path.find('[')) == b.path.substr(0, b.path.find('['))) continue;
        if (!a.at.Overlaps(b.at)) continue;
        EXPECT_TRUE(carried.abi().InDifferentArms(a.path, b.path))
            << carried.name() << ": " << a.path << " and " << b.path << " share bytes";
      }
    }
  }
}

// An address that a field of the contract also names would reach the host as a number.
TEST(Layout, NoMemberIsCarriedAndAnAddressOrUnusedToo) {
  for (const CarriedStruct& carried : CarriedStruct::All()) {
    std::set<std::string> others;
    for (const CarriedMember& address : carried.addresses()) {
      EXPECT_EQ(address.at.size, 8u) << carried.name() << ": " << address.path;
      others.insert(address.path);
    }
    for (const CarriedMember& unused : carried.unused()) {
      EXPECT_TRUE(others.insert(unused.path).second) << carried.name() << ": " << unused.path;
    }
    for (const CarriedMember& member : carried.members()) {
      EXPECT_FALSE(others.contains(member.path)) << carried.name() << ": " << member.path;
    }
  }
}

void ExpectTable(const std::string& what, std::span<const Member> table,
                 const std::vector<CarriedMember>& members) {
  std::set<std::pair<size_t, size_t>> actual, expected;
  for (const Member& member : table) actual.emplace(member.offset, member.size);
  for (const CarriedMember& member : members) expected.emplace(member.at.offset, member.at.size);
  EXPECT_EQ(actual, expected) << what << " (offset, size)";
}

TEST(Layout, GeneratedTablesLieWhereTheGoldenRecordSays) {
  for (const CarriedStruct& carried : CarriedStruct::All()) {
    ExpectTable(carried.name() + " members", carried.member_table(), carried.members());
    ExpectTable(carried.name() + " addresses", carried.address_table(), carried.addresses());
    ExpectTable(carried.name() + " unused", carried.unused_table(), carried.unused());
  }
}

TEST(Layout, SizesAreThePublishedOnes) {
  for (const CallRow& call : Calls()) EXPECT_EQ(call.args_size, CarriedStruct::Of(call).size()) << call.name;
  for (const Element& element : Elements()) {
    EXPECT_EQ(element.args_size, CarriedStruct::Of(element).size()) << element.name;
  }
}

// -- There and back -------------------------------------------------------------------------------

// Runs check(carried, choice, attempt, random) for each choice of arms of each struct, kTries times.
template <typename Check>
void ForEachTry(Check check) {
  for (const CarriedStruct& carried : CarriedStruct::All()) {
    Random random(kSeed);
    for (size_t choice = 0; choice < carried.choices(); ++choice) {
      for (int attempt = 0; attempt < kTries; ++attempt) {
        check(carried, choice, attempt, &random);
        if (testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

// What Request and Reply say of one member must agree, or the reply's bytes would undo the request's.
TEST(RoundTrip, ValidBytesComeBackAsTheyWere) {
  ForEachTry([](const CarriedStruct& carried, size_t choice, int attempt, Random* random) {
    Memory args(carried.size()), back(carried.size()), filled(carried.size(), kFill);
    carried.FillValid(choice, random, args.data());
    const auto messages = carried.NewMessages();
    carried.Read(args.data(), messages);
    carried.Write(messages, back.data());
    ASSERT_EQ(FirstDifference(back, args), "") << Place(carried, choice, attempt);

    // Memory of the client that no message carries stays as the client left it: addresses, unused members,
    // padding.
    if (attempt >= kFewTries) return;
    carried.Write(messages, filled.data());
    const std::vector<bool> is_carried = carried.Carried(args.data());
    for (size_t i = 0; i < filled.size(); ++i) {
      ASSERT_EQ(filled[i], is_carried[i] ? args[i] : kFill)
          << Place(carried, choice, attempt) << ", byte " << i;
    }
  });
}

// What one call left in a message must not show in the next that uses it.
TEST(RoundTrip, AMessageUsedBeforeReadsLikeANewOne) {
  ForEachTry([](const CarriedStruct& carried, size_t choice, int attempt, Random* random) {
    if (attempt >= kFewTries) return;
    Memory before(carried.size()), args(carried.size());
    carried.FillValid((*random)() % carried.choices(), random, before.data());
    carried.FillValid(choice, random, args.data());
    const auto used = carried.NewMessages();
    carried.Read(before.data(), used);
    carried.Read(args.data(), used);
    const auto fresh = carried.NewMessages();
    carried.Read(args.data(), fresh);
    ASSERT_EQ(Serialized(used), Serialized(fresh)) << Place(carried, choice, attempt);
  });
}

// A handler may leave a field of its reply empty.
TEST(RoundTrip, EmptyMessagesWriteNothingButZeroes) {
  for (const CarriedStruct& carried : CarriedStruct::All()) {
    Memory args(carried.size());
    carried.Write(carried.NewMessages(), args.data());
    EXPECT_EQ(FirstDifference(args, Memory(carried.size())), "") << carried.name();
  }
}

// -- No address leaves the client -----------------------------------------------------------------

constexpr uint64_t kPattern = 0xa5d4c3b2e7f60918;
constexpr uint32_t kLow = static_cast<uint32_t>(kPattern), kHigh = static_cast<uint32_t>(kPattern >> 32);

bool IsPattern(uint64_t value) {
  const auto low = static_cast<uint32_t>(value), high = static_cast<uint32_t>(value >> 32);
  return low == kLow || low == kHigh || high == kLow || high == kHigh;
}

bool HoldsPattern(const std::string& bytes) {
  for (size_t i = 0; i + 4 <= bytes.size(); ++i) {
    uint32_t value;
    std::memcpy(&value, bytes.data() + i, 4);
    if (IsPattern(value)) return true;
  }
  return false;
}

// The name of the first field that holds half of the pattern, or nothing. Numbers are asked one by one,
// because a serialized message does not hold them as they lie in memory.
std::string FieldWithPattern(const Message& message) {
  const auto* reflection = message.GetReflection();
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = message.GetDescriptor()->field(i);
    const int count = field->is_repeated() ? reflection->FieldSize(message, field) : 1;
    for (int k = 0; k < count; ++k) {
      bool found = false;
      switch (field->cpp_type()) {
        case FieldDescriptor::CPPTYPE_UINT32:
          found = IsPattern(field->is_repeated() ? reflection->GetRepeatedUInt32(message, field, k)
                                                 : reflection->GetUInt32(message, field));
          break;
        case FieldDescriptor::CPPTYPE_UINT64:
          found = IsPattern(field->is_repeated() ? reflection->GetRepeatedUInt64(message, field, k)
                                                 : reflection->GetUInt64(message, field));
          break;
        case FieldDescriptor::CPPTYPE_INT32:
          found = IsPattern(static_cast<uint32_t>(reflection->GetInt32(message, field)));
          break;
        case FieldDescriptor::CPPTYPE_STRING:
          found = HoldsPattern(reflection->GetString(message, field));
          break;
        case FieldDescriptor::CPPTYPE_BOOL:
          break;
        case FieldDescriptor::CPPTYPE_MESSAGE: {
          const Message& inner = field->is_repeated() ? reflection->GetRepeatedMessage(message, field, k)
                                                      : reflection->GetMessage(message, field);
          found = FieldWithPattern(inner) != "";
          break;
        }
        default:
          found = true;  // a type that the contract does not use yet: say here how to look into it
      }
      if (found) return field->full_name();
    }
  }
  return HoldsPattern(message.SerializeAsString()) ? message.GetTypeName() + " (serialized)" : "";
}

TEST(Garbage, NoAddressIsInAnyMessage) {
  size_t looked_for = 0;
  ForEachTry([&](const CarriedStruct& carried, size_t choice, int attempt, Random* random) {
    Memory args(carried.size());
    FillRandom(random, args.data(), args.size());
    // Random bytes hardly ever select an arm, so every second try does.
    if (attempt % 2 == 0) carried.Choose(choice, random, args.data());
    const std::vector<bool> is_carried = carried.Carried(args.data());
    for (const CarriedMember& address : carried.addresses()) {
      // Where the selected arm is another one, these bytes are no address.
      const auto first = is_carried.begin() + static_cast<ptrdiff_t>(address.at.offset);
      if (std::find(first, first + static_cast<ptrdiff_t>(address.at.size), true) !=
          first + static_cast<ptrdiff_t>(address.at.size)) {
        continue;
      }
      SetNumber(args.data(), address.at, kPattern);
      ++looked_for;
    }
    const auto messages = carried.NewMessages();
    carried.Read(args.data(), messages);
    for (const auto& message : messages) {
      ASSERT_EQ(FieldWithPattern(*message), "") << Place(carried, choice, attempt);
    }
    Memory back(carried.size());
    carried.Write(messages, back.data());
  });
  EXPECT_GT(looked_for, 10000u);
}

// The test above would pass if it looked in the wrong place.
TEST(Garbage, APatternInACarriedMemberIsFound) {
  for (const CarriedStruct& carried : CarriedStruct::All()) {
    for (const CarriedMember& member : carried.members()) {
      if (member.at.size < 4) continue;
      Memory args(carried.size());
      for (size_t choice = 0; choice < carried.choices(); ++choice) {
        Random random(kSeed);
        std::fill(args.begin(), args.end(), std::byte{0});
        carried.Choose(choice, &random, args.data());
        if (!carried.Carried(args.data())[member.at.offset]) continue;
        SetNumber(args.data(), {member.at.offset, 4}, kLow);
        const auto messages = carried.NewMessages();
        carried.Read(args.data(), messages);
        EXPECT_TRUE(std::ranges::any_of(messages,
                                        [](const auto& message) { return FieldWithPattern(*message) != ""; }))
            << carried.name() << ": " << member.path;
      }
    }
  }
}

TEST(Garbage, HasAText) {
  ForEachTry([](const CarriedStruct& carried, size_t choice, int attempt, Random* random) {
    if (attempt >= kFewTries) return;
    Memory args(carried.size());
    FillRandom(random, args.data(), args.size());
    carried.Choose(choice, random, args.data());
    const auto messages = carried.NewMessages();
    carried.Read(args.data(), messages);
    for (const auto& message : messages) {
      const std::string text = ToText(*message);
      ASSERT_TRUE(text.starts_with("{") && text.ends_with("}"))
          << Place(carried, choice, attempt) << ": " << text;
    }
  });
}

// -- Buffers --------------------------------------------------------------------------------------

// A buffer with the struct and the message that it belongs to.
struct BufferPlace {
  std::string name;
  const Buffer* buffer;
  const Message* message;  // default instance
  CarriedStruct carried;

  const FieldDescriptor* field() const { return message->GetDescriptor()->FindFieldByName(buffer->name); }
  const BufferRule& rule() const { return field()->options().GetExtension(dxg::buffer); }
  // The struct of an element that has a message of its own, or null.
  const Element* element() const {
    if (field()->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) return nullptr;
    const auto found = std::ranges::find_if(Elements(), [&](const Element& element) {
      return element.message->GetDescriptor() == field()->message_type();
    });
    return found == Elements().end() ? nullptr : &*found;
  }
};

std::vector<BufferPlace> AllBuffers() {
  std::vector<BufferPlace> places;
  for (const CallRow& call : Calls()) {
    for (const Buffer& buffer : call.in) {
      places.push_back(
          {std::string(call.name) + " in " + buffer.name, &buffer, call.request, CarriedStruct::Of(call)});
    }
    for (const Buffer& buffer : call.out) {
      places.push_back(
          {std::string(call.name) + " out " + buffer.name, &buffer, call.reply, CarriedStruct::Of(call)});
    }
  }
  for (const Element& element : Elements()) {
    for (const Buffer& buffer : element.buffers) {
      places.push_back({std::string(element.name) + " " + buffer.name, &buffer, element.message,
                        CarriedStruct::Of(element)});
    }
  }
  return places;
}

size_t BufferFields(const Descriptor* message) {
  size_t count = 0;
  for (int i = 0; i < message->field_count(); ++i) {
    count += message->field(i)->options().HasExtension(dxg::buffer);
  }
  return count;
}

TEST(Buffers, EveryFieldWithABufferHasARow) {
  for (const CallRow& call : Calls()) {
    EXPECT_EQ(call.in.size(), BufferFields(call.request->GetDescriptor())) << call.name;
    EXPECT_EQ(call.out.size(), BufferFields(call.reply->GetDescriptor())) << call.name;
  }
  for (const Element& element : Elements()) {
    EXPECT_EQ(element.buffers.size(), BufferFields(element.message->GetDescriptor())) << element.name;
  }
}

TEST(Buffers, HaveAPlaceALimitAndOneWayToCopy) {
  for (const BufferPlace& place : AllBuffers()) {
    SCOPED_TRACE(place.name);
    const Buffer& buffer = *place.buffer;
    EXPECT_EQ(buffer.pointer, place.carried.abi().Find(place.rule().pointer()).value().offset);
    EXPECT_GE(buffer.max, 1u);
    EXPECT_EQ(buffer.max, place.rule().max() == 0 ? 1u : place.rule().max());
    EXPECT_GE(buffer.element_size, 1u);
    EXPECT_EQ(buffer.resize == nullptr, buffer.data == nullptr);
    EXPECT_EQ(buffer.read == nullptr, buffer.write == nullptr);
    EXPECT_NE(buffer.resize == nullptr, buffer.read == nullptr);
    if (buffer.read != nullptr) {
      ASSERT_NE(place.element(), nullptr);
      EXPECT_EQ(buffer.element_size, place.element()->args_size);
    }
    // A field that is one message holds one element, whatever a client says.
    if (!place.field()->is_repeated() && buffer.read != nullptr) {
      EXPECT_EQ(buffer.max, 1u);
    }
  }
}

TEST(Buffers, CountAndPresenceAreTheStructsMembers) {
  Random random(kSeed);
  for (const BufferPlace& place : AllBuffers()) {
    for (int attempt = 0; attempt < kTries; ++attempt) {
      Memory args(place.carried.size());
      FillRandom(&random, args.data(), args.size());
      const std::string& count = place.rule().count();
      const uint64_t expected =
          count.empty() ? 1 : Number(args.data(), place.carried.abi().Find(count).value());
      ASSERT_EQ(place.buffer->count(args.data()), expected) << place.name << ", seed " << kSeed;
      ASSERT_EQ(place.buffer->present(args.data()),
                Holds(place.rule().when(), place.carried.abi(), args.data()))
          << place.name << ", seed " << kSeed;
    }
  }
}

// One word cannot be a number of a message and the address of a buffer at once.
TEST(Buffers, ThatArePresentHaveTheirPointerInNoMessage) {
  Random random(kSeed);
  for (const BufferPlace& place : AllBuffers()) {
    for (size_t choice = 0; choice < place.carried.choices(); ++choice) {
      for (int attempt = 0; attempt < kFewTries; ++attempt) {
        Memory args(place.carried.size());
        FillRandom(&random, args.data(), args.size());
        place.carried.Choose(choice, &random, args.data());
        if (!place.buffer->present(args.data())) continue;
        const std::vector<bool> is_carried = place.carried.Carried(args.data());
        for (size_t i = 0; i < 8; ++i) ASSERT_FALSE(is_carried[place.buffer->pointer + i]) << place.name;
      }
    }
  }
}

// 0 and the limit first; the limit is cut, because the largest ones would take minutes.
uint32_t ElementCount(const Buffer& buffer, int attempt, Random* random) {
  const uint32_t most = std::min(buffer.max, 1000u);
  return attempt == 0 ? 0 : attempt == 1 ? most : static_cast<uint32_t>((*random)() % (most + 1));
}

constexpr int kBufferTries = 30;

TEST(Buffers, BytesAndNumbersComeBackAsTheyWere) {
  Random random(kSeed);
  for (const BufferPlace& place : AllBuffers()) {
    const Buffer& buffer = *place.buffer;
    if (buffer.resize == nullptr) continue;
    std::unique_ptr<Message> message(place.message->New());  // one for all tries: leftovers would show
    for (int attempt = 0; attempt < kBufferTries; ++attempt) {
      const uint32_t count = ElementCount(buffer, attempt, &random);
      SCOPED_TRACE(place.name + ", " + std::to_string(count) + " elements, seed " + std::to_string(kSeed));
      Memory content(size_t{count} * buffer.element_size);
      FillRandom(&random, content.data(), content.size());
      std::byte* target = buffer.resize(message.get(), count);
      if (count != 0) std::memcpy(target, content.data(), content.size());
      ASSERT_EQ(buffer.size(*message), count);

      // As the message comes out on the other side of a process border.
      std::unique_ptr<Message> far(place.message->New());
      ASSERT_TRUE(far->ParseFromString(message->SerializeAsString()));
      for (const Message* each : {message.get(), far.get()}) {
        ASSERT_EQ(buffer.size(*each), count);
        if (count != 0) {
          ASSERT_EQ(std::memcmp(buffer.data(*each), content.data(), content.size()), 0);
        }
      }
    }
  }
}

TEST(Buffers, ElementsComeBackAsTheyWere) {
  Random random(kSeed);
  for (const BufferPlace& place : AllBuffers()) {
    const Buffer& buffer = *place.buffer;
    if (buffer.read == nullptr) continue;
    ASSERT_NE(place.element(), nullptr) << place.name;
    const CarriedStruct element = CarriedStruct::Of(*place.element());
    std::unique_ptr<Message> message(place.message->New());
    for (int attempt = 0; attempt < kBufferTries; ++attempt) {
      // A field that is one message holds one, and is only read where there is one.
      const uint32_t count = place.field()->is_repeated() ? ElementCount(buffer, attempt, &random) : 1;
      SCOPED_TRACE(place.name + ", " + std::to_string(count) + " elements, seed " + std::to_string(kSeed));
      Memory content(size_t{count} * buffer.element_size), back(content.size());
      for (uint32_t i = 0; i < count; ++i) {
        element.FillValid(random() % element.choices(), &random,
                          content.data() + size_t{i} * buffer.element_size);
      }
      buffer.read(content.data(), count, message.get());
      ASSERT_EQ(buffer.size(*message), count);
      buffer.write(*message, back.data());
      ASSERT_EQ(FirstDifference(back, content), "");
    }
  }
}

TEST(Buffers, GarbageElementsNeverGiveAnAddressAway) {
  Random random(kSeed);
  for (const BufferPlace& place : AllBuffers()) {
    const Buffer& buffer = *place.buffer;
    if (buffer.read == nullptr) continue;
    ASSERT_NE(place.element(), nullptr) << place.name;
    std::unique_ptr<Message> message(place.message->New());
    Memory content(buffer.element_size), back(buffer.element_size);
    for (int attempt = 0; attempt < kTries; ++attempt) {
      FillRandom(&random, content.data(), content.size());
      for (const Member& address : place.element()->addresses) {
        SetNumber(content.data(), {address.offset, address.size}, kPattern);
      }
      buffer.read(content.data(), 1, message.get());
      ASSERT_EQ(FieldWithPattern(*message), "") << place.name << ", seed " << kSeed << ", try " << attempt;
      buffer.write(*message, back.data());
    }
  }
}

}  // namespace
}  // namespace dxg::contract
