# Most of the time of a build goes into parsing the same headers: protobuf, the generated contract, GoogleTest. So the files of a
# target are compiled several at a time, which parses them once. No file may rely on it: each still includes what it uses, and
# -DDXG_UNITY=OFF compiles file by file, as clang-tidy does.
option(DXG_UNITY "Compile several files of a target at a time" ON)

# dxg_unity(BATCH targets...): at most BATCH files at a time. More are quicker to build whole, and slower to build again.
function(dxg_unity batch)
  if(DXG_UNITY)
    set_target_properties(${ARGN} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${batch})
    # A coroutine whose frame holds types of its file would be warned of: g++ takes files of such a build for headers.
    foreach(target IN LISTS ARGN)
      target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
    endforeach()
  endif()
endfunction()

# dxg_quick_to_build(targets...): for what runs once in a process (command lines, tests). -O1 compiles it in two thirds of the time,
# and with sanitizers -O0 in half of it. Not for what is worth what it does per second: the data's way, the simulation, the
# benchmarks.
function(dxg_quick_to_build)
  foreach(target IN LISTS ARGN)
    target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O1>)
    get_target_property(libraries ${target} LINK_LIBRARIES)
    if(DXG_SANITIZE AND NOT nlohmann_json::nlohmann_json IN_LIST libraries)  # reading records takes minutes without optimization
      target_compile_options(${target} PRIVATE -O0)
    endif()
  endforeach()
endfunction()
