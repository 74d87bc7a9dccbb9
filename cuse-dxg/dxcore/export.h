#pragma once

// What the library shows to others. All else is hidden.
#define DXG_EXPORT extern "C" __attribute__((visibility("default")))
