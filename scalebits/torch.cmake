# The layers that use libtorch. model/torch.h is precompiled once; the layers to the right reuse it.
separate_arguments(TORCH_CXX_FLAGS_LIST UNIX_COMMAND "${TORCH_CXX_FLAGS}")

scalebits_torch_layer(model io ${DNNL_LIBRARY})
target_precompile_headers(scalebits_model PRIVATE ${PROJECT_SOURCE_DIR}/scalebits/model/torch.h)
scalebits_torch_layer(calibrate model)
scalebits_torch_layer(search calibrate)
scalebits_torch_layer(pack search)
scalebits_torch_layer(run pack)
scalebits_torch_layer(eval run)
scalebits_torch_layer(report eval)

# The commit is asked for at every build; a new one recompiles report/build_info.cc alone.
set(build_info_dir ${CMAKE_CURRENT_BINARY_DIR}/build_info)
add_custom_target(scalebits_build_info
  COMMAND ${CMAKE_COMMAND} -DSOURCE_DIR=${PROJECT_SOURCE_DIR} -DVERSION=${PROJECT_VERSION}
          -DOUTPUT=${build_info_dir}/scalebits_build_info.inl -P ${PROJECT_SOURCE_DIR}/cmake/build_info.cmake
  BYPRODUCTS ${build_info_dir}/scalebits_build_info.inl VERBATIM)
add_dependencies(scalebits_report scalebits_build_info)
target_include_directories(scalebits_report PRIVATE ${build_info_dir})
