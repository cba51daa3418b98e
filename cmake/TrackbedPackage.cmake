# `cpack`: Debian packages of a build that links the distribution's libraries, an archive of one that
# carries its own (TRACKBED_BUNDLE).

set(CPACK_PACKAGE_NAME trackbed)
set(CPACK_PACKAGE_VENDOR "the Trackbed authors")
set(CPACK_PACKAGE_CONTACT "the Trackbed authors <trackbed@invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "embeddable orchestration engine for AI pipelines")
set(CPACK_RESOURCE_FILE_LICENSE "${PROJECT_SOURCE_DIR}/LICENSE")
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGE_CHECKSUM SHA256)
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_COMPONENTS_ALL runtime development program)

if(TRACKBED_BUNDLE)
  set(CPACK_GENERATOR TGZ)
  string(TOLOWER "${CMAKE_SYSTEM_NAME}-${CMAKE_SYSTEM_PROCESSOR}" platform)
  set(CPACK_PACKAGE_FILE_NAME "trackbed-${PROJECT_VERSION}-${platform}")
else()
  set(CPACK_GENERATOR DEB)
  set(CPACK_DEB_COMPONENT_INSTALL ON)
  set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
  set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
  set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")
  set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
  set(CPACK_DEBIAN_ENABLE_COMPONENT_DEPENDS OFF)

  set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME libtrackbed0)
  set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION libs)
  set(CPACK_DEBIAN_RUNTIME_DESCRIPTION "${CPACK_PACKAGE_DESCRIPTION_SUMMARY} - library for C")
  set(CPACK_DEBIAN_RUNTIME_PACKAGE_RECOMMENDS "bubblewrap, libcurl4")

  set(same "libtrackbed0 (= ${PROJECT_VERSION})")
  set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libtrackbed-dev)
  set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
  set(CPACK_DEBIAN_DEVELOPMENT_DESCRIPTION
    "${CPACK_PACKAGE_DESCRIPTION_SUMMARY} - headers and static libraries")
  # What the C++ headers include and the static libraries need; trackbed::c needs none of it.
  set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "${same}")
  set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_RECOMMENDS
    "libabsl-dev, libprotobuf-dev, libyaml-cpp-dev, libsqlite3-dev, libssl-dev")

  # The program starts what libtrackbed0 has in libexec.
  set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME trackbed)
  set(CPACK_DEBIAN_PROGRAM_PACKAGE_SECTION science)
  set(CPACK_DEBIAN_PROGRAM_DESCRIPTION "${CPACK_PACKAGE_DESCRIPTION_SUMMARY} - program")
  set(CPACK_DEBIAN_PROGRAM_PACKAGE_DEPENDS "${same}")
endif()
include(CPack)
