# A port of this clone: vcpkg install relais --overlay-ports=cmake/vcpkg
# vcpkg looks at the files of the port only: what changed elsewhere in the clone is installed after
# vcpkg remove relais, or with --no-binarycaching.

get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)

set(VCPKG_BUILD_TYPE release) # header-only: both are the same
vcpkg_cmake_configure(SOURCE_PATH "${SOURCE_PATH}"
    OPTIONS -DRELAIS_BUILD_TESTS=OFF -DRELAIS_BUILD_EXAMPLES=OFF -DRELAIS_INSTALL=ON)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH share/cmake/relais)
vcpkg_fixup_pkgconfig()

file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/share/cmake" "${CURRENT_PACKAGES_DIR}/share/doc")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
