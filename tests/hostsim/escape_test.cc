#include "hostsim/adapter/escape.h"

#include <gtest/gtest.h>

#include "tests/hostsim/rig.h"

namespace dxg::hostsim {
namespace {

AdapterProfile WithPolicy(bool secure, bool test_escapes) {
  AdapterProfile profile = Shipped("discrete");
  profile.mutable_policy()->set_secure(secure);
  profile.mutable_policy()->set_test_escapes(test_escapes);
  return profile;
}

std::string EscapeMessage(uint32_t op, size_t bytes = 8, char fill = 'x') {
  std::string data(bytes, fill);
  Put<uint32_t>(BytesOf(data), 0, kEscapeMagic);
  Put<uint32_t>(BytesOf(data), 4, op);
  return data;
}

class Escape {
 public:
  explicit Escape(const AdapterProfile& profile = Shipped("discrete"))
      : rig({profile}), caller(rig.NewCaller()) {
    request.set_adapter(rig.adapter().host_handle);
  }

  // What comes back; empty: refused.
  std::string Send(const std::string& data) {
    request.set_priv_drv_data(data);
    request.set_priv_drv_data_size(static_cast<uint32_t>(data.size()));
    return rig.Ask<host::Escape>(caller, request).reply.priv_drv_data();
  }

  Rig rig;
  Caller caller;
  host::Escape::Request request;
};

TEST(EscapeTest, RefusesUnknownData) {
  Escape escape;
  for (const std::string& data :
       {std::string("1234567"), std::string(64, 'x'), EscapeMessage(0), EscapeMessage(3), EscapeMessage(~0u),
        EscapeMessage(kEscapePing | kEscapeReply), EscapeMessage(kEscapeQueryVersion, 23)}) {
    EXPECT_EQ(escape.Send(data), "");
  }
}

TEST(EscapeTest, RefusesOtherParties) {
  Escape escape;
  escape.request.set_adapter(0);
  EXPECT_EQ(escape.Send(EscapeMessage(kEscapePing)), "");
  escape.request.set_adapter(escape.rig.adapter().host_handle + 0x40);
  EXPECT_EQ(escape.Send(EscapeMessage(kEscapePing)), "");
  escape.request.set_adapter(escape.rig.adapter().host_handle);
  const Caller caller = escape.caller;
  escape.caller.process = 0;
  EXPECT_EQ(escape.Send(EscapeMessage(kEscapePing)), "");
  escape.caller = caller;
  EXPECT_NE(escape.Send(EscapeMessage(kEscapePing)), "");
  escape.rig.host().RemoveAdapter(caller.adapter_luid);
  EXPECT_EQ(escape.Send(EscapeMessage(kEscapePing)), "");
}

TEST(EscapeTest, RefusesAWrongSize) {
  Escape escape;
  escape.request.set_priv_drv_data(EscapeMessage(kEscapePing));
  escape.request.set_priv_drv_data_size(9);
  EXPECT_EQ(escape.rig.Ask<host::Escape>(escape.caller, escape.request).reply.priv_drv_data(), "");
  EXPECT_EQ(escape.Send(EscapeMessage(kEscapePing, 128 * 1024)), "");
}

TEST(EscapeTest, RefusesIllegalFlags) {
  for (uint32_t bit = 0; bit < 32; ++bit) {
    Escape escape;
    escape.request.set_flags(1u << bit);
    const bool legal = bit <= 3 || bit == 7;
    EXPECT_EQ(escape.Send(EscapeMessage(kEscapePing)) != "", legal) << "bit " << bit;
  }
  for (const uint32_t flags : {0x3u, 0x5u, 0x7u}) {
    Escape escape;
    escape.request.set_flags(flags);
    EXPECT_EQ(escape.Send(EscapeMessage(kEscapePing)), "") << "hardware access goes with neither";
  }
}

TEST(EscapeTest, ContextWantsItsDevice) {
  Escape escape;
  const uint32_t device = escape.rig.NewDevice(escape.caller);
  const uint32_t other = escape.rig.NewDevice(escape.caller);
  const uint32_t context = escape.rig.NewContext(escape.caller, device);
  auto send = [&](uint32_t with_device, uint32_t with_context) {
    escape.request.set_device(with_device);
    escape.request.set_context(with_context);
    return !escape.Send(EscapeMessage(kEscapePing)).empty();
  };
  EXPECT_FALSE(send(0, context));
  EXPECT_FALSE(send(other, context));
  EXPECT_FALSE(send(context, 0));
  EXPECT_FALSE(send(device, device));
  EXPECT_TRUE(send(device, context));
  EXPECT_TRUE(send(device, 0));
}

TEST(EscapeTest, ErroredDeviceOnlyTellsItsState) {
  Escape escape;
  const uint32_t device = escape.rig.NewDevice(escape.caller);
  escape.request.set_device(device);
  ASSERT_EQ(escape.rig.MarkAsError(escape.caller, device), kStatusSuccess);
  EXPECT_EQ(escape.Send(EscapeMessage(kEscapePing)), "");
  escape.request.set_flags(2);
  EXPECT_NE(escape.Send(EscapeMessage(kEscapePing)), "");
}

TEST(EscapeTest, PingComesBackAtEverySize) {
  Escape escape;
  for (const size_t bytes : {8, 9, 100, 4096, 128 * 1024 - 1}) {
    std::string expected = EscapeMessage(kEscapePing | kEscapeReply, bytes, 'z');
    EXPECT_EQ(escape.Send(EscapeMessage(kEscapePing, bytes, 'z')), expected);
  }
}

TEST(EscapeTest, VersionIsTheDrivers) {
  Escape escape;
  const std::string reply = escape.Send(EscapeMessage(kEscapeQueryVersion, 24));
  ASSERT_EQ(reply.size(), 24u);
  const ConstBytes bytes = BytesOf(std::string_view(reply));
  EXPECT_EQ(Get<uint32_t>(bytes, 8), kEscapesVersion);
  EXPECT_EQ(Get<uint32_t>(bytes, 12), 3000u);
  EXPECT_EQ(Get<uint64_t>(bytes, 16), 0x00200000000F03E8u);
}

TEST(EscapeTest, TestEscapesAreRefusedByDefault) {
  Escape escape;
  const uint32_t device = escape.rig.NewDevice(escape.caller);
  for (const uint32_t type : {1u, 2u, 3u, 4u, 8u, 39u, 1024u, ~0u}) {
    escape.request.set_type(type);
    EXPECT_EQ(escape.Send(std::string(16, '\0')), "") << type;
    EXPECT_EQ(escape.Send(EscapeMessage(kEscapePing)), "") << type;
  }
  EXPECT_EQ(escape.rig.State(escape.caller, device), std::make_tuple(kStatusSuccess, 1u));
}

TEST(EscapeTest, ForcedTimeoutResetsTheAdapter) {
  Escape escape(WithPolicy(false, true));
  const uint32_t device = escape.rig.NewDevice(escape.caller, 9);
  escape.request.set_type(2);
  EXPECT_EQ(escape.Send(std::string("\1\0\0\0", 4)), "") << "another control";
  EXPECT_EQ(escape.Send(std::string("\0\0\0", 3)), "");
  EXPECT_TRUE(escape.rig.recorded.changes.empty());
  EXPECT_EQ(escape.Send(std::string(4, '\0')), std::string(4, '\0'));
  EXPECT_EQ(escape.rig.State(escape.caller, device), std::make_tuple(kStatusSuccess, 2u));
  EXPECT_EQ(escape.rig.recorded.changes.size(), 1u);
}

TEST(EscapeTest, SecureVmPassesNothing) {
  Escape escape(WithPolicy(true, true));
  EXPECT_EQ(escape.Send(EscapeMessage(kEscapePing)), "");
  escape.request.set_type(2);
  EXPECT_EQ(escape.Send(std::string(4, '\0')), "");
}

}  // namespace
}  // namespace dxg::hostsim
