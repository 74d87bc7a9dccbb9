// What the guest counts of calls, without calls.
#include "cuse-dxg/guest/census.h"

#include <gtest/gtest.h>

#include <cstring>

#include "proto/abi/d3dkmthk.h"
#include "proto/abi/qaitype.h"
#include "tests/guest/counted_memory.h"

namespace dxg::guest {
namespace {

using Thing = ControlReply::Thing;

class CensusTest : public testing::Test {
 protected:
  template <class Traits, class Request>
  void Count(const Request& request, const Status& status) {
    census.Count({&Traits::Row(), Traits::Row().code, 10, 11, status}, request);
  }
  ControlReply Report() const {
    ControlReply report;
    census.AddTo(&report);
    return report;
  }
  static QueryAdapterInfo::Request Registry(const std::string& name, uint32_t key = 1) {
    QueryAdapterInfo::Request request;
    request.set_type(KMTQAITYPE_QUERYREGISTRY);
    std::string data(600, '\0');
    std::memcpy(data.data(), &key, sizeof key);
    for (size_t i = 0; i < name.size() && 8 + 2 * i < data.size(); ++i) data[8 + 2 * i] = name[i];
    request.set_private_data(data);
    return request;
  }
  Census census;
};

const Status kOk = Status::Ok();

TEST_F(CensusTest, CountsCallsAndRefusals) {
  Count<calls::DestroyDevice>(DestroyDevice::Request(), kOk);
  Count<calls::DestroyDevice>(DestroyDevice::Request(), Status::Refuse(EINVAL, "no such device"));
  Count<calls::DestroyDevice>(DestroyDevice::Request(), Status(259));
  const ControlReply report = Report();
  ASSERT_EQ(report.calls_size(), 1);
  EXPECT_EQ(report.calls(0).name(), "DestroyDevice");
  EXPECT_EQ(report.calls(0).count(), 3u);
  EXPECT_EQ(report.calls(0).refused(), 1u);
  ASSERT_EQ(report.things_size(), 1);
  EXPECT_EQ(report.things(0).kind(), Thing::REFUSED);
  EXPECT_EQ(report.things(0).number(), static_cast<uint64_t>(EINVAL));
  EXPECT_EQ(report.things(0).why(), "no such device");
  EXPECT_EQ(report.things(0).process(), 10u);
  EXPECT_EQ(report.things(0).thread(), 11u);
}

TEST_F(CensusTest, TellsQueriesByTypeAndRegistryValuesByName) {
  QueryAdapterInfo::Request request;
  request.set_type(15);
  Count<calls::QueryAdapterInfo>(request, kOk);
  Count<calls::QueryAdapterInfo>(Registry("ReleaseVersion"), Status::Refuse(ENOENT, "none"));
  Count<calls::QueryAdapterInfo>(Registry(std::string(300, 'n')), kOk);
  Count<calls::QueryAdapterInfo>(Registry("", 2), kOk);
  request.set_private_data("cut");
  request.set_type(KMTQAITYPE_QUERYREGISTRY);
  Count<calls::QueryAdapterInfo>(request, kOk);
  const ControlReply report = Report();
  ASSERT_EQ(report.things_size(), 4);
  EXPECT_EQ(report.things(0).what(), fidelity::kType);
  EXPECT_EQ(report.things(0).number(), 15u);
  EXPECT_EQ(report.things(1).what(), "registry value ReleaseVersion");
  EXPECT_EQ(report.things(1).kind(), Thing::REFUSED);
  EXPECT_EQ(report.things(2).what().substr(0, 18), "registry value nnn");
  EXPECT_EQ(report.things(3).what(), fidelity::kType) << "a path has no name";
  EXPECT_EQ(report.things(3).count(), 2u);
  EXPECT_EQ(report.calls(0).count(), 5u);
}

TEST_F(CensusTest, SaysNothingOfARequestThatItCouldNotRead) {
  Count<calls::QueryAdapterInfo>(QueryAdapterInfo::Request(), Status::Refuse(EFAULT, "not there"));
  Count<calls::Escape>(Escape::Request(), Status::Refuse(EFAULT, "not there"));
  const ControlReply report = Report();
  EXPECT_EQ(report.things_size(), 2);
  for (const Thing& thing : report.things()) EXPECT_EQ(thing.what(), fidelity::kErrno);
}

TEST_F(CensusTest, CountsPrivateDataBySize) {
  CreateContextVirtual::Request context;
  Count<calls::CreateContextVirtual>(context, kOk);
  context.set_priv_drv_data_size(24);
  Count<calls::CreateContextVirtual>(context, kOk);
  Count<calls::CreateContextVirtual>(context, Status::Refuse(EINVAL, "refused"));
  CreateAllocation::Request allocation;
  allocation.add_allocation_info()->set_priv_drv_data_size(64);
  allocation.add_allocation_info()->set_priv_drv_data_size(64);
  Count<calls::CreateAllocation>(allocation, kOk);
  const ControlReply report = Report();
  ASSERT_EQ(report.things_size(), 3);
  EXPECT_EQ(report.things(0).number(), 24u);
  EXPECT_EQ(report.things(0).count(), 1u);
  EXPECT_EQ(report.things(1).kind(), Thing::REFUSED);
  EXPECT_EQ(report.things(2).number(), 64u);
  EXPECT_EQ(report.things(2).count(), 2u);
}

TEST_F(CensusTest, ACodeOfNoCallIsNamed) {
  const Status refused = Status::Refuse(ENOTTY, "no call");
  census.Count({nullptr, 0xC0044703, 0, 11, refused});
  ASSERT_EQ(Report().things_size(), 1);
  EXPECT_EQ(Report().things(0).call(), "");
  EXPECT_EQ(Report().things(0).number(), 0xC0044703u);
  EXPECT_EQ(Report().calls_size(), 0);
}

TEST_F(CensusTest, AllocatesNothing) {
  const Status refused = Status::Refuse(EINVAL, "refused");
  SubmitCommand::Request submit;
  submit.set_priv_drv_data_size(64);
  const auto registry = Registry("ReleaseVersion");
  FailAllocation(0);
  for (uint32_t i = 0; i < 1000; ++i) {
    submit.set_priv_drv_data_size(i % 200);
    Count<calls::SubmitCommand>(submit, kOk);
    Count<calls::SubmitCommand>(submit, refused);
    Count<calls::QueryAdapterInfo>(registry, kOk);
  }
  EXPECT_EQ(AllocationsSince(), 0u);
}

}  // namespace
}  // namespace dxg::guest
