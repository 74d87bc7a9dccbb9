#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "cuse-dxg/attach/library/session.h"
#include "tests/attach/library_client.h"
#include "tests/attach/scripted_node.h"

namespace dxg::attach::library {

class LibraryTest : public testing::Test {
 protected:
  explicit LibraryTest(FileLimits files = {}) : session_(*LibrarySession::Create(files)) {
    EXPECT_TRUE(session_->Start(node_, 2).ok());
  }
  ~LibraryTest() override { session_->Stop(); }
  Connection Connect() { return Connection(session_->place()); }

  ScriptedNode node_;
  const std::unique_ptr<LibrarySession> session_;
};

}  // namespace dxg::attach::library
