# How everything here is compiled.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set_property(GLOBAL PROPERTY USE_FOLDERS ON)

set(DXG_SANITIZE "" CACHE STRING "Sanitizers for every target, as for -fsanitize= (address,undefined or thread)")
option(DXG_WERROR "Warnings are errors" OFF)
option(DXG_FUZZ "Build the libFuzzer targets (clang only)" OFF)

add_compile_options(-Wall -Wextra -Wno-missing-field-initializers)
if(DXG_WERROR)
  add_compile_options(-Werror)
endif()
if(DXG_SANITIZE)
  add_compile_options(-fsanitize=${DXG_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${DXG_SANITIZE})
endif()
if(DXG_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# Every include names its room from the top: "cuse-dxg/guest/process.h", "proto/abi/d3dkmthk.h".
include_directories(${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR})
