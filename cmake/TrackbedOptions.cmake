# Build options and the warnings every target of ours is compiled with.

option(TRACKBED_BUILD_TESTS "Build the tests" ${PROJECT_IS_TOP_LEVEL})
option(TRACKBED_BUILD_BENCHMARKS "Build the benchmarks" ${PROJECT_IS_TOP_LEVEL})
option(TRACKBED_WERROR "Turn warnings into errors" OFF)
option(TRACKBED_BUNDLE "Carry all libraries inside what is built, see TrackbedBundle.cmake" OFF)
option(TRACKBED_COVERAGE "Count which lines and branches run (needs clang)" OFF)
option(TRACKBED_FUZZ "Build the fuzzers for libFuzzer (needs clang)" OFF)
set(TRACKBED_SANITIZE "" CACHE STRING "Sanitizers, as in -fsanitize=… (address,undefined or thread)")

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

find_program(TRACKBED_CCACHE ccache)
if(TRACKBED_CCACHE AND PROJECT_IS_TOP_LEVEL)
  set(CMAKE_C_COMPILER_LAUNCHER "${TRACKBED_CCACHE}")
  set(CMAKE_CXX_COMPILER_LAUNCHER "${TRACKBED_CCACHE}")
endif()

add_library(trackbed_warnings INTERFACE)
target_compile_options(trackbed_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion $<$<BOOL:${TRACKBED_WERROR}>:-Werror>
  # GCC 12 sees overlaps and overflows of strings that are not there (GCC bug 105651).
  "$<$<AND:$<CXX_COMPILER_ID:GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Wno-restrict;-Wno-maybe-uninitialized;-Wno-stringop-overflow>"
  # libstdc++ 12 itself uses what it calls deprecated, in std::stable_sort.
  $<$<CXX_COMPILER_ID:Clang>:-Wno-deprecated-declarations>)

if(TRACKBED_SANITIZE)
  add_compile_options(-fsanitize=${TRACKBED_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${TRACKBED_SANITIZE})
endif()
if(TRACKBED_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
if(TRACKBED_COVERAGE)
  # Counters lie in files that are mapped (%c), one a program (%m): what is killed has counted too.
  set(TRACKBED_COVERAGE_OPTIONS
    "-fprofile-instr-generate=${PROJECT_BINARY_DIR}/profiles/%c%m.profraw" -fcoverage-mapping
    "SHELL:-mllvm -runtime-counter-relocation")
  add_compile_options(${TRACKBED_COVERAGE_OPTIONS})
  add_link_options(-fprofile-instr-generate)
endif()
