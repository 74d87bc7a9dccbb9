// Questions to a recording: which objects are left, what two recordings differ in, and what they cannot make
// a reader do.
#include <gtest/gtest.h>

#include <cstdio>
#include <memory>
#include <random>

#include "cuse-dxg/trace/csv.h"
#include "cuse-dxg/trace/diff.h"
#include "cuse-dxg/trace/objects.h"
#include "cuse-dxg/trace/print.h"
#include "cuse-dxg/trace/stats.h"
#include "cuse-dxg/trace/timeline.h"
#include "link/trace/bounds.h"
#include "link/trace/trace_writer.h"
#include "proto/contract/calls.gen.h"
#include "tests/trace/read_all.h"
#include "tests/trace/session.h"

namespace dxg::trace {
namespace {

// What a function prints.
template <typename Prints>
std::string Printed(const Prints& prints) {
  char* text = nullptr;
  size_t bytes = 0;
  std::FILE* const file = open_memstream(&text, &bytes);
  prints(file);
  std::fclose(file);
  std::string printed(text, bytes);
  std::free(text);
  return printed;
}

template <typename Each>
void ForEach(std::string bytes, const Each& each) {
  auto reader = ReaderOf(bytes);
  ASSERT_TRUE(reader.ok());
  Decoder decoder;
  for (;;) {
    auto what = (*reader)->Next();
    if (!what.ok() || *what == TraceReader::What::kEnd) return;
    if (*what != TraceReader::What::kRecord) continue;
    ASSERT_TRUE(decoder.Decode((*reader)->record()).ok());
    each((*reader)->record(), decoder, (*reader)->records());
  }
}

void OpenAdapter(Session* session, uint32_t handle) {
  OpenAdapterFromLuid::Request request;
  OpenAdapterFromLuid::Reply reply;
  request.set_adapter_luid(0x10000);
  reply.set_adapter_handle(handle);
  session->Call<calls::OpenAdapterFromLuid>(request, reply);
}

void CreateDevice(Session* session, uint32_t adapter, uint32_t device) {
  calls::CreateDevice::Request request;
  calls::CreateDevice::Reply reply;
  request.set_adapter(adapter);
  reply.set_device(device);
  session->Call<calls::CreateDevice>(request, reply);
}

void CreateContext(Session* session, uint32_t device, uint32_t context) {
  calls::CreateContextVirtual::Request request;
  calls::CreateContextVirtual::Reply reply;
  request.set_device(device);
  reply.set_context(context);
  session->Call<calls::CreateContextVirtual>(request, reply);
}

void DestroyDevice(Session* session, uint32_t device, Status status = Status::Ok()) {
  calls::DestroyDevice::Request request;
  request.set_device(device);
  session->Call<calls::DestroyDevice>(request, {}, std::move(status));
}

void CreateAllocation(Session* session, uint32_t device, uint32_t resource, uint32_t allocation) {
  calls::CreateAllocation::Request request;
  calls::CreateAllocation::Reply reply;
  request.set_device(device);
  reply.set_resource(resource);
  reply.set_global_share(0x99);
  reply.add_allocation_info()->set_allocation(allocation);
  session->Call<calls::CreateAllocation>(request, reply);
}

void DestroyAllocation(Session* session, uint32_t device, uint32_t resource) {
  calls::DestroyAllocation2::Request request;
  request.set_device(device);
  request.set_resource(resource);
  session->Call<calls::DestroyAllocation2>(request);
}

// -- Objects --------------------------------------------------------------------------------------

Objects ObjectsOf(Session* session) {
  Objects objects;
  ForEach(session->bytes(), [&](const TraceRecord& record, const Decoder& decoder, uint64_t number) {
    objects.Add(record, decoder, number);
  });
  return objects;
}

TEST(Objects, KnowWhatMadeThemAndWhatEndedThem) {
  using End = Objects::End;
  Session session;
  session.Open();
  OpenAdapter(&session, 0x40);  // the same number as the device's
  CreateDevice(&session, 0x40, 0x40);
  CreateContext(&session, 0x40, 0x80);
  CreateAllocation(&session, 0x40, 0xc0, 0x100);
  CreateAllocation(&session, 0x40, 0, 0x140);
  DestroyAllocation(&session, 0x40, 0xc0);
  DestroyDevice(&session, 0x999, Status::Refuse(EINVAL, "no such device"));
  const Objects objects = ObjectsOf(&session);
  ASSERT_EQ(objects.all().size(), 6u);
  const struct {
    const char* kind;
    const char* call;
    End end;
  } rows[] = {
      {"adapter", "OpenAdapterFromLuid", End::kNone},      {"device", "CreateDevice", End::kNone},
      {"context", "CreateContextVirtual", End::kNone},     {"resource", "CreateAllocation", End::kDestroyed},
      {"allocation", "CreateAllocation", End::kWithOwner}, {"allocation", "CreateAllocation", End::kNone}};
  for (size_t i = 0; i < std::size(rows); ++i) {
    EXPECT_EQ(objects.all()[i].kind, rows[i].kind) << i;
    EXPECT_EQ(objects.all()[i].call, rows[i].call) << i;
    EXPECT_EQ(objects.all()[i].end, rows[i].end) << i;
  }
  const std::string text = objects.Text(false, 1'000'000'000);
  EXPECT_NE(text.find("6 objects, of which 4 were never destroyed"), std::string::npos) << text;
  EXPECT_EQ(text.find("resource"), std::string::npos) << text;
  EXPECT_NE(objects.Text(true, 0).find("with its owner, by DestroyAllocation2"), std::string::npos);
  const std::string dot = objects.Dot();
  EXPECT_NE(dot.find("o1 -> o2;"), std::string::npos) << dot;
  EXPECT_NE(dot.find("o3 -> o4;"), std::string::npos) << dot;
}

TEST(Objects, AreGoneWithTheirDeviceAndWithTheirProcess) {
  using End = Objects::End;
  Session session;
  session.Open();
  OpenAdapter(&session, 0x40);
  CreateDevice(&session, 0x40, 0x40);
  CreateContext(&session, 0x40, 0x80);
  DestroyDevice(&session, 0x40);
  CreateDevice(&session, 0x40, 0x40);
  session.Close();
  const Objects objects = ObjectsOf(&session);
  ASSERT_EQ(objects.all().size(), 4u);
  EXPECT_EQ(objects.all()[0].end, End::kProcessEnded);
  EXPECT_EQ(objects.all()[1].end, End::kDestroyed);
  EXPECT_EQ(objects.all()[2].end, End::kWithOwner);
  EXPECT_EQ(objects.all()[3].end, End::kProcessEnded);
}

// -- Differences ----------------------------------------------------------------------------------

std::string Differences(std::string a, std::string b, bool exact = false) {
  return Printed([&](std::FILE* to) {
    auto of_a = ReaderOf(a), of_b = ReaderOf(b);
    DiffOptions options;
    options.exact = exact;
    auto result = Diff::Run(**of_a, **of_b, options, to);
    EXPECT_TRUE(result.ok()) << result.status().why();
  });
}

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
    return Comparable{.text = "a call", .names = {{'h', handle, given, process}}, .line = {}};
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

// -- Reasons --------------------------------------------------------------------------------------

TEST(Stats, GiveEachReasonOnceWhateverItsNumbers) {
  Session session;
  for (const uint32_t handle : {0x80u, 0xc0u})
    DestroyDevice(&session, handle, Status::Refuse(EINVAL, "{:#x} is no device", handle));
  Stats stats;
  ForEach(session.bytes(), [&](const TraceRecord& record, const Decoder&, uint64_t) { stats.Add(record); });
  EXPECT_NE(
      stats.Text().find("        2  DestroyDevice                           EINVAL      # is no device\n"),
      std::string::npos)
      << stats.Text();
}

// -- Rows -----------------------------------------------------------------------------------------

TEST(Csv, QuotesWhatHasCommasAndQuotes) {
  Session session;
  session.Open();
  DestroyDevice(&session, 0x80, Status::Refuse(EINVAL, "a \"reason\", with a comma"));
  std::string rows;
  ForEach(session.bytes(), [&](const TraceRecord& record, const Decoder& decoder, uint64_t number) {
    AppendCsv(record, decoder, number, 1'000'000'000, &rows);
  });
  EXPECT_EQ(rows,
            "2,0.000200000,10.000,7,7,DestroyDevice,-22,EINVAL,\"a \"\"reason\"\", with a "
            "comma\",\"{device=0x80}\",\"\"\n");
}

// -- What a recording must not do -----------------------------------------------------------------

TEST(Bounds, AMessageOfCountlessPartsIsRefused) {
  // A list of empty elements: two bytes each, and a hundred in memory.
  std::string bytes;
  for (size_t i = 0; i <= kPartsMax; ++i) bytes += std::string("\x62\0", 2);
  EXPECT_FALSE(IsBounded(calls::CreateAllocation::Request(), bytes));
  bytes.resize(kPartsMax * 2);
  EXPECT_TRUE(IsBounded(calls::CreateAllocation::Request(), bytes));
  std::string unknown;
  for (size_t i = 0; i <= kPartsMax; ++i) unknown += std::string("\xf8\x07\0", 3);
  EXPECT_FALSE(IsBounded(calls::CreateAllocation::Request(), unknown));
  EXPECT_TRUE(IsBounded(calls::CreateAllocation::Request(), std::string(kLargeBytes * 2, '\xff')))
      << "no message at all";
}

// The same recording in many frames, so that a cut leaves some of it.
std::string InFramesOfSeven(const std::string& bytes) {
  constexpr size_t kEach = 7;
  MemoryFile file;
  MemorySink sink(file);
  TraceHeader header;
  header.set_format(kFormat);
  header.set_version(kVersion);
  const auto writer = *TraceWriter::Begin(sink, header);
  Batch batch;
  for (const TraceRecord& record : ReadAll(bytes).records) {
    TraceItem item;
    *item.mutable_record() = record;
    batch.Add(item);
    if (batch.items.size() < kEach) continue;
    EXPECT_TRUE(writer->Write(batch).ok());
    batch.Clear();
  }
  EXPECT_TRUE(writer->Write(batch).ok() && writer->Close().ok());
  return file.bytes();
}

// Each question reads a file up to where it was cut.
TEST(Questions, ReadUpToACut) {
  Session session;
  session.Open();
  for (uint32_t i = 0; i < 60; ++i) {
    CreateDevice(&session, 0x40, 0x80 + i * 0x40);
    DestroyDevice(&session, 0x80 + i * 0x40);
  }
  const std::string whole = InFramesOfSeven(session.bytes());
  std::mt19937_64 random(20261130);  // any seed
  for (int attempt = 0; attempt < 1000; ++attempt) {
    std::string cut = whole.substr(0, random() % whole.size());
    auto reader = ReaderOf(cut);
    if (!reader.ok()) continue;  // not even that it is a recording
    Objects objects;
    Stats stats;
    std::string rows;
    const std::string timeline = Printed([&](std::FILE* to) {
      PerfettoWriter writer(to, 0, 0);
      Timeline timeline(writer);
      ForEach(cut, [&](const TraceRecord& record, const Decoder& decoder, uint64_t number) {
        objects.Add(record, decoder, number);
        stats.Add(record);
        AppendCsv(record, decoder, number, 0, &rows);
        timeline.Add(record, decoder, number);
      });
      EXPECT_TRUE(writer.Close().ok());
    });
    perfetto::Trace trace;
    ASSERT_TRUE(trace.ParseFromString(timeline)) << "cut at byte " << cut.size();
    const std::string lines = Printed([&](std::FILE* to) { EXPECT_TRUE(Print(**reader, {}, to).ok()); });
    ASSERT_EQ(std::ranges::count(rows, '\n') + (lines.empty() ? 0 : 1), std::ranges::count(lines, '\n'));
    ASSERT_NE(Differences(cut, cut).find("0 only in the first, 0 only in the second"), std::string::npos);
  }
}

}  // namespace
}  // namespace dxg::trace
