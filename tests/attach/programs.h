#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

namespace dxg::attach {

// For tests that mount and start programs as other users: a directory that everybody can enter, because the
// build tree may be private to its owner, and a place for the node in it. The programs are copied there.
class ProgramsTest : public testing::Test {
 protected:
  ProgramsTest();
  ~ProgramsTest() override;
  void SetUp() override;

  std::string Copy(const std::filesystem::path& program) const;
  static std::vector<std::string> AsNobody(std::vector<std::string> command);

  std::filesystem::path directory_, node_;
};

}  // namespace dxg::attach
