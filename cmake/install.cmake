# cmake --install: headers, a package for find_package(relais), and relais.pc. Nothing in it depends on the machine or
# on where it was installed, so that the prefix may be moved; relais::compiled is installed as its two sources.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(RELAIS_INSTALL_CMAKEDIR "${CMAKE_INSTALL_DATADIR}/cmake/relais")
set(RELAIS_INSTALL_PKGCONFIGDIR "${CMAKE_INSTALL_DATADIR}/pkgconfig")

install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/relais" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")

set_target_properties(relais_headers PROPERTIES EXPORT_NAME headers)
install(TARGETS relais_headers EXPORT relais INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(EXPORT relais FILE relais-targets.cmake NAMESPACE relais:: DESTINATION "${RELAIS_INSTALL_CMAKEDIR}")

write_basic_package_version_file("${PROJECT_BINARY_DIR}/relais-config-version.cmake"
    VERSION "${PROJECT_VERSION}" COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES
    "${PROJECT_BINARY_DIR}/relais-config-version.cmake"
    "${PROJECT_SOURCE_DIR}/cmake/relais-config.cmake"
    "${PROJECT_SOURCE_DIR}/cmake/dependencies.cmake"
    "${PROJECT_SOURCE_DIR}/cmake/compiled.cmake"
    "${PROJECT_SOURCE_DIR}/cmake/compiled_boost.cpp"
    "${PROJECT_SOURCE_DIR}/cmake/compiled_relais.cpp"
    DESTINATION "${RELAIS_INSTALL_CMAKEDIR}")

# Seen from the folder of relais.pc. Paths that are absolute on purpose stay so.
set(RELAIS_PC_PREFIX "${CMAKE_INSTALL_PREFIX}")
if(NOT IS_ABSOLUTE "${RELAIS_INSTALL_PKGCONFIGDIR}")
    file(RELATIVE_PATH RELAIS_PC_PREFIX "/${RELAIS_INSTALL_PKGCONFIGDIR}" "/")
    string(REGEX REPLACE "/$" "" RELAIS_PC_PREFIX "\${pcfiledir}/${RELAIS_PC_PREFIX}")
endif()
set(RELAIS_PC_INCLUDEDIR "\${prefix}")
cmake_path(APPEND RELAIS_PC_INCLUDEDIR "${CMAKE_INSTALL_INCLUDEDIR}")

# Boost has no file of its own for pkg-config: one that the compiler does not find by itself is named in ours.
set(RELAIS_PC_BOOST "")
if(TARGET Boost::headers)
    get_target_property(RELAIS_BOOST_INCLUDES Boost::headers INTERFACE_INCLUDE_DIRECTORIES)
    foreach(directory IN LISTS RELAIS_BOOST_INCLUDES)
        if(IS_ABSOLUTE "${directory}" AND NOT directory IN_LIST CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES)
            string(APPEND RELAIS_PC_BOOST " -isystem ${directory}")
        endif()
    endforeach()
endif()
configure_file("${PROJECT_SOURCE_DIR}/cmake/relais.pc.in" "${PROJECT_BINARY_DIR}/relais.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/relais.pc" DESTINATION "${RELAIS_INSTALL_PKGCONFIGDIR}")

install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
