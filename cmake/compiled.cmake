# relais::compiled and relais::relais, in this tree and in a project that found the installed package.

if(NOT TARGET relais_compiled)
    add_library(relais_compiled STATIC EXCLUDE_FROM_ALL
        "${CMAKE_CURRENT_LIST_DIR}/compiled_boost.cpp" "${CMAKE_CURRENT_LIST_DIR}/compiled_relais.cpp")
    add_library(relais::compiled ALIAS relais_compiled)
    target_link_libraries(relais_compiled PUBLIC relais::headers)
    target_compile_definitions(relais_compiled PUBLIC
        RELAIS_SEPARATE_COMPILATION BOOST_ASIO_SEPARATE_COMPILATION BOOST_BEAST_SEPARATE_COMPILATION)
    set_target_properties(relais_compiled PROPERTIES
        OUTPUT_NAME relais CXX_EXTENSIONS OFF POSITION_INDEPENDENT_CODE ON)
endif()

if(NOT TARGET relais::relais)
    if(RELAIS_SEPARATE_COMPILATION)
        add_library(relais::relais ALIAS relais_compiled)
    else()
        get_target_property(RELAIS_HEADERS relais::headers ALIASED_TARGET)
        if(NOT RELAIS_HEADERS)
            set(RELAIS_HEADERS relais::headers)
        endif()
        add_library(relais::relais ALIAS ${RELAIS_HEADERS})
    endif()
endif()
