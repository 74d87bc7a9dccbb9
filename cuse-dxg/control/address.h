#pragma once

namespace dxg::control {

// Where the program of `cuse-dxg run` finds its daemon's socket, and where else `cuse-dxg ctl` looks.
inline constexpr char kPathVariable[] = "DXG_CONTROL";
inline constexpr char kPathDefault[] = "/run/cuse-dxg/control";
inline constexpr char kPathNone[] = "none";
inline constexpr char kOption[] = "--control";  // which both ends have

}  // namespace dxg::control
