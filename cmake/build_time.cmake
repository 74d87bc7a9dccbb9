# Most of the time of a build goes into parsing the same headers: protobuf, the generated contract, GoogleTest. So the files of a
# target are compiled several at a time, which parses them once. No file may rely on it: each still includes what it uses, and
# -DDXG_UNITY=OFF compiles file by file, as clang-tidy does.
option(DXG_UNITY "Compile several files of a target at a time" ON)

# dxg_unity(BATCH targets...): at most BATCH files at a time. More are quicker to build whole, and slower to build again. A file with
# SKIP_UNITY_BUILD_INCLUSION, set before this, is compiled alone. The target's property DXG_UNITY_OWN_NAMES lists names that each of
# its files defines for itself. CMake's own UNITY_BUILD would write absolute paths, by which the compiler cache knows no file in
# another clone.
function(dxg_unity batch)
  if(NOT DXG_UNITY)
    return()
  endif()
  foreach(target IN LISTS ARGN)
    get_target_property(sources ${target} SOURCES)
    get_property(own TARGET ${target} PROPERTY DXG_UNITY_OWN_NAMES)
    set(alone)
    set(together)
    foreach(source IN LISTS sources)
      get_source_file_property(skip ${source} SKIP_UNITY_BUILD_INCLUSION)
      if(skip OR NOT source MATCHES "\\.cc$" OR source MATCHES "^\\$")
        list(APPEND alone ${source})
      else()
        cmake_path(ABSOLUTE_PATH source BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} NORMALIZE)
        cmake_path(IS_PREFIX CMAKE_BINARY_DIR ${source} is_generated)
        set(root ${CMAKE_SOURCE_DIR})
        if(is_generated)
          set(root ${CMAKE_BINARY_DIR})
          set_source_files_properties(${source} PROPERTIES HEADER_FILE_ONLY ON)
          list(APPEND alone ${source})  # so that the target still generates it
        endif()
        cmake_path(RELATIVE_PATH source BASE_DIRECTORY ${root})
        list(APPEND together ${source})
      endif()
    endforeach()
    list(LENGTH together count)
    math(EXPR size "(${count} + ${batch} - 1) / ${batch}")  # how many batches
    math(EXPR size "(${count} + ${size} - 1) / ${size}")    # of nearly the same size
    set(first 0)
    while(first LESS count)
      list(SUBLIST together ${first} ${size} part)
      set(text "")
      foreach(source IN LISTS part)
        string(MAKE_C_IDENTIFIER ${source} unique)
        foreach(name IN LISTS own)
          string(APPEND text "#undef ${name}\n#define ${name} ${unique}_${name}\n")
        endforeach()
        string(APPEND text "#include \"${source}\"\n")
      endforeach()
      set(file ${CMAKE_CURRENT_BINARY_DIR}/unity/${target}_${first}.cc)
      file(CONFIGURE OUTPUT ${file} CONTENT "${text}" @ONLY)  # writes only what changed
      list(APPEND alone ${file})
      math(EXPR first "${first} + ${size}")
    endwhile()
    set_target_properties(${target} PROPERTIES SOURCES "${alone}")
    # A coroutine whose frame holds types of its file would be warned of: g++ takes files of such a build for headers.
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
  endforeach()
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
