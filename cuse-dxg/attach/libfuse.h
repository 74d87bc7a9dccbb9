#pragma once

// libfuse's headers want to be told once which interface is meant; everybody includes them through here.
#define FUSE_USE_VERSION 314
#include <fuse3/cuse_lowlevel.h>
#include <fuse3/fuse_lowlevel.h>
