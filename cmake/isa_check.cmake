# AVX code outside its own namespace fails the build (target check_isa, in `all`; tools/lint/check_isa_symbols.sh says
# why). Included by scalebits/CMakeLists.txt after the layers, because compile flags of a single source file are seen
# only in the folder that sets them.
add_custom_target(check_isa ALL)

# Sanitizers add symbols of their own. Flags given by hand, such as -march=native, are at the builder's risk: then every
# function may have AVX code, and the program is for that machine.
if(SCALEBITS_SANITIZE OR NOT CMAKE_SYSTEM_PROCESSOR STREQUAL x86_64 OR CMAKE_CXX_FLAGS MATCHES "-m(arch|avx|cpu)")
  return()
endif()

# Files of one instruction set are compiled once more without optimization, which would inline a leaked function away.
file(GLOB isa_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/scalebits/kernels/*avx*.cc
  ${PROJECT_SOURCE_DIR}/scalebits/quantize/*avx*.cc)
set(mixed_sources ${PROJECT_SOURCE_DIR}/scalebits/quantize/clip_sums.cc)
add_library(isa_without_optimization OBJECT ${isa_sources} ${mixed_sources})
target_compile_options(isa_without_optimization PRIVATE -O0 -g0)
target_link_libraries(isa_without_optimization PRIVATE scalebits_kernels)

# And what is linked into the program holds AVX code in these files only.
set(objects $<TARGET_OBJECTS:isa_without_optimization>)
foreach(layer base format kernels quantize io)
  list(APPEND objects $<TARGET_OBJECTS:scalebits_${layer}>)
endforeach()

set(script ${PROJECT_SOURCE_DIR}/tools/lint/check_isa_symbols.sh)
set(stamp ${PROJECT_BINARY_DIR}/check_isa.stamp)
add_custom_command(OUTPUT ${stamp}
  COMMAND sh ${script} ${objects}
  COMMAND ${CMAKE_COMMAND} -E touch ${stamp}
  DEPENDS ${objects} ${script}
  COMMAND_EXPAND_LISTS COMMENT "Checking symbols of ISA files" VERBATIM)
add_custom_target(check_isa_symbols DEPENDS ${stamp})
add_dependencies(check_isa check_isa_symbols)
add_test(NAME lint.isa_symbols COMMAND sh ${script} ${objects} COMMAND_EXPAND_LISTS)
set_tests_properties(lint.isa_symbols PROPERTIES LABELS lint TIMEOUT 300)
