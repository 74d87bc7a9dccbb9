# `cpack -G DEB` in the build's folder makes a Debian package of each component, `cpack --config CPackSourceConfig.cmake` a tarball
# of the source (docs/packages.md).
set(CPACK_PACKAGE_NAME cuse-dxg)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_VENDOR "the cuse-dxg authors")
set(CPACK_PACKAGE_CONTACT "cuse-dxg authors <cuse-dxg-authors@users.noreply.github.com>")
set(CPACK_RESOURCE_FILE_LICENSE ${CMAKE_SOURCE_DIR}/LICENSE)
set(CPACK_GENERATOR DEB)
set(CPACK_COMPONENTS_ALL Runtime dev)
if(BUILD_TESTING)
  list(APPEND CPACK_COMPONENTS_ALL tests)
endif()
# The default: any other one would be the first line of each package's description.
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_NAME} built using CMake")
# A unit names its program in full, so files have to be written for where they go, and not for where they are packed.
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SECTION devel)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(same_version "(= ${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE})")

set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME cuse-dxg)
set(CPACK_COMPONENT_RUNTIME_DESCRIPTION "/dev/dxg, the GPU device of WSL2, in userspace
Gives one program or all of them a /dev/dxg on any Linux machine, without
Windows, Hyper-V or a GPU. The GPU behind it is simulated, its memory is
real, and it fails on demand.")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_EXTRA
  "${CMAKE_SOURCE_DIR}/cmake/debian/postinst;${CMAKE_SOURCE_DIR}/cmake/debian/prerm;${CMAKE_SOURCE_DIR}/cmake/debian/postrm")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_STRICT_PERMISSION ON)

set(CPACK_DEBIAN_DEV_PACKAGE_NAME cuse-dxg-dev)
set(CPACK_COMPONENT_DEV_DESCRIPTION "interface of /dev/dxg: headers, protocol, examples
The published structures and ioctls for C and C++, the protocol of cuse-dxg
with its hosts for protobuf, what pkg-config and CMake say of them, and
examples.")
set(CPACK_DEBIAN_DEV_PACKAGE_ARCHITECTURE all)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEV_PACKAGE_SHLIBDEPS OFF)
set(CPACK_DEBIAN_DEV_PACKAGE_SUGGESTS "cuse-dxg, python3-protobuf, protobuf-compiler")

set(CPACK_DEBIAN_TESTS_PACKAGE_NAME cuse-dxg-tests)
set(CPACK_COMPONENT_TESTS_DESCRIPTION "tests of any /dev/dxg: conformance, records, benchmarks
A conformance suite for any /dev/dxg, records of the real driver and the
program that replays them, a simulation of guest and host from seeds, and
benchmarks.")
set(CPACK_DEBIAN_TESTS_PACKAGE_DEPENDS "cuse-dxg ${same_version}")

# What Debian asks of every package.
file(WRITE ${CMAKE_BINARY_DIR}/debian/changelog.new
"cuse-dxg (${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE}) unstable; urgency=medium

  * Made from the source; its own changelog says what has changed.

 -- ${CPACK_PACKAGE_CONTACT}  Thu, 01 Jan 2026 00:00:00 +0000
")
execute_process(COMMAND gzip -9nc INPUT_FILE ${CMAKE_BINARY_DIR}/debian/changelog.new OUTPUT_FILE ${CMAKE_BINARY_DIR}/debian/changelog.Debian.gz
  COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND gzip -9nc INPUT_FILE ${CMAKE_SOURCE_DIR}/CHANGELOG.md OUTPUT_FILE ${CMAKE_BINARY_DIR}/debian/changelog.gz
  COMMAND_ERROR_IS_FATAL ANY)
file(READ ${CMAKE_SOURCE_DIR}/LICENSE license)
string(REGEX REPLACE "^[^\n]*\n\n[^\n]*\n\n" "" license "${license}")
string(REGEX REPLACE "\n\n" "\n.\n" license "${license}")
string(REGEX REPLACE "\n([^\n])" "\n \\1" license "${license}")
file(WRITE ${CMAKE_BINARY_DIR}/debian/copyright
"Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 2026 the cuse-dxg authors
License: Expat
 ${license}")
foreach(component IN LISTS CPACK_COMPONENTS_ALL)
  string(TOUPPER ${component} upper)
  install(FILES ${CMAKE_BINARY_DIR}/debian/copyright ${CMAKE_BINARY_DIR}/debian/changelog.Debian.gz ${CMAKE_BINARY_DIR}/debian/changelog.gz
          DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${CPACK_DEBIAN_${upper}_PACKAGE_NAME} COMPONENT ${component})
endforeach()
install(FILES README.md LICENSE CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/cuse-dxg COMPONENT Runtime)
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/cuse-dxg COMPONENT Runtime FILES_MATCHING PATTERN "*.md")

set(CPACK_SOURCE_GENERATOR TXZ)
set(CPACK_SOURCE_PACKAGE_FILE_NAME cuse-dxg-${PROJECT_VERSION})
set(CPACK_SOURCE_IGNORE_FILES "/build[^/]*/" "/\\\\.git/" "/\\\\.git$" "/__pycache__/" "/\\\\.pytest_cache/")
include(CPack)
