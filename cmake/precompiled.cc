// The headers that nearly every file includes are parsed once, here (cmake/precompiled.cmake).
