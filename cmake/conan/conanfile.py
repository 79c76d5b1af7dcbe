"""A recipe of this clone for Conan 2: conan create cmake/conan

find_package(relais) finds the package's own files, so that relais::headers, relais::compiled and
RELAIS_SEPARATE_COMPILATION are what they are elsewhere; Boost and OpenSSL come from CMakeDeps.
"""

import os

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeToolchain
from conan.tools.files import copy, load

required_conan_version = ">=2.0"


class RelaisConan(ConanFile):
    name = "relais"
    description = "A header-only C++20 framework for proxies: every connection is a pipeline of awaitable stages"
    license = "BSL-1.0"
    package_type = "header-library"
    settings = "os", "compiler", "build_type", "arch"
    generators = "CMakeDeps"
    no_copy_source = True

    def set_version(self):
        lines = load(self, os.path.join(self.recipe_folder, "../../include/relais/version.hpp"))
        self.version = lines.split('RELAIS_VERSION_STRING "')[1].split('"')[0]

    def export_sources(self):
        source = os.path.join(self.recipe_folder, "../..")
        for pattern in ("include/*", "cmake/*", "CMakeLists.txt", "LICENSE"):
            copy(self, pattern, src=source, dst=self.export_sources_folder)

    def requirements(self):
        self.requires("boost/[>=1.81]", transitive_headers=True, transitive_libs=True)
        self.requires("openssl/[>=3.0 <4]", transitive_headers=True, transitive_libs=True)

    def validate(self):
        check_min_cppstd(self, 20)

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables.update(
            RELAIS_BUILD_TESTS=False, RELAIS_BUILD_EXAMPLES=False, RELAIS_INSTALL=True
        )
        toolchain.generate()

    def build(self):
        CMake(self).configure()

    def package(self):
        copy(self, "LICENSE", src=self.source_folder, dst=os.path.join(self.package_folder, "licenses"))
        CMake(self).install()

    def package_id(self):
        self.info.clear()

    def package_info(self):
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.set_property("pkg_config_name", "relais")
        self.cpp_info.builddirs = ["share/cmake/relais"]
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
