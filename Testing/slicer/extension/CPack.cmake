if(NOT EXISTS ${CMAKE_BINARY_DIR}/metadata.txt)
  message(FATAL_ERROR "the extension's description comes before its package")
endif()
file(TOUCH ${CMAKE_BINARY_DIR}/packaged)
