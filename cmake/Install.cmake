# SPDX-License-Identifier: Apache-2.0
# make install: library, headers, command, man pages, pkg-config file, CMake
# package, bash completion.

include(CMakePackageConfigHelpers)

install(TARGETS devcomm EXPORT devcomm_targets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS devcomm_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY include/devcomm DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
    FILES_MATCHING PATTERN "*.h")
install(EXPORT devcomm_targets NAMESPACE devcomm::
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/devcomm)
configure_package_config_file(cmake/devcommConfig.cmake.in
    ${CMAKE_BINARY_DIR}/devcommConfig.cmake
    INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/devcomm)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/devcommConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/devcommConfig.cmake
    ${CMAKE_BINARY_DIR}/devcommConfigVersion.cmake
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/devcomm)
# Relative to where the file lies, so that --prefix may still change.
file(RELATIVE_PATH PC_UP /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
configure_file(cmake/devcomm.pc.in ${CMAKE_BINARY_DIR}/devcomm.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/devcomm.pc
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
if(EXISTS ${CMAKE_SOURCE_DIR}/cli/completion/devcomm.bash)
    install(FILES cli/completion/devcomm.bash
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
        RENAME devcomm)
endif()
