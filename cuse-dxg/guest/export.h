#pragma once

#include <memory>

#include "cuse-dxg/attach/node.h"
#include "cuse-dxg/client/access.h"
#include "cuse-dxg/guest/objects.h"

namespace dxg::guest {

class Driver;

// DXG_IOCTL_EXPORT (proto/abi/dxg_export.h): the memory of a shared resource as an ordinary descriptor, for
// programs and kernel interfaces that know nothing of /dev/dxg. Answers the request.
void Export(Driver& driver, client::Access& access, std::unique_ptr<attach::IoctlRequest>& request,
            std::shared_ptr<SharedResource> object);

}  // namespace dxg::guest
