# Completion for shells: written by the program itself once it is built, installed where each shell looks.
set(completion_dir ${CMAKE_BINARY_DIR}/generated/completion)
file(MAKE_DIRECTORY ${completion_dir})
set(completions "")
# Debian's zsh looks in vendor-completions for what packages bring, in site-functions for what stands under /usr/local.
if(CMAKE_INSTALL_PREFIX STREQUAL "/usr")
  set(zsh_dir zsh/vendor-completions)
else()
  set(zsh_dir zsh/site-functions)
endif()
foreach(entry "bash|agenthost|bash-completion/completions" "zsh|_agenthost|${zsh_dir}"
              "fish|agenthost.fish|fish/vendor_completions.d")
  string(REPLACE "|" ";" entry "${entry}")
  list(GET entry 0 shell)
  list(GET entry 1 name)
  list(GET entry 2 dir)
  file(MAKE_DIRECTORY ${completion_dir}/${shell})
  add_custom_command(OUTPUT ${completion_dir}/${shell}/${name} DEPENDS agenthost VERBATIM
    COMMAND sh -c "exec \"$0\" completion \"$1\" >\"$2\"" $<TARGET_FILE:agenthost> ${shell} ${completion_dir}/${shell}/${name})
  list(APPEND completions ${completion_dir}/${shell}/${name})
  install(FILES ${completion_dir}/${shell}/${name} DESTINATION ${CMAKE_INSTALL_DATADIR}/${dir} COMPONENT program)
endforeach()
add_custom_target(completions ALL DEPENDS ${completions})
