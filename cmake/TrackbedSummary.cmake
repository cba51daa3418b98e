# Says what was found and what follows from it.

function(trackbed_summary_line label value found_text missing_text)
  if(value)
    set(text "${found_text}")
  else()
    set(text "${missing_text}")
  endif()
  message(STATUS "  ${label} ${text}")
endfunction()

if(PROJECT_IS_TOP_LEVEL)
  find_package(CUDAToolkit QUIET)
  set(sanitizers "${TRACKBED_SANITIZE}")
  if(TRACKBED_FUZZ)
    string(APPEND sanitizers ", fuzzers")
  endif()

  message(STATUS "Trackbed ${PROJECT_VERSION}, ${CMAKE_BUILD_TYPE}, "
    "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}")
  trackbed_summary_line("sanitizers   " "${TRACKBED_SANITIZE}" "${sanitizers}" "none")
  trackbed_summary_line("ccache       " "${TRACKBED_CCACHE}" "yes" "no: every build starts anew")
  trackbed_summary_line("oneTBB       " "${TBB_FOUND}" "yes, ${TBB_VERSION}"
    "no: benchmarks leave out their comparison with it")
  trackbed_summary_line("libcurl      " "${CURL_FOUND}" "yes, headers of ${CURL_VERSION_STRING}"
    "no: attempts cannot run in containers (run --on docker)")
  trackbed_summary_line("bubblewrap   " "${TRACKBED_BUBBLEWRAP}" "yes"
    "no: local tasks see mounts as links, not as mounts")
  trackbed_summary_line("CUDA Toolkit " "${CUDAToolkit_FOUND}" "yes, ${CUDAToolkit_VERSION} (nothing uses it yet)"
    "no (nothing needs it)")
  trackbed_summary_line("tests        " "${TRACKBED_BUILD_TESTS}" "yes" "no")
  trackbed_summary_line("benchmarks   " "${TRACKBED_BUILD_BENCHMARKS}" "yes" "no")
endif()
