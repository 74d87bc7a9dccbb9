# How everything here is compiled.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set_property(GLOBAL PROPERTY USE_FOLDERS ON)

set(DXG_SANITIZE "" CACHE STRING "Sanitizers for every target, as for -fsanitize= (address,undefined or thread)")
option(DXG_WERROR "Warnings are errors" OFF)
option(DXG_FUZZ "Build the libFuzzer targets (clang only)" OFF)

add_compile_options(-Wall -Wextra -Wno-missing-field-initializers)
# g++ 12 sees overlapping copies in std::string and bad frees in std::vector where there are none (GCC bug 105651 and its kin).
add_compile_options("$<$<CXX_COMPILER_ID:GNU>:-Wno-restrict;-Wno-free-nonheap-object>")
# clang checks locks and what they guard (base/mutex.h). It compiles the preset asan.
add_compile_options("$<$<CXX_COMPILER_ID:Clang>:-Wthread-safety;-Wthread-safety-beta;-Werror=thread-safety;-Werror=thread-safety-beta>")
if(DXG_WERROR)
  add_compile_options(-Werror)
endif()
if(DXG_SANITIZE)
  # What the undefined-behaviour sanitizer finds ends the program, or a test would pass with it.
  add_compile_options(-fsanitize=${DXG_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${DXG_SANITIZE})
  # clang 14 cannot put this one's prologue before the parts of a coroutine.
  add_compile_options($<$<CXX_COMPILER_ID:Clang>:-fno-sanitize=function>)
  # 60 large programs, each linked in a quarter of the time.
  find_program(DXG_LLD ld.lld)
  if(DXG_LLD)
    add_link_options(-fuse-ld=lld)
  endif()
endif()
if(DXG_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# Objects name source files from the top, wherever the clone is.
add_compile_options(-ffile-prefix-map=${CMAKE_SOURCE_DIR}/= -ffile-prefix-map=${CMAKE_BINARY_DIR}/=)

# A second build of the same sources, also in another clone, is mostly answered from ccache where it is installed.
find_program(DXG_CCACHE ccache)
if(DXG_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER
    ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=pch_defines,time_macros ${DXG_CCACHE})
endif()

# Every include names its room from the top: "cuse-dxg/guest/process.h", "proto/abi/d3dkmthk.h".
include_directories(${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR})
