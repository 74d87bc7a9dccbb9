# cmake -DDXG_DOCS=PROGRAM -DPAGE=FILE -DFRESH=FILE -P page_is_current.cmake
# Fails where PAGE is not what DXG_DOCS writes today.
execute_process(COMMAND ${DXG_DOCS} --docs ${FRESH} RESULT_VARIABLE written)
if(NOT written EQUAL 0)
  message(FATAL_ERROR "${DXG_DOCS} --docs ${FRESH} failed: ${written}")
endif()
execute_process(COMMAND ${CMAKE_COMMAND} -E compare_files ${PAGE} ${FRESH} RESULT_VARIABLE differs)
if(NOT differs EQUAL 0)
  message(FATAL_ERROR "${PAGE} is not what the contract says today. Update it with:\n  ${DXG_DOCS} --docs ${PAGE}")
endif()
