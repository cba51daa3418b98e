# `cmake --install`: libraries and headers with a CMake package and a pkg-config file, the program
# in bin, and what it starts for each attempt in libexec/trackbed. Everything is relocatable.

include(CMakePackageConfigHelpers)

get_property(layers GLOBAL PROPERTY TRACKBED_LAYERS)
set_target_properties(trackbed_schema PROPERTIES EXPORT_NAME schema)

# What the package says about libcurl, where it was found.
if(CURL_FOUND)
  set(TRACKBED_FIND_CURL "find_dependency(CURL)")
  set(TRACKBED_PC_CURL " libcurl")
endif()

install(TARGETS trackbed ${layers} trackbed_schema
  trackbed_dep_absl trackbed_dep_crypto trackbed_dep_protobuf trackbed_dep_yaml trackbed_dep_sqlite
  trackbed_dep_curl
  EXPORT trackbed
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY include/trackbed DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN "*.hpp" PATTERN "*.proto")

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/trackbed)
install(EXPORT trackbed NAMESPACE trackbed:: FILE trackbedTargets.cmake DESTINATION ${package_dir})
configure_package_config_file(cmake/trackbedConfig.cmake.in
  "${PROJECT_BINARY_DIR}/trackbedConfig.cmake" INSTALL_DESTINATION ${package_dir}
  NO_SET_AND_CHECK_MACRO)
# 0.x: a minor version may change anything.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/trackbedConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/trackbedConfig.cmake"
  "${PROJECT_BINARY_DIR}/trackbedConfigVersion.cmake" DESTINATION ${package_dir})

# Static libraries only, so a consumer links what they use as well: it all stands in Requires.
set(TRACKBED_PC_LIBS "")
foreach(layer IN LISTS layers)
  list(PREPEND TRACKBED_PC_LIBS "-l${layer}")
endforeach()
# After every layer that converts.
string(REPLACE "-ltrackbed_base" "-ltrackbed_schema;-ltrackbed_base" TRACKBED_PC_LIBS
  "${TRACKBED_PC_LIBS}")
list(JOIN TRACKBED_PC_LIBS " " TRACKBED_PC_LIBS)
file(RELATIVE_PATH TRACKBED_PC_PREFIX "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
configure_file(cmake/trackbed.pc.in "${PROJECT_BINARY_DIR}/trackbed.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/trackbed.pc"
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

if(TARGET trackbed_cli)
  install(TARGETS trackbed_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
if(TARGET trackbed_supervisor)
  install(TARGETS trackbed_supervisor trackbed_container_init
    RUNTIME DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/trackbed)
endif()
install(FILES LICENSE NOTICE DESTINATION ${CMAKE_INSTALL_DOCDIR})
