# SPDX-License-Identifier: Apache-2.0
# generated/devcomm_commit.h: the commit that is built, "+dirty" when the tree
# differs from it, "unknown" outside a checkout.  Looked at on every build,
# written only when it changes, so that nothing is rebuilt in vain.

add_custom_target(devcomm_commit
    COMMAND ${CMAKE_COMMAND}
        -DSOURCE=${CMAKE_SOURCE_DIR}
        -DOUTPUT=${CMAKE_BINARY_DIR}/generated/devcomm_commit.h
        -P ${CMAKE_SOURCE_DIR}/cmake/WriteCommit.cmake
    BYPRODUCTS ${CMAKE_BINARY_DIR}/generated/devcomm_commit.h
    VERBATIM)
