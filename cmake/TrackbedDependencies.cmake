# Every library we use, each under one name trackbed::dep::NAME, so that the odd names of the
# packages are handled here and nowhere else.

include(GNUInstallDirs)

function(trackbed_dependency name)
  add_library(trackbed_dep_${name} INTERFACE)
  target_link_libraries(trackbed_dep_${name} INTERFACE ${ARGN})
  add_library(trackbed::dep::${name} ALIAS trackbed_dep_${name})
  set_target_properties(trackbed_dep_${name} PROPERTIES EXPORT_NAME dep::${name})
endfunction()

find_package(nlohmann_json CONFIG REQUIRED)
trackbed_dependency(json nlohmann_json::nlohmann_json)

find_package(Protobuf REQUIRED)  # its compiler, in both modes
if(TRACKBED_BUNDLE)
  include(TrackbedBundle)
  trackbed_bundled(absl absl::status absl::statusor absl::strings absl::str_format
    absl::flat_hash_map absl::flat_hash_set absl::inlined_vector)
  trackbed_bundled(crypto "${TRACKBED_STATIC_CRYPTO}")
  trackbed_bundled(protobuf libprotobuf-lite)
  trackbed_bundled(yaml yaml-cpp)
  trackbed_bundled(sqlite trackbed_bundled_sqlite)
else()
  find_package(absl CONFIG REQUIRED)
  trackbed_dependency(absl absl::status absl::statusor absl::strings absl::str_format
    absl::flat_hash_map absl::flat_hash_set absl::inlined_vector)
  find_package(OpenSSL REQUIRED COMPONENTS Crypto)
  trackbed_dependency(crypto OpenSSL::Crypto)
  trackbed_dependency(protobuf protobuf::libprotobuf-lite)
  find_package(yaml-cpp CONFIG REQUIRED)
  if(TARGET yaml-cpp::yaml-cpp)
    trackbed_dependency(yaml yaml-cpp::yaml-cpp)
  else()
    trackbed_dependency(yaml yaml-cpp)
  endif()
  find_package(SQLite3 REQUIRED)
  trackbed_dependency(sqlite SQLite::SQLite3)
endif()

find_package(CLI11 CONFIG REQUIRED)
trackbed_dependency(cli CLI11::CLI11)

find_package(Threads REQUIRED)

# Nice to have.
# Containers, by the Docker Engine API: the headers here, the library at run time (curl_library.hpp).
find_package(CURL 7.85 QUIET)
trackbed_dependency(curl)
if(CURL_FOUND)
  target_include_directories(trackbed_dep_curl INTERFACE ${CURL_INCLUDE_DIRS})
  target_compile_definitions(trackbed_dep_curl INTERFACE TRACKBED_HAS_CURL)
endif()
find_package(TBB CONFIG QUIET)  # benchmarks
find_program(TRACKBED_BUBBLEWRAP bwrap)  # mounts of local tasks, at run time

# Compiles .proto files below include/ into `target`; #include "trackbed/v1/pipeline.pb.h".
function(trackbed_generate_schema target)
  set(root "${CMAKE_CURRENT_SOURCE_DIR}/include")
  set(out "${CMAKE_CURRENT_BINARY_DIR}/schema")
  file(MAKE_DIRECTORY "${out}")
  foreach(proto IN LISTS ARGN)
    cmake_path(RELATIVE_PATH proto BASE_DIRECTORY include OUTPUT_VARIABLE relative)
    string(REGEX REPLACE "\\.proto$" ".pb" stem "${relative}")
    add_custom_command(OUTPUT "${out}/${stem}.cc" "${out}/${stem}.h"
      COMMAND protobuf::protoc --cpp_out=${out} -I ${root} ${root}/${relative}
      DEPENDS "${root}/${relative}" VERBATIM)
    target_sources(${target} PRIVATE "${out}/${stem}.cc")
  endforeach()
  target_include_directories(${target} SYSTEM PUBLIC "$<BUILD_INTERFACE:${out}>")
endfunction()
