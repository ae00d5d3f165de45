# An include that goes the wrong way, or torch where it does not belong, fails the build (target check_layers, in `all`).
find_package(Python3 REQUIRED COMPONENTS Interpreter)

file(GLOB_RECURSE sources CONFIGURE_DEPENDS
  ${PROJECT_SOURCE_DIR}/scalebits/*.h ${PROJECT_SOURCE_DIR}/scalebits/*.cc ${PROJECT_SOURCE_DIR}/scalebits/*.inl
  ${PROJECT_SOURCE_DIR}/cli/*.h ${PROJECT_SOURCE_DIR}/cli/*.cc)
set(stamp ${PROJECT_BINARY_DIR}/check_layers.stamp)
add_custom_command(OUTPUT ${stamp}
  COMMAND Python3::Interpreter ${PROJECT_SOURCE_DIR}/tools/lint/check_layers.py
  COMMAND ${CMAKE_COMMAND} -E touch ${stamp}
  DEPENDS ${sources} ${PROJECT_SOURCE_DIR}/tools/lint/check_layers.py ${PROJECT_SOURCE_DIR}/tools/lint/source_files.py
  COMMENT "Checking layers" VERBATIM)
add_custom_target(check_layers ALL DEPENDS ${stamp})
