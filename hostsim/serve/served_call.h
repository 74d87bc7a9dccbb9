#pragma once

#include <google/protobuf/message.h>

#include <cstdint>
#include <memory>

#include "link/backend.h"

namespace dxg::hostsim::serve {

// A command of a guest on its way through the host, with its messages. It owns itself from Submit on.
class ServedCall {
 public:
  explicit ServedCall(const contract::CommandRow& command)
      : request(command.request->New()), reply(command.reply->New()), command_(command) {}
  virtual ~ServedCall() = default;

  // The host has answered, or the command did not get to it: its transport's Status. Once, on any thread;
  // also where nobody wants an answer.
  virtual void Answer(const Status& transport) = 0;

  const contract::CommandRow& command() const { return command_; }
  bool asynchronous() const { return asynchronous_; }

  static void Submit(std::unique_ptr<ServedCall> call, Backend& backend, uint32_t process, uint64_t adapter,
                     bool asynchronous) {
    ServedCall* const served = call.release();  // until the completion runs
    served->asynchronous_ = asynchronous;
    const HostCall host_call = {&served->command_,   process,     adapter, served->request.get(),
                                served->reply.get(), asynchronous};
    backend.Submit(host_call, {[](void* context, Status transport) {
                                 const std::unique_ptr<ServedCall> mine(static_cast<ServedCall*>(context));
                                 mine->Answer(transport);
                               },
                               served});
  }

  const std::unique_ptr<google::protobuf::Message> request, reply;

 private:
  const contract::CommandRow& command_;
  bool asynchronous_ = false;
};

}  // namespace dxg::hostsim::serve
