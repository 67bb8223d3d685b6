# SPDX-License-Identifier: Apache-2.0
# The interface target devcomm_flags: what every file of ours is compiled with.

add_library(devcomm_flags INTERFACE)
target_include_directories(devcomm_flags INTERFACE
    $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/include>
    $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/src>
    $<BUILD_INTERFACE:${CMAKE_BINARY_DIR}/generated>)

# POSIX only; a file that needs more says so in its first line.
target_compile_definitions(devcomm_flags INTERFACE _POSIX_C_SOURCE=200809L)
target_compile_options(devcomm_flags INTERFACE
    -fno-common -fstack-protector-strong
    -ffile-prefix-map=${CMAKE_SOURCE_DIR}/=
    $<$<CONFIG:Release>:-O2>)
if(NOT DEVCOMM_SANITIZE)
    target_compile_options(devcomm_flags INTERFACE
        $<$<CONFIG:Release>:-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2>)
endif()

set(DEVCOMM_WARNINGS
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion
    -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition
    -Wpointer-arith -Wcast-qual -Wwrite-strings -Wundef -Wvla -Wformat=2
    -Wswitch-enum -Wimplicit-fallthrough -Wdouble-promotion -Wunused-macros
    -Wcast-function-type)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    list(APPEND DEVCOMM_WARNINGS
        -Wlogical-op -Wduplicated-cond -Wduplicated-branches
        -Wnull-dereference -Wcast-align=strict -Wjump-misses-init)
elseif(CMAKE_C_COMPILER_ID MATCHES "Clang")
    list(APPEND DEVCOMM_WARNINGS
        -Wextra-semi-stmt -Wcomma -Wmissing-variable-declarations
        -Wunreachable-code-aggressive -Wshorten-64-to-32 -Wcast-align)
endif()
if(DEVCOMM_WERROR)
    target_compile_options(devcomm_flags INTERFACE ${DEVCOMM_WARNINGS} -Werror)
endif()

if(DEVCOMM_SANITIZE)
    target_compile_options(devcomm_flags INTERFACE
        -fsanitize=${DEVCOMM_SANITIZE} -fno-sanitize-recover=all
        -fno-omit-frame-pointer)
    target_link_options(devcomm_flags INTERFACE -fsanitize=${DEVCOMM_SANITIZE})
endif()
