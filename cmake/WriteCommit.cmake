# SPDX-License-Identifier: Apache-2.0
# Run by the target devcomm_commit.

cmake_policy(VERSION 3.25)
execute_process(COMMAND git -C ${SOURCE} rev-parse --short=12 HEAD
    OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE
    RESULT_VARIABLE failed ERROR_QUIET)
if(failed)
    set(commit unknown)
else()
    execute_process(COMMAND git -C ${SOURCE} status --porcelain
        OUTPUT_VARIABLE changes ERROR_QUIET)
    if(NOT changes STREQUAL "")
        string(APPEND commit "+dirty")
    endif()
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT "#define DCMI_COMMIT \"@commit@\"\n" @ONLY)
