# Run at every build (cmake -P): writes OUTPUT with the version and the commit of SOURCE_DIR, only when it changed, so
# that a new commit recompiles one small file.
execute_process(
  COMMAND git -C ${SOURCE_DIR} rev-parse --short HEAD
  OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed)
  set(commit unknown)
else()
  execute_process(COMMAND git -C ${SOURCE_DIR} diff-index --quiet HEAD -- ERROR_QUIET RESULT_VARIABLE dirty)
  if(dirty)
    string(APPEND commit "+")
  endif()
endif()
set(text "#define SCALEBITS_VERSION_TEXT \"${VERSION}\"\n#define SCALEBITS_COMMIT_TEXT \"${commit}\"\n")
if(EXISTS ${OUTPUT})
  file(READ ${OUTPUT} old)
endif()
if(NOT "${old}" STREQUAL "${text}")
  file(WRITE ${OUTPUT} "${text}")
endif()
