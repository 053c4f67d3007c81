#!/bin/sh
# Completion in real shells: what each offers after words, from the tables of the commands.
. "$(dirname "$0")/lib.sh"

# What bash offers for the last of WORDS ("" is a new word), one a line.
offers() {
  BASH_ENV='' timeout 60 bash --norc --noprofile -c '
    source completion.bash
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    _agenthost "$1" "${@: -1}" "${@: -2:1}"
    printf "%s\n" "${COMPREPLY[@]}"' bash "$AGENTHOST" "$@" | LC_ALL=C sort
}
offers_are() { # WANTED WORDS...
  wanted=$1
  shift
  is "after '$*'" "$(offers "$@" | tr '\n' ' ')" "$wanted "
}
offers_has() { # WANTED WORDS...
  wanted=$1
  shift
  offers "$@" | grep -qxF -e "$wanted" || say_failed "after '$*' is no $wanted: $(offers "$@" | tr '\n' ' ' | cut -c1-200)"
}
offers_not() {
  unwanted=$1
  shift
  ! offers "$@" | grep -qxF -e "$unwanted" || say_failed "after '$*' is $unwanted"
}

begin "the three scripts; another shell has none"
for shell in bash zsh fish; do
  run completion $shell
  want_code 0
  check "$shell: something" test "$(wc -l <out)" -gt 50
done
run completion tcsh
want_code 2
want_err "bash, zsh and fish"
run completion
want_code 2
run completion --words nothing
want_code 2

if command -v bash >/dev/null; then
  begin "bash: commands, sub-commands, options, their values"
  "$AGENTHOST" completion bash >completion.bash
  check "syntax" bash -n completion.bash
  mkdir folder "a folder"
  : >one.lua
  : >two.txt
  offers_are "tools trace" t
  offers_are "diff export gc ls push show tail verify" trace ""
  offers_are "--limit" trace ls --li
  offers_has --json trace ls --
  offers_has --help trace ls --
  offers_not --limit trace show --
  offers_not --limit run --
  offers_are "diff export gc ls push show tail verify" trace --user me ""
  offers_are "diff export gc ls push show tail verify" trace --user = me ""
  offers_are "--limit" --user trace trace ls --lim
  offers_are "a folder folder one.lua" run ""
  offers_are "a folder folder one.lua" ""one.lua --scenario ""
  offers_are "a folder folder" scripts --copy ""
  offers_are "two.txt" run x --env tw
  offers_are "two.txt" run x --env = tw
  offers_are "two.txt" run x -- tw
  offers_are "bash fish zsh" completion ""
  offers_has trace help ""
  offers_are "diff export gc ls push show tail verify" help trace ""
  offers_are "" version ""
  offers_are "" trace ls --limit ""
  offers_are "--wait" auth link gmail --w
  offers_has gmail auth link g
  offers_has OPENAI_API_KEY config explain OPENAI
  offers_not slack auth link g
  offers_has gmail tools call x --connection g

  begin "bash: runs of the journal, asked while typing"
  "$AGENTHOST" completion bash >completion.bash
  offers_are "last" trace show ""
  echo 'print(1)' >x.lua
  run run x.lua
  run trace ls --json
  id=$(python3 -c 'import json; print(json.loads(open("out").readline())["id"][-8:])')
  offers_has "$id" trace show ""
  offers_has "$id" trace push "$(echo "$id" | cut -c1-3)"

  begin "bash: on a terminal, with the Tab key"
  mkdir bin rc
  ln -s "$AGENTHOST" bin/agenthost
  : >script.lua
  { echo "PATH=$PWD/bin:\$PATH"; echo "source <(agenthost completion bash)"; } >rc/bashrc
  TAB_RC=$PWD/rc timeout 60 python3 "$HERE/tab.py" bash "agenthost trac" "agenthost trace ve" "agenthost run scr" "agenthost run x --ins" >typed
  is "typed" "$(tr '\n' '|' <typed)" "agenthost trace|agenthost trace verify|agenthost run script.lua|agenthost run x --instructions|"
else
  begin "bash"
  skip "no bash here"
fi

begin "zsh: on a terminal, with the Tab key"
if command -v zsh >/dev/null; then
  mkdir bin rc
  ln -s "$AGENTHOST" bin/agenthost
  : >script.lua
  : >script.txt
  "$AGENTHOST" completion zsh >completion.zsh
  check "syntax" zsh -n completion.zsh
  { echo "path=($PWD/bin \$path)"; echo "autoload -Uz compinit; compinit -u -D"; echo "source <(agenthost completion zsh)"; } >rc/.zshrc
  TAB_RC=$PWD/rc timeout 60 python3 "$HERE/tab.py" zsh "agenthost trac" "agenthost trace --user me ve" "agenthost run scr" "agenthost run x --ins" \
    "agenthost trace ls --lim" "agenthost auth link gmai" "agenthost completion fi" "agenthost help doc" "agenthost run --env=script.t" >typed
  is "typed" "$(tr '\n' '|' <typed)" "agenthost trace|agenthost trace --user me verify|agenthost run script.lua|agenthost run x --instructions|\
agenthost trace ls --limit|agenthost auth link gmail|agenthost completion fish|agenthost help doctor|agenthost run --env=script.txt|"
  mkdir fpath
  cp completion.zsh fpath/_agenthost # as it is installed
  { echo "path=($PWD/bin \$path) fpath=($PWD/fpath \$fpath)"; echo "autoload -Uz compinit; compinit -u -D"; } >rc/.zshrc
  TAB_RC=$PWD/rc timeout 60 python3 "$HERE/tab.py" zsh "agenthost trac" >typed
  is "typed" "$(cat typed)" "agenthost trace"
else
  skip "no zsh here"
fi

begin "fish: what it offers"
if command -v fish >/dev/null; then
  mkdir bin folder
  ln -s "$AGENTHOST" bin/agenthost
  : >script.lua
  : >script.txt
  "$AGENTHOST" completion fish >completion.fish
  check "syntax" fish -n completion.fish
  fish_offers() { PATH=$PWD/bin:$PATH fish --no-config -c "source completion.fish; complete -C '$1'" | cut -f1 | tr '\n' ' '; }
  is "t" "$(fish_offers 'agenthost t')" "tools trace "
  is "trace" "$(fish_offers 'agenthost trace ')" "diff export gc ls push show tail verify "
  is "value" "$(fish_offers 'agenthost trace --user me ')" "diff export gc ls push show tail verify "
  is "own option" "$(fish_offers 'agenthost trace ls --li')" "--limit "
  is "not its own" "$(fish_offers 'agenthost trace show --li')" ""
  is "script" "$(fish_offers 'agenthost run scr' | cut -d" " -f1)" "script.lua"
  is "env" "$(fish_offers 'agenthost run x --env script.t')" "script.txt "
  is "shells" "$(fish_offers 'agenthost completion ')" "bash fish zsh "
  is "help" "$(fish_offers 'agenthost help doc')" "doctor "
  case "$(fish_offers 'agenthost auth link gmai')" in *"gmail "*) ;; *) say_failed "no connections" ;; esac
  is "runs" "$(fish_offers 'agenthost trace show ')" "last "
else
  skip "no fish here"
fi

done_testing
