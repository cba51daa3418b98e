# `cmake --install`, in three components: `runtime`, the library for C and what it starts for each
# attempt (libexec/trackbed); `development`, headers, static libraries, CMake package and pkg-config
# files; `program`. Everything is relocatable.

include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/trackbed)
set(pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH TRACKBED_PC_PREFIX "/${pkgconfig_dir}" "/")
string(REGEX REPLACE "/$" "" TRACKBED_PC_PREFIX "${TRACKBED_PC_PREFIX}")

# For C: libtrackbed.so needs nothing at compile time but its header.
if(TARGET trackbed_c)
  install(TARGETS trackbed_c EXPORT trackbed_c
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
      COMPONENT runtime NAMELINK_COMPONENT development
    INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  install(FILES capi/include/trackbed.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
    COMPONENT development)
  install(EXPORT trackbed_c NAMESPACE trackbed:: FILE trackbedCTargets.cmake
    DESTINATION ${package_dir} COMPONENT development)
  configure_file(cmake/trackbed-c.pc.in "${PROJECT_BINARY_DIR}/trackbed-c.pc" @ONLY)
  install(FILES "${PROJECT_BINARY_DIR}/trackbed-c.pc" DESTINATION ${pkgconfig_dir}
    COMPONENT development)
endif()

# For C++, and libtrackbed.a for C: static libraries, so a consumer links what they use as well. With
# all inside, libtrackbed.a needs none of that; and there is nothing for C++, whose headers show
# Abseil's types.
set(TRACKBED_PC_STATIC_REQUIRES "absl_status absl_statusor absl_strings absl_str_format absl_flat_hash_map absl_flat_hash_set absl_inlined_vector libcrypto protobuf-lite yaml-cpp sqlite3")
if(TRACKBED_BUNDLE)
  set(TRACKBED_PC_STATIC_REQUIRES "")
  install(FILES "${TRACKBED_STATIC_LIBRARY}" DESTINATION ${CMAKE_INSTALL_LIBDIR}
    COMPONENT development)
endif()
if(TARGET trackbed_c)
  configure_file(cmake/trackbed-c-static.pc.in "${PROJECT_BINARY_DIR}/trackbed-c-static.pc" @ONLY)
  install(FILES "${PROJECT_BINARY_DIR}/trackbed-c-static.pc" DESTINATION ${pkgconfig_dir}
    COMPONENT development)
endif()
if(NOT TRACKBED_BUNDLE)
  get_property(layers GLOBAL PROPERTY TRACKBED_LAYERS)
  set_target_properties(trackbed_schema PROPERTIES EXPORT_NAME schema)
  set(static_targets trackbed ${layers} trackbed_schema trackbed_dep_absl trackbed_dep_crypto
    trackbed_dep_protobuf trackbed_dep_yaml trackbed_dep_sqlite)
  if(TARGET trackbed_c_static)
    list(APPEND static_targets trackbed_c_static)
  endif()
  install(TARGETS ${static_targets} EXPORT trackbed
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development
    INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  install(DIRECTORY include/trackbed DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
    COMPONENT development FILES_MATCHING PATTERN "*.hpp" PATTERN "*.proto")
  install(EXPORT trackbed NAMESPACE trackbed:: FILE trackbedTargets.cmake
    DESTINATION ${package_dir} COMPONENT development)

  set(TRACKBED_PC_LIBS "")
  foreach(layer IN LISTS layers)
    list(PREPEND TRACKBED_PC_LIBS "-l${layer}")
  endforeach()
  # After every layer that converts.
  string(REPLACE "-ltrackbed_base" "-ltrackbed_schema;-ltrackbed_base" TRACKBED_PC_LIBS
    "${TRACKBED_PC_LIBS}")
  list(JOIN TRACKBED_PC_LIBS " " TRACKBED_PC_LIBS)
  configure_file(cmake/trackbed.pc.in "${PROJECT_BINARY_DIR}/trackbed.pc" @ONLY)
  install(FILES "${PROJECT_BINARY_DIR}/trackbed.pc" DESTINATION ${pkgconfig_dir}
    COMPONENT development)
endif()

configure_package_config_file(cmake/trackbedConfig.cmake.in
  "${PROJECT_BINARY_DIR}/trackbedConfig.cmake" INSTALL_DESTINATION ${package_dir}
  PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR NO_SET_AND_CHECK_MACRO)
# 0.x: a minor version may change anything.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/trackbedConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/trackbedConfig.cmake"
  "${PROJECT_BINARY_DIR}/trackbedConfigVersion.cmake" DESTINATION ${package_dir}
  COMPONENT development)

if(TARGET trackbed_cli)
  install(TARGETS trackbed_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT program)
endif()
if(TARGET trackbed_supervisor)
  install(TARGETS trackbed_supervisor trackbed_container_init
    RUNTIME DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/trackbed COMPONENT runtime)
endif()
install(FILES LICENSE NOTICE DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT runtime)
