#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

namespace dxg::attach {

// A directory that every user can enter, for tests that mount and start programs as other users; the build
// tree may be private to its owner. It has copies of the programs and a place for the node.
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
