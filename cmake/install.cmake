# What is installed, in the components of which packages are made (docs/packages.md): Runtime is what a user runs, dev what other
# people's code is built with, tests what judges a /dev/dxg.
set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME Runtime)

# dxg_install_program(COMPONENT targets...): each with its manual page and completions, which it prints itself, so that they cannot
# differ from its --help. They are made when it is linked.
function(dxg_install_program component)
  foreach(target IN LISTS ARGN)
    install(TARGETS ${target} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT ${component})
    if(DXG_SANITIZE)
      continue()
    endif()
    set(pages ${CMAKE_BINARY_DIR}/share/${target})
    add_custom_command(TARGET ${target} POST_BUILD VERBATIM
      COMMAND ${CMAKE_SOURCE_DIR}/cmake/write-pages $<TARGET_FILE:${target}> ${pages})
    install(DIRECTORY ${pages}/ DESTINATION ${CMAKE_INSTALL_DATADIR} COMPONENT ${component})
  endforeach()
endfunction()
