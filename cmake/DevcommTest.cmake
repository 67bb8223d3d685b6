# SPDX-License-Identifier: Apache-2.0
# dcm_test(NAME n LABEL l SOURCES f... [TIMEOUT s] [SERIAL]): a cmocka program.
# dcm_script_test(NAME n LABEL l SCRIPT f [TIMEOUT s] [SERIAL]): a shell script,
# which gets the build folder as its first argument.
# Exit status 77 means skipped.  Labels: unit, mp, conf, model, install, gpu, standin,
# python.

find_package(PkgConfig REQUIRED)
pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)

add_library(devcomm_test_support STATIC
    ${CMAKE_SOURCE_DIR}/tests/support.c)
target_link_libraries(devcomm_test_support PUBLIC
    devcomm_static devcomm_flags PkgConfig::CMOCKA Threads::Threads)
target_include_directories(devcomm_test_support PUBLIC
    ${CMAKE_SOURCE_DIR}/tests)

function(dcm_test_properties name label timeout serial)
    set_tests_properties(${name} PROPERTIES
        LABELS ${label} TIMEOUT ${timeout} SKIP_RETURN_CODE 77
        RUN_SERIAL ${serial}
        ENVIRONMENT "TSAN_OPTIONS=halt_on_error=1:suppressions=${CMAKE_SOURCE_DIR}/tests/tsan.supp;ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=0")
endfunction()

function(dcm_test)
    cmake_parse_arguments(T "SERIAL" "NAME;LABEL;TIMEOUT" "SOURCES;LIBRARIES" ${ARGN})
    if(NOT T_TIMEOUT)
        set(T_TIMEOUT 120)
    endif()
    add_executable(${T_NAME} ${T_SOURCES})
    target_link_libraries(${T_NAME} PRIVATE ${T_LIBRARIES} devcomm_test_support)
    add_test(NAME ${T_NAME} COMMAND ${T_NAME})
    dcm_test_properties(${T_NAME} ${T_LABEL} ${T_TIMEOUT} ${T_SERIAL})
endfunction()

function(dcm_script_test)
    cmake_parse_arguments(T "SERIAL" "NAME;LABEL;TIMEOUT;SCRIPT" "" ${ARGN})
    if(NOT T_TIMEOUT)
        set(T_TIMEOUT 120)
    endif()
    add_test(NAME ${T_NAME} COMMAND ${T_SCRIPT} ${CMAKE_BINARY_DIR}
        WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    dcm_test_properties(${T_NAME} ${T_LABEL} ${T_TIMEOUT} ${T_SERIAL})
endfunction()
