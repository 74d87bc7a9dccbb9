# Most of the time of a build goes into parsing the same headers: protobuf, the generated contract, GoogleTest. They are parsed
# once, and every target that names itself here starts from that. No file may rely on it: each still includes what it uses, and
# -DDXG_PRECOMPILE=OFF builds without.
option(DXG_PRECOMPILE "Parse the headers that most files include once" ON)

set(standard_headers <algorithm> <array> <atomic> <cerrno> <chrono> <condition_variable> <cstdint> <cstring> <functional> <map>
  <memory> <mutex> <optional> <span> <string> <string_view> <thread> <unordered_map> <utility> <vector> <fmt/format.h>)
set(contract_headers "${CMAKE_BINARY_DIR}/proto/contract/calls.gen.h" "${CMAKE_BINARY_DIR}/proto/contract/host_commands.gen.h")

function(dxg_precompile_headers name)
  cmake_parse_arguments(PARSE_ARGV 1 T "" "" "LINK;HEADERS")
  if(NOT DXG_PRECOMPILE)
    return()
  endif()
  add_library(${name} OBJECT EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/cmake/precompiled.cc)
  target_link_libraries(${name} PRIVATE ${T_LINK})
  target_precompile_headers(${name} PRIVATE ${T_HEADERS})
  target_compile_options(${name} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
endfunction()

# Makes targets start from the headers of `name`.
function(dxg_precompiled name)
  if(DXG_PRECOMPILE)
    foreach(target IN LISTS ARGN)
      target_precompile_headers(${target} REUSE_FROM ${name})
      target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
    endforeach()
  endif()
endfunction()

dxg_precompile_headers(dxg_contract_headers LINK dxg_contract Threads::Threads HEADERS ${standard_headers} ${contract_headers})
