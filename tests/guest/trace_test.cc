// A line of the trace, to the last digit: which unit a number is in is what a reader cannot see.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <sstream>

#include "cuse-dxg/trace/text_trace.h"
#include "proto/contract/calls.gen.h"

namespace dxg::trace {
namespace {

class TraceTest : public testing::Test {
 protected:
  TraceTest() : path_(testing::TempDir() + "/trace.XXXXXX") { close(mkstemp(path_.data())); }
  ~TraceTest() override { unlink(path_.c_str()); }

  std::string LineOf(const guest::CallReport& report) {
    auto trace = TextTrace::Create(path_);
    EXPECT_TRUE(trace.ok());
    (*trace)->OnCall(report);
    std::ifstream file(path_);  // a line is there when its call was answered
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }

  std::string path_;
};

TEST_F(TraceTest, TimesAreInSecondsWithMicroseconds) {
  const Status ok = Status::Ok();
  guest::CallReport report{
      contract::FindCall(LX_DXCREATEDEVICE), LX_DXCREATEDEVICE, 77, nullptr, nullptr, &ok, 0};
  for (const auto& [ns, text] : {std::pair<uint64_t, const char*>{999, "<0.000000>"},
                                 {1'000, "<0.000001>"},
                                 {1'234'567, "<0.001234>"},
                                 {999'999'999, "<0.999999>"},
                                 {1'000'000'000, "<1.000000>"},
                                 {61'002'003'999, "<61.002003>"}}) {
    report.duration_ns = ns;
    EXPECT_EQ(LineOf(report), std::string("0.000000 [77] CreateDevice() = 0 ") + text + "\n");
  }
}

TEST_F(TraceTest, SaysWhatWasAskedAnsweredAndRefused) {
  calls::CreateDevice::Request request;
  calls::CreateDevice::Reply reply;
  request.set_adapter(0x40000000);
  reply.set_device(0x40000040);
  const Status ok = Status::Ok(), refused = Status::Refuse(EINVAL, "no such adapter");
  guest::CallReport report{
      contract::FindCall(LX_DXCREATEDEVICE), LX_DXCREATEDEVICE, 5, &request, &reply, &ok, 2'000};
  EXPECT_EQ(
      LineOf(report),
      "0.000000 [5] CreateDevice({adapter=0x40000000, flags=0x0}) = 0 {device=0x40000040} <0.000002>\n");
  report.status = &refused;
  EXPECT_EQ(LineOf(report),
            "0.000000 [5] CreateDevice({adapter=0x40000000, flags=0x0}) = -1 EINVAL (Invalid argument) "
            "<0.000002>: no "
            "such adapter\n");
  report.row = nullptr;
  report.code = 0x12;
  EXPECT_EQ(LineOf(report),
            "0.000000 [5] ioctl(0x00000012) = -1 EINVAL (Invalid argument) <0.000002>: no such adapter\n");
}

TEST_F(TraceTest, SaysWhereItCannotBeWritten) {
  auto trace = TextTrace::Create("/nowhere/at/all");
  ASSERT_FALSE(trace.ok());
  EXPECT_EQ(trace.status().value(), -ENOENT);
}

}  // namespace
}  // namespace dxg::trace
