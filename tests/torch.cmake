foreach(layer model calibrate search pack run eval report)
  scalebits_tests(${layer} ${layer})
  if(TARGET test_${layer})
    target_precompile_headers(test_${layer} REUSE_FROM scalebits_model)
  endif()
endforeach()

# End to end: runs the program itself.
scalebits_tests(cli report)
if(TARGET test_cli)
  target_precompile_headers(test_cli REUSE_FROM scalebits_model)
  target_compile_definitions(test_cli PRIVATE SCALEBITS_BINARY="$<TARGET_FILE:scalebits>")
  add_dependencies(test_cli scalebits)
endif()
