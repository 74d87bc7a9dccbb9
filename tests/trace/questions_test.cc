// Questions to a recording: which objects are left, and what it cannot make a reader do.
#include <gtest/gtest.h>

#include <cstdio>
#include <memory>
#include <random>

#include "cuse-dxg/trace/csv.h"
#include "cuse-dxg/trace/objects.h"
#include "cuse-dxg/trace/print.h"
#include "cuse-dxg/trace/stats.h"
#include "cuse-dxg/trace/timeline.h"
#include "link/trace/bounds.h"
#include "link/trace/trace_writer.h"
#include "proto/contract/calls.gen.h"
#include "tests/trace/asked.h"
#include "tests/trace/read_all.h"

namespace dxg::trace {
namespace {

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

// FlushHeapTransitions answers with the host's handle of the adapter, which is none of the program's.
TEST(Objects, AreNotWhatTheHostHasHandlesOf) {
  Session session;
  session.Open();
  OpenAdapter(&session, 0x40);
  calls::FlushHeapTransitions::Request request;
  calls::FlushHeapTransitions::Reply reply;
  request.set_adapter(0x40);
  reply.set_adapter(0x999);
  session.Call<calls::FlushHeapTransitions>(request, reply);
  EXPECT_EQ(ObjectsOf(&session).all().size(), 1u);
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
