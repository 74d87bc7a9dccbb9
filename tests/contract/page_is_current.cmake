# cmake -DDXG_DOCS=PROGRAM -DWHAT=OPTION -DPAGE=FILE -DFRESH=FILE -P page_is_current.cmake
# Fails where PAGE is not what DXG_DOCS writes today. Of some pages it writes a part, so it gets a copy.
file(COPY_FILE ${PAGE} ${FRESH})
execute_process(COMMAND ${DXG_DOCS} ${WHAT} ${FRESH} RESULT_VARIABLE written)
if(NOT written EQUAL 0)
  message(FATAL_ERROR "${DXG_DOCS} ${WHAT} ${FRESH} failed: ${written}")
endif()
execute_process(COMMAND ${CMAKE_COMMAND} -E compare_files ${PAGE} ${FRESH} RESULT_VARIABLE differs)
if(NOT differs EQUAL 0)
  message(FATAL_ERROR "${PAGE} is not what the contract says today. Update it with:\n  ${DXG_DOCS} ${WHAT} ${PAGE}")
endif()
