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
