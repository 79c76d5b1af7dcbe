"""What vcpkg.json, conanfile.py and CHANGELOG.md say of relais is what CMakeLists.txt, dependencies.cmake and the headers
say.

usage: recipes.py SOURCE
"""

import fnmatch
import json
import re
import sys
import types
from pathlib import Path

source = Path(sys.argv[1])
failures = []


def check(right, sentence):
    if not right:
        failures.append(sentence)


def text(path):
    return (source / path).read_text()


def only(pattern, path):
    found = re.findall(pattern, text(path))
    if len(found) != 1:
        sys.exit(f"{path} has {len(found)} places like {pattern}")
    return found[0]


version = only(r'RELAIS_VERSION_STRING "([^"]+)"', "include/relais/version.hpp")
description = only(r'DESCRIPTION "([^"]+)"', "CMakeLists.txt")
options = set(re.findall(r"^option\((\w+)", text("CMakeLists.txt"), re.M))
needed = {name.lower(): only(rf"find_package\({name} ([0-9.]+) QUIET\)", "cmake/dependencies.cmake")
          for name in ("Boost", "OpenSSL")}
license_name = "BSL-1.0"
check(text("LICENSE").startswith("Boost Software License - Version 1.0"), f"LICENSE is not {license_name}")

# What the headers include of Boost. boost/version.hpp belongs to no library.
libraries = set()
for file in (source / "include").rglob("*.?pp"):
    libraries.update(re.findall(r"#include <boost/(\w+)", file.read_text()))
libraries.discard("version")
check(libraries, "no header includes Boost")

newest = re.search(r"^## \[([^\]]+)\]", text("CHANGELOG.md"), re.M)
check(newest and newest[1] == version, f"CHANGELOG.md begins with another version than {version}")

port = json.loads(text("cmake/vcpkg/vcpkg.json"))
check(port["name"] == "relais", "vcpkg.json: the name")
check(port["version-semver"] == version, f"vcpkg.json: version {port['version-semver']} is not {version}")
check(port["description"] == description, "vcpkg.json: the description is not that of CMakeLists.txt")
check(port["license"] == license_name, f"vcpkg.json: the licence is not {license_name}")
dependencies = {d["name"]: d for d in port["dependencies"]}
expected = {"openssl"} | {"boost-" + name for name in libraries}
found = {name for name, d in dependencies.items() if not d.get("host")}
check(found == expected, f"vcpkg.json: {sorted(found)} is not {sorted(expected)}")
for name in found & expected:
    least = dependencies[name].get("version>=", "")
    check((least + ".").startswith(needed[name.split("-")[0]] + "."), f"vcpkg.json: {name} {least} is not {needed}")
called = set(re.findall(r"^(vcpkg_cmake_\w+)", text("cmake/vcpkg/portfile.cmake"), re.M))
check("vcpkg-cmake" in dependencies or not called & {"vcpkg_cmake_configure", "vcpkg_cmake_install"},
      "vcpkg.json: vcpkg-cmake is missing")
check("vcpkg-cmake-config" in dependencies or "vcpkg_cmake_config_fixup" not in called,
      "vcpkg.json: vcpkg-cmake-config is missing")

# The recipe is run, over modules that stand in for Conan's.
copied = []
required = {}
variables = {}


class Toolchain:
    def __init__(self, recipe):
        self.cache_variables = variables

    def generate(self):
        pass


class Recipe:
    recipe_folder = str(source / "cmake" / "conan")
    export_sources_folder = "exported"

    def requires(self, reference, **traits):
        name, least = re.fullmatch(r"(\w+)/\[>=([0-9.]+)[^\]]*\]", reference).groups()
        required[name] = least
        check(traits.get("transitive_headers"), f"conanfile.py: who includes relais does not see {name}")


def module(name, **members):
    made = sys.modules[name] = types.ModuleType(name)
    made.__dict__.update(members)


def copy(recipe, pattern, src, dst):
    names = [str(p.relative_to(Path(src).resolve())) for p in Path(src).resolve().rglob("*") if ".git" not in p.parts]
    check(fnmatch.filter(names, pattern), f"conanfile.py: there is no {pattern}")
    copied.append(pattern)


module("conan", ConanFile=Recipe)
module("conan.tools")
module("conan.tools.build", check_min_cppstd=lambda recipe, least: check(least == 20, "conanfile.py: C++20"))
module("conan.tools.cmake", CMake=object, CMakeToolchain=Toolchain)
module("conan.tools.files", copy=copy, load=lambda recipe, path: Path(path).read_text())
made = {}
exec(compile(text("cmake/conan/conanfile.py"), "conanfile.py", "exec"), made)
recipe = made["RelaisConan"]()
recipe.set_version()
recipe.export_sources()
recipe.requirements()
recipe.validate()
recipe.generate()
check(recipe.name == "relais", "conanfile.py: the name")
check(recipe.version == version, f"conanfile.py: version {recipe.version} is not {version}")
check(recipe.description == description, "conanfile.py: the description is not that of CMakeLists.txt")
check(recipe.license == license_name, f"conanfile.py: the licence is not {license_name}")
check(required == needed, f"conanfile.py: {required} is not {needed}")
check(variables and set(variables) <= options, f"conanfile.py: {sorted(variables)} are not among {sorted(options)}")
for path in ("include/relais/relais.hpp", "cmake/install.cmake", "CMakeLists.txt", "LICENSE"):
    check(any(fnmatch.fnmatch(path, pattern) for pattern in copied), f"conanfile.py: {path} is not exported")

if failures:
    sys.exit("\n".join(failures))
