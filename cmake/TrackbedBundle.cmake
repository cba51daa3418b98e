# TRACKBED_BUNDLE: Abseil, Protocol Buffers, yaml-cpp and SQLite are built from the sources of their
# Debian packages (`./dev sources` fetches them), position-independent and hidden, and linked into
# what we ship. Debian's own archives cannot go into a shared library: they are compiled for programs.
#
# The headers are those of the installed -dev packages, of the same version, which is checked: our own
# objects are then the same in both modes, and only the libraries themselves are compiled once more.
#
# Gives trackbed_bundled(NAME LINK…): what trackbed_dependency is for the system's libraries.

set(TRACKBED_BUNDLE_SOURCES "${PROJECT_SOURCE_DIR}/build/sources" CACHE PATH
  "Where abseil/, protobuf/, yaml-cpp/ and sqlite3/ are, for TRACKBED_BUNDLE")
set(sources "${TRACKBED_BUNDLE_SOURCES}")
foreach(name abseil protobuf yaml-cpp sqlite3)
  if(NOT IS_DIRECTORY "${sources}/${name}")
    message(FATAL_ERROR "TRACKBED_BUNDLE: there is no ${sources}/${name}; run ./dev sources")
  endif()
endforeach()

# Every header that a package has installed is the one of the sources.
function(trackbed_check_same_headers what installed source)
  file(GLOB_RECURSE headers RELATIVE "${source}" "${source}/*.h" "${source}/*.inc")
  set(compared 0)
  foreach(header IN LISTS headers)
    if(EXISTS "${installed}/${header}")
      file(SHA256 "${installed}/${header}" found)
      file(SHA256 "${source}/${header}" expected)
      if(NOT found STREQUAL expected)
        message(FATAL_ERROR "TRACKBED_BUNDLE: ${installed}/${header} is not of the version of ${what} "
          "whose sources are in ${source}; install that version, or fetch the sources of this one")
      endif()
      math(EXPR compared "${compared} + 1")
    endif()
  endforeach()
  if(compared EQUAL 0)
    message(FATAL_ERROR "TRACKBED_BUNDLE: ${installed} has no headers of ${what}")
  endif()
endfunction()
find_path(TRACKBED_SYSTEM_HEADERS absl/base/options.h REQUIRED)
trackbed_check_same_headers(Abseil "${TRACKBED_SYSTEM_HEADERS}/absl" "${sources}/abseil/absl")
trackbed_check_same_headers("Protocol Buffers" "${TRACKBED_SYSTEM_HEADERS}/google/protobuf"
  "${sources}/protobuf/src/google/protobuf")
trackbed_check_same_headers(yaml-cpp "${TRACKBED_SYSTEM_HEADERS}/yaml-cpp"
  "${sources}/yaml-cpp/include/yaml-cpp")
file(READ "${sources}/sqlite3/VERSION" version)
string(STRIP "${version}" version)
file(STRINGS "${TRACKBED_SYSTEM_HEADERS}/sqlite3.h" found REGEX "^#define SQLITE_VERSION +\"${version}\"")
if(NOT found)
  message(FATAL_ERROR "TRACKBED_BUNDLE: ${TRACKBED_SYSTEM_HEADERS}/sqlite3.h is not of SQLite ${version}, "
    "whose sources are in ${sources}/sqlite3")
endif()

# Nothing of them is installed, tested or built but what is linked.
block()
  set(CMAKE_POLICY_VERSION_MINIMUM 3.5)
  set(CMAKE_WARN_DEPRECATED OFF)
  set(CMAKE_MESSAGE_LOG_LEVEL WARNING)
  set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)
  set(BUILD_SHARED_LIBS OFF)
  set(BUILD_TESTING OFF)
  # As Debian compiles them; and what is not reached can be left out.
  set(CMAKE_C_FLAGS_RELEASE "-O2 -DNDEBUG -ffunction-sections -fdata-sections")
  set(CMAKE_CXX_FLAGS_RELEASE "${CMAKE_C_FLAGS_RELEASE}")

  set(ABSL_ENABLE_INSTALL OFF)
  set(ABSL_PROPAGATE_CXX_STD ON)
  add_subdirectory("${sources}/abseil" third_party/abseil EXCLUDE_FROM_ALL SYSTEM)

  set(protobuf_BUILD_TESTS OFF)
  set(protobuf_BUILD_PROTOC_BINARIES OFF)
  set(protobuf_BUILD_SHARED_LIBS OFF)
  set(protobuf_INSTALL OFF)
  set(protobuf_WITH_ZLIB OFF)
  add_subdirectory("${sources}/protobuf" third_party/protobuf EXCLUDE_FROM_ALL SYSTEM)

  set(YAML_CPP_BUILD_CONTRIB OFF)
  set(YAML_CPP_BUILD_TOOLS OFF)
  set(YAML_CPP_BUILD_TESTS OFF)
  set(YAML_CPP_INSTALL OFF)
  add_subdirectory("${sources}/yaml-cpp" third_party/yaml-cpp EXCLUDE_FROM_ALL SYSTEM)
endblock()

# SQLite as one file, made as its own build makes it.
find_program(TRACKBED_MAKE NAMES make gmake REQUIRED)
find_program(TRACKBED_TCLSH tclsh REQUIRED)
set(sqlite "${PROJECT_BINARY_DIR}/third_party/sqlite3")
file(MAKE_DIRECTORY "${sqlite}")
cmake_path(RELATIVE_PATH sources BASE_DIRECTORY "${sqlite}" OUTPUT_VARIABLE sources_from_sqlite)
add_custom_command(OUTPUT "${sqlite}/sqlite3.c"
  COMMAND sh -c "\"$@\" >make.log 2>&1 || { cat make.log; exit 1; }" sh
    "${TRACKBED_MAKE}" -f "${sources_from_sqlite}/sqlite3/main.mk"
    "TOP=${sources_from_sqlite}/sqlite3" "BCC=${CMAKE_C_COMPILER}" "TCC=${CMAKE_C_COMPILER}"
    NAWK=awk "TCLSH=${TRACKBED_TCLSH}" OPTS= sqlite3.c
  WORKING_DIRECTORY "${sqlite}" DEPENDS "${sources}/sqlite3/manifest.uuid" VERBATIM)
add_library(trackbed_bundled_sqlite STATIC EXCLUDE_FROM_ALL "${sqlite}/sqlite3.c")
target_compile_options(trackbed_bundled_sqlite PRIVATE -O2 -w
  -ffunction-sections -fdata-sections)
target_compile_definitions(trackbed_bundled_sqlite PRIVATE
  SQLITE_THREADSAFE=1 SQLITE_OMIT_LOAD_EXTENSION SQLITE_MAX_SCHEMA_RETRY=25 HAVE_ISNAN
  HAVE_USLEEP HAVE_PREAD HAVE_PWRITE HAVE_FDATASYNC)

find_library(TRACKBED_STATIC_CRYPTO libcrypto.a REQUIRED)

# The licences of all that is inside, to go with it: as Debian has them with its packages, headers that
# are compiled in and the C library, which is inside trackbed-supervisor, included.
set(TRACKBED_BUNDLE_NOTICES "${PROJECT_BINARY_DIR}/THIRD-PARTY-LICENSES")
set(notices "Trackbed carries the following inside, each under its own licence.\n")
foreach(what
    "Abseil:${sources}/abseil/debian/copyright"
    "Protocol Buffers:${sources}/protobuf/debian/copyright"
    "yaml-cpp:${sources}/yaml-cpp/debian/copyright"
    "SQLite:${sources}/sqlite3/debian/copyright"
    "OpenSSL (SHA-256 of libcrypto):/usr/share/doc/libssl-dev/copyright"
    "JSON for Modern C++:/usr/share/doc/nlohmann-json3-dev/copyright"
    "CLI11 (in the program):/usr/share/doc/libcli11-dev/copyright"
    "GNU C library (in trackbed-supervisor and trackbed-container-init, whose source code is Trackbed's, to be linked anew with another):/usr/share/doc/libc6-dev/copyright"
    "GNU C++ library (in trackbed-supervisor and trackbed-container-init):/usr/share/doc/libstdc++-12-dev/copyright")
  string(REGEX MATCH "^([^:]*):(.*)$" matched "${what}")
  set(title "${CMAKE_MATCH_1}")
  if(EXISTS "${CMAKE_MATCH_2}")
    file(READ "${CMAKE_MATCH_2}" text)
  else()
    message(WARNING "TRACKBED_BUNDLE: there is no ${CMAKE_MATCH_2}; add the licence of ${title} to "
      "${TRACKBED_BUNDLE_NOTICES} before you hand this build to others")
    set(text "(its licence was not found when this was built)\n")
  endif()
  string(REPEAT "=" 100 line)
  string(APPEND notices "\n${line}\n${title}\n${line}\n\n${text}")
endforeach()
file(CONFIGURE OUTPUT "${TRACKBED_BUNDLE_NOTICES}" CONTENT "\${notices}" NEWLINE_STYLE UNIX)
install(FILES "${TRACKBED_BUNDLE_NOTICES}" DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT runtime)

# Linked, and nothing but linked: the headers are the system's.
function(trackbed_bundled name)
  set(links "")
  foreach(library IN LISTS ARGN)
    list(APPEND links "$<LINK_ONLY:${library}>")
  endforeach()
  trackbed_dependency(${name} ${links})
endfunction()
