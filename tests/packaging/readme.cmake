# The gateway that the README shows is the example that is compiled, and fits on a screen.

cmake_minimum_required(VERSION 3.21)

file(READ "${SOURCE}/README.md" readme)
file(READ "${SOURCE}/examples/1_wss_and_site.cpp" example)
string(FIND "${example}" "#include" begin)
string(SUBSTRING "${example}" ${begin} -1 code)
string(STRIP "${code}" code)

string(REGEX MATCHALL "\n" ends "${code}")
list(LENGTH ends lines)
if(lines GREATER_EQUAL 30)
    message(SEND_ERROR "the README's gateway has more than 30 lines")
endif()

string(REGEX REPLACE "\n" "\n    " indented "    ${code}")
string(REGEX REPLACE "\n +\n" "\n\n" indented "${indented}")
string(FIND "${readme}" "${indented}\n" at)
if(at EQUAL -1)
    message(SEND_ERROR "the README shows another gateway than examples/1_wss_and_site.cpp")
endif()
