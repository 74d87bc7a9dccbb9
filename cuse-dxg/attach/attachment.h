#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "base/status.h"
#include "cuse-dxg/attach/session.h"

namespace dxg::attach {

// A node that exists on this machine for as long as this object does, and the session that serves it.
//
//     auto attachment = AttachCuse() or AttachFuseFile(path);   nothing can be opened yet
//     attachment->Publish(node, workers);                       everybody can open it
//     ...
//     attachment->session().Stop();                             the Node may go
//     node.reset(); attachment.reset();                         unmounted, removed
//
// What takes rights is done by MakeNode and RemoveNode, within Publish and at the end. A process that gives
// up its rights before Publish has another one do it: a fork() of it, made before, in which the connection to
// the kernel is closed and these two are called on this object's copy.
class Attachment {
 public:
  virtual ~Attachment() = default;
  virtual Status Publish(Node& node, int workers) = 0;
  virtual Session& session() = 0;
  // Takes the node away from its clients, as the destructor does, while the session still stops or cannot:
  // each call of theirs ends with an error. From any thread; the process is to end next.
  virtual void Withdraw() = 0;
  virtual const std::string& path() const = 0;
  virtual const char* kind() const = 0;  // "cuse" or "fuse"

  virtual Status MakeNode() = 0;
  virtual Status RemoveNode() = 0;
  using Act = std::function<Status()>;
  void LeaveToOthers(Act make, Act remove) {
    make_ = std::move(make);
    remove_ = std::move(remove);
  }

 protected:
  Status Make() { return make_ ? make_() : MakeNode(); }
  Status Remove() { return remove_ ? remove_() : RemoveNode(); }

 private:
  Act make_, remove_;
};

}  // namespace dxg::attach
