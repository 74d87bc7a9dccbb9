// What two recordings differ in, and what may be otherwise.
#include "cuse-dxg/trace/diff.h"

#include <gtest/gtest.h>

#include <string>

#include "link/trace/trace_writer.h"
#include "tests/trace/asked.h"

namespace dxg::trace {
namespace {

// It has no calls, so that nothing would differ.
TEST(Diff, HostCommandsAreRefused) {
  Session calls;
  MemoryFile file;
  MemorySink sink(file);
  TraceHeader header;
  header.set_format(kFormat);
  header.set_version(kVersion);
  header.set_side(TraceHeader::HOST);
  ASSERT_TRUE((*TraceWriter::Begin(sink, header))->Close().ok());
  std::string a = calls.bytes(), b = file.bytes();
  Printed([&](std::FILE* to) {
    auto of_a = ReaderOf(a), of_b = ReaderOf(b);
    EXPECT_EQ(Diff::Run(**of_a, **of_b, {}, to).status().value(), -EINVAL);
  });
}

TEST(Diff, AHandleIsOfItsProcess) {
  const auto call = [](uint32_t process, uint64_t handle, bool given) {
    return Comparable{
        .text = "a call", .names = {{contract::Kind::kHandle, handle, given, process}}, .line = {}};
  };
  Renaming renaming;
  EXPECT_TRUE(renaming.Agree(call(7, 0x80, true), call(17, 0x80, true)));
  EXPECT_TRUE(renaming.Agree(call(8, 0x80, true), call(18, 0xc0, true)));
  EXPECT_TRUE(renaming.Agree(call(7, 0x80, false), call(17, 0x80, false)));
  EXPECT_FALSE(renaming.Agree(call(8, 0x80, false), call(18, 0x80, false)));
}

TEST(Diff, OtherHandlesAreTheSameCalls) {
  Session a(7), b(8);
  for (const auto& [session, shift] : {std::pair{&a, 0u}, {&b, 0x40000000u}}) {
    CreateDevice(session, 0x40, 0x80 + shift);
    CreateContext(session, 0x80 + shift, 0xc0 + shift);
    CreateDevice(session, 0x40, 0x100 + shift);
    DestroyDevice(session, 0x100 + shift);
    DestroyDevice(session, 0x80 + shift);
  }
  EXPECT_EQ(Differences(a.bytes(), b.bytes()),
            "5 calls are the same, 0 only in the first, 0 only in the second\n");
}

TEST(Diff, AnotherObjectIsADifference) {
  Session a(7), b(8);
  for (const auto& [session, destroyed] : {std::pair{&a, 0x80u}, {&b, 0xc0u}}) {
    CreateDevice(session, 0x40, 0x80);
    CreateDevice(session, 0x40, 0xc0);
    DestroyDevice(session, destroyed);
  }
  const std::string text = Differences(a.bytes(), b.bytes());
  EXPECT_NE(text.find("@@ thread 1 @@\n- 0.000300 [7] DestroyDevice({device=0x80})"), std::string::npos)
      << text;
  EXPECT_NE(text.find("+ 0.000300 [8] DestroyDevice({device=0xc0})"), std::string::npos) << text;
  EXPECT_NE(text.find("2 calls are the same, 1 only in the first, 1 only in the second"), std::string::npos)
      << text;
}

// One call more does not make all that follow differ.
TEST(Diff, AgreesAgainBehindACallThatOneLacks) {
  Session a(7), b(8);
  for (Session* session : {&a, &b}) {
    CreateDevice(session, 0x40, 0x80);
    if (session == &b) CreateContext(session, 0x80, 0xc0);
    CreateAllocation(session, 0x80, 0, session == &b ? 0x100 : 0xc0);
    DestroyDevice(session, 0x80);
  }
  const std::string text = Differences(a.bytes(), b.bytes());
  EXPECT_NE(text.find("3 calls are the same, 0 only in the first, 1 only in the second"), std::string::npos)
      << text;
  EXPECT_NE(text.find("+ 0.000200 [8] CreateContextVirtual("), std::string::npos) << text;
}

TEST(Diff, AnotherResultIsADifferenceAndAMeasuredValueIsNone) {
  Session a(7), b(8);
  for (const auto& [session, ticks] : {std::pair{&a, 5u}, {&b, 6u}}) {
    calls::QueryClockCalibration::Reply reply;
    reply.set_gpu_clock_counter(ticks);
    session->Call<calls::QueryClockCalibration>({}, reply);
    DestroyDevice(session, 0x80, ticks == 5 ? Status::Ok() : Status(-EINVAL));
  }
  const std::string of_a = a.bytes(), of_b = b.bytes();
  EXPECT_NE(Differences(of_a, of_b).find("1 calls are the same, 1 only in the first"), std::string::npos);
  EXPECT_NE(Differences(of_a, of_b, true).find("0 calls are the same, 2 only in the first"),
            std::string::npos);
}

TEST(Diff, BudgetsUseAndValuesOfFencesAreMeasured) {
  Session a(7), b(8);
  for (const auto& [session, more] : {std::pair{&a, 0u}, {&b, 5u}}) {
    calls::QueryVideoMemoryInfo::Reply info;
    info.set_budget(1000 + more);
    info.set_current_usage(100 + more);
    session->Call<calls::QueryVideoMemoryInfo>({}, info);
    calls::MakeResident::Reply resident;
    resident.set_paging_fence_value(1 + more);
    resident.set_num_bytes_to_trim(more);
    session->Call<calls::MakeResident>({}, resident);
    calls::QueryAllocationResidency::Reply residency;
    residency.add_residency_status(1 + more % 2);
    session->Call<calls::QueryAllocationResidency>({}, residency);
    calls::SignalSynchronizationObjectFromCpu::Request signal;
    signal.set_object_count(1);
    signal.add_fence_values(7 + more);
    session->Call<calls::SignalSynchronizationObjectFromCpu>(signal);
  }
  const std::string of_a = a.bytes(), of_b = b.bytes();
  EXPECT_EQ(Differences(of_a, of_b), "4 calls are the same, 0 only in the first, 0 only in the second\n");
  EXPECT_NE(Differences(of_a, of_b, true).find("0 calls are the same, 4 only in the first, 4 only in the"),
            std::string::npos);
}

// How many there are is the answer, also of what is measured.
TEST(Diff, ALongerListOfMeasuredValuesIsADifference) {
  Session a(7), b(8);
  for (const auto& [session, allocations] : {std::pair{&a, 1}, {&b, 2}}) {
    calls::QueryAllocationResidency::Reply residency;
    for (int i = 0; i < allocations; ++i) residency.add_residency_status(1);
    session->Call<calls::QueryAllocationResidency>({}, residency);
  }
  EXPECT_NE(Differences(a.bytes(), b.bytes()).find("0 calls are the same"), std::string::npos);
}

TEST(Diff, MeasuredAnswersMayHaveOtherBytes) {
  for (const auto& [type, same] : {std::pair{61u, true}, {62u, true}, {15u, false}}) {
    Session a(7), b(8);
    for (const auto& [session, byte] : {std::pair{&a, 'a'}, {&b, 'b'}}) {
      calls::QueryAdapterInfo::Request request;
      calls::QueryAdapterInfo::Reply reply;
      request.set_type(type);
      reply.set_private_data(std::string(80, byte));
      session->Call<calls::QueryAdapterInfo>(request, reply);
    }
    const std::string of_a = a.bytes(), of_b = b.bytes();
    EXPECT_EQ(Differences(of_a, of_b).starts_with("1 calls are the same"), same) << type;
    EXPECT_NE(Differences(of_a, of_b, true).find("0 calls are the same"), std::string::npos) << type;
  }
}

TEST(Diff, AnEventCountsByWhetherThereIsOne) {
  Session a(7), b(8), none(9);
  for (const auto& [session, event] : {std::pair{&a, 5u}, {&b, 6u}, {&none, 0u}}) {
    for (int i = 0; i < 2; ++i) {
      calls::WaitForSynchronizationObjectFromCpu::Request wait;
      wait.set_async_event(event == 0 ? 0 : event + i * (event - 5));
      session->Call<calls::WaitForSynchronizationObjectFromCpu>(wait);
    }
  }
  const std::string of_a = a.bytes();
  EXPECT_EQ(Differences(of_a, b.bytes()),
            "2 calls are the same, 0 only in the first, 0 only in the second\n");
  EXPECT_NE(Differences(of_a, none.bytes()).find("0 calls are the same, 2 only in the first"),
            std::string::npos);
}

// Of a list inside the struct.
TEST(Diff, WhatIsBehindTheCountOfAListIsNoDifference) {
  Session a(7), b(8);
  for (const auto& [session, rest] : {std::pair{&a, 0u}, {&b, 0x99u}}) {
    calls::SignalSynchronizationObject::Request signal;
    signal.set_object_count(1);
    signal.add_object_array(0x80);
    signal.add_object_array(rest);
    session->Call<calls::SignalSynchronizationObject>(signal);
  }
  const std::string of_a = a.bytes(), of_b = b.bytes();
  EXPECT_NE(Differences(of_a, of_b).find("1 calls are the same"), std::string::npos);
  EXPECT_NE(Differences(of_a, of_b, true).find("0 calls are the same"), std::string::npos);
}

}  // namespace
}  // namespace dxg::trace
