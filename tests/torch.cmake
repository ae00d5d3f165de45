foreach(layer model calibrate search pack run eval report)
  scalebits_tests(${layer} ${layer})
endforeach()
