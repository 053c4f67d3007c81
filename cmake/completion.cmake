# Completion for shells: written by the program itself once it is built, installed where each shell looks.
set(completion_dir ${CMAKE_BINARY_DIR}/generated/completion)
file(MAKE_DIRECTORY ${completion_dir})
set(completions "")
foreach(entry "bash|agenthost|bash-completion/completions" "zsh|_agenthost|zsh/site-functions"
              "fish|agenthost.fish|fish/vendor_completions.d")
  string(REPLACE "|" ";" entry "${entry}")
  list(GET entry 0 shell)
  list(GET entry 1 name)
  list(GET entry 2 dir)
  file(MAKE_DIRECTORY ${completion_dir}/${shell})
  add_custom_command(OUTPUT ${completion_dir}/${shell}/${name} DEPENDS agenthost VERBATIM
    COMMAND sh -c "exec \"$0\" completion \"$1\" >\"$2\"" $<TARGET_FILE:agenthost> ${shell} ${completion_dir}/${shell}/${name})
  list(APPEND completions ${completion_dir}/${shell}/${name})
  # Debian's zsh looks in vendor-completions for what packages bring, in site-functions under /usr/local only.
  install(CODE "
    set(dir ${dir})
    if(CMAKE_INSTALL_PREFIX MATCHES \"(^|/)usr/?$\")
      string(REPLACE site-functions vendor-completions dir \${dir})
    endif()
    file(INSTALL ${completion_dir}/${shell}/${name}
         DESTINATION \${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_DATADIR}/\${dir})" COMPONENT program)
endforeach()
add_custom_target(completions ALL DEPENDS ${completions})
