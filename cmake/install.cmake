# The two libraries, and what `cmake --install` puts where. Components, for who packages: program (the executable,
# its manual, the scripts), library (the shared library), development (headers, static library, CMake and pkg-config).

# --- libagenthost.so: a version script keeps out what visibility alone would not (symbols of static libraries)
add_library(agenthost_shared SHARED $<TARGET_OBJECTS:agenthost_core>)
set_target_properties(agenthost_shared PROPERTIES OUTPUT_NAME agenthost EXPORT_NAME agenthost
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR} LINK_DEPENDS ${CMAKE_SOURCE_DIR}/cmake/agenthost.map)
target_link_options(agenthost_shared PRIVATE LINKER:--version-script=${CMAKE_SOURCE_DIR}/cmake/agenthost.map
                                             LINKER:-z,defs)
target_link_libraries(agenthost_shared PUBLIC PkgConfig::AGENTHOST_LUA
                                       PRIVATE PkgConfig::AGENTHOST_DEPS ${CJSON_SHARED_LIBRARY} Threads::Threads m)

# --- libagenthost.a: one object, in which every hidden symbol has become local
set(whole ${CMAKE_BINARY_DIR}/agenthost.o)
add_custom_command(OUTPUT ${whole}
  COMMAND ${CMAKE_LINKER} -r -o ${whole} $<TARGET_OBJECTS:agenthost_core>
  COMMAND ${CMAKE_OBJCOPY} --localize-hidden ${whole}
  DEPENDS agenthost_core $<TARGET_OBJECTS:agenthost_core>
  COMMAND_EXPAND_LISTS VERBATIM)
add_library(agenthost_static STATIC ${whole})
set_source_files_properties(${whole} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
set_target_properties(agenthost_static PROPERTIES OUTPUT_NAME agenthost EXPORT_NAME agenthost_static LINKER_LANGUAGE C)
target_link_libraries(agenthost_static PUBLIC PkgConfig::AGENTHOST_LUA
                                       PRIVATE PkgConfig::AGENTHOST_DEPS lua5.4-cjson Threads::Threads m)

foreach(library agenthost_shared agenthost_static)
  target_include_directories(${library} INTERFACE $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/include>
                                                  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  if(AH_SANITIZE) # who links such a build needs the same runtime
    target_link_options(${library} PUBLIC -fsanitize=${AH_SANITIZE})
  endif()
endforeach()

# --- where things go
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/agenthost)
install(TARGETS agenthost RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT program)
install(DIRECTORY scripts/ DESTINATION ${CMAKE_INSTALL_DATADIR}/agenthost/scripts COMPONENT program)
install(FILES docs/agenthost.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT program)
install(TARGETS agenthost_shared EXPORT agenthost-targets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library NAMELINK_COMPONENT development)
# Its own export: it needs the -dev packages of everything, which who links the shared library need not have.
install(TARGETS agenthost_static EXPORT agenthost-static-targets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development)
install(DIRECTORY include/agenthost DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development)
install(EXPORT agenthost-targets NAMESPACE agenthost:: DESTINATION ${package_dir} COMPONENT development)
install(EXPORT agenthost-static-targets NAMESPACE agenthost:: DESTINATION ${package_dir} COMPONENT development)

include(CMakePackageConfigHelpers)
list(JOIN AGENTHOST_PACKAGES " " PACKAGES)
configure_package_config_file(cmake/agenthost-config.cmake.in ${CMAKE_BINARY_DIR}/generated/agenthost-config.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/generated/agenthost-config-version.cmake
                                 COMPATIBILITY SameMajorVersion)
file(RELATIVE_PATH PC_TO_PREFIX /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix) # it works wherever it is put
# Two files: `pkg-config --static` would ask for the static form of every library below, which Debian has not.
foreach(name agenthost agenthost-static)
  configure_file(cmake/${name}.pc.in ${CMAKE_BINARY_DIR}/generated/${name}.pc @ONLY)
endforeach()
install(FILES ${CMAKE_BINARY_DIR}/generated/agenthost-config.cmake
              ${CMAKE_BINARY_DIR}/generated/agenthost-config-version.cmake
        DESTINATION ${package_dir} COMPONENT development)
install(FILES ${CMAKE_BINARY_DIR}/generated/agenthost.pc ${CMAKE_BINARY_DIR}/generated/agenthost-static.pc
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig
        COMPONENT development)
