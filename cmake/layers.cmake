# One static library per layer, in the include order of docs/design.md: a layer links the layer to its left, so that an
# include that goes the wrong way and needs a symbol also fails to link.

# scalebits_layer(NAME LEFT [LIBRARY...]): scalebits/NAME/*.cc becomes scalebits_NAME.
function(scalebits_layer name left)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/scalebits/${name}/*.cc)
  add_library(scalebits_${name} STATIC ${sources})
  target_include_directories(scalebits_${name} PUBLIC ${PROJECT_SOURCE_DIR})
  if(left)
    target_link_libraries(scalebits_${name} PUBLIC scalebits_${left})
  endif()
  target_link_libraries(scalebits_${name} PUBLIC ${ARGN})
endfunction()

# The same for a layer that uses libtorch; all but model/ reuse its precompiled header.
function(scalebits_torch_layer name left)
  scalebits_layer(${name} ${left} ${ARGN})
  target_compile_options(scalebits_${name} PUBLIC ${TORCH_CXX_FLAGS_LIST})
  target_include_directories(scalebits_${name} SYSTEM PUBLIC ${TORCH_INCLUDE_DIRS})
  target_link_libraries(scalebits_${name} PUBLIC ${TORCH_LIBRARIES})
  if(NOT name STREQUAL model)
    target_precompile_headers(scalebits_${name} REUSE_FROM scalebits_model)
  endif()
endfunction()
