# A Debian package of the program: `cmake --build build && cpack --config build/CPackConfig.cmake` writes agenthost_*.deb. Only
# the component "program" of cmake/install.cmake; libraries and headers are for who builds.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME agenthost)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "agenthost contributors <maintainers@agenthost.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "runs AI agents written as Lua scripts")
set(CPACK_PACKAGE_DESCRIPTION "A program that runs agents whose loop, prompts and choice of connectors are
Lua files.
Tools of Gmail, Slack, GitHub and more come through Scalekit AgentKit, models
through any server that speaks OpenAI's chat API; every call is traced, locally
and to LangSmith. An emulator of these services is built in: no account and no
key are needed to try it.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL program debian)
set(CPACK_COMPONENTS_GROUPING ALL_COMPONENTS_IN_ONE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SECTION utils)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS ca-certificates)
set(CPACK_DEBIAN_PACKAGE_SUGGESTS bash-completion)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE
                                                WORLD_READ WORLD_EXECUTE)
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_SOURCE_DIR}/cmake/deb/tidy.cmake)

configure_file(cmake/deb/changelog.in ${CMAKE_BINARY_DIR}/generated/changelog.Debian @ONLY)
install(FILES cmake/deb/copyright ${CMAKE_BINARY_DIR}/generated/changelog.Debian
        DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT debian EXCLUDE_FROM_ALL)
include(CPack)
