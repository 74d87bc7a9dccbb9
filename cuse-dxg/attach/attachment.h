#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "cuse-dxg/attach/session.h"

namespace dxg::attach {

// A node that exists on this machine for as long as this object does, and the session that serves it.
//
//     auto attachment = AttachCuse() or AttachFuseFile(path);   nothing is visible yet
//     attachment->Publish(node, workers);                       everybody can open it
//     ...
//     attachment->session().Stop();                             the Node may go
//     node.reset(); attachment.reset();                         unmounted, removed
class Attachment {
 public:
  virtual ~Attachment() = default;
  virtual Status Publish(Node& node, int workers) = 0;
  virtual Session& session() = 0;
  virtual const std::string& path() const = 0;
};

}  // namespace dxg::attach
