#!/bin/sh
# What `cmake --install` puts down, used as another project would: the examples in C built against it by pkg-config and
# by find_package, shared and static; what the library shows; the headers as C++; the manual page.
. "$(dirname "$0")/lib.sh"

BUILD=${AGENTHOST_BUILD:-$ROOT/build}
PREFIX=$TMP/prefix
SANITIZE=$(sed -n 's/^AH_SANITIZE:[A-Z]*=//p' "$BUILD/CMakeCache.txt")
FLAGS="-Wall -Wextra -Werror -pedantic -std=c11 -D_GNU_SOURCE ${SANITIZE:+-fsanitize=$SANITIZE}"

begin "cmake --install puts program, libraries, headers, scripts and manual below one prefix"
cmake --install "$BUILD" --prefix "$PREFIX" >said 2>&1 || say_failed "cmake --install: $(tail -n 3 said)"
LIB=$(dirname "$(find "$PREFIX" -name libagenthost.a)")
for file in bin/agenthost include/agenthost/agenthost.h include/agenthost/ext.h share/man/man1/agenthost.1 \
  share/agenthost/scripts/agent/init.lua; do
  check "$file" test -f "$PREFIX/$file"
done
for file in libagenthost.so libagenthost.so.0 libagenthost.a pkgconfig/agenthost.pc pkgconfig/agenthost-static.pc \
  cmake/agenthost/agenthost-config.cmake; do
  check "$file" test -e "$LIB/$file"
done
is "the soname" "$(objdump -p "$LIB/libagenthost.so" | sed -n 's/ *SONAME *//p')" libagenthost.so.0
PKG_CONFIG_PATH=$LIB/pkgconfig
LD_LIBRARY_PATH=$LIB${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export PKG_CONFIG_PATH LD_LIBRARY_PATH

# The names that the headers declare, one a line.
declared() { grep -ho 'AH_PUBLIC [^(;]*\<ah_[a-z_]*(' "$PREFIX"/include/agenthost/*.h | grep -o 'ah_[a-z_]*($' | tr -d '(' | sort -u; }

begin "the libraries show the functions that the headers declare, nothing else"
declared >declared
check "the headers declare something" test "$(wc -l <declared)" -gt 15
nm -D --defined-only "$LIB/libagenthost.so" | awk '$2 != "A" { sub("@.*", "", $3); print $3 }' | sort >shared
nm -g --defined-only "$LIB/libagenthost.a" | awk 'NF == 3 { print $3 }' | sort >static
check "libagenthost.so: $(diff declared shared)" cmp -s declared shared
# The sanitizers put their own marks into every object.
grep -v '^__\(odr_\)\?asan\|^__ubsan\|^__tsan' static >own
check "libagenthost.a: $(diff declared own)" cmp -s declared own

begin "pkg-config knows the version"
is "version" "$(pkg-config --modversion agenthost)" "$("$AGENTHOST" version | sed 's/agenthost \([^ ]*\).*/\1/')"

# name of an example, package, file to build
build_example() {
  # shellcheck disable=SC2046,SC2086
  ${CC:-cc} $FLAGS "$ROOT/examples/$1.c" $(pkg-config --cflags --libs "$2") -pthread -o "$3" >said 2>&1 ||
    say_failed "$1 with $2: $(head -n 5 said)"
}

# program: what examples/embed.c must say
run_embed() {
  "$1" >out 2>err
  is "exit code" $? 0
  want_out "script: reading mail for user_123"
  want_out "model calls, 1 tool calls"
  is "both runs answered" "$(grep -c 'model calls' out)" 2
}

# program: what examples/primitive.c must say
run_primitive() {
  "$1" >out 2>err
  is "exit code" $? 0
  want_out "cellar: 41 F, heated; attic: not_found"
  is "effects, by class" "$(python3 - "$AGENTHOST_HOME/journal.db" <<'PY'
import sqlite3, sys
print(sqlite3.connect(sys.argv[1]).execute("select group_concat(class || ':' || n) from (select class, count(*) n from effect group by class)").fetchone()[0])
PY
)" "0:2,2:2"
}

for package in agenthost agenthost-static; do
  begin "examples/embed.c by pkg-config $package"
  build_example embed $package embed
  run_embed ./embed
  begin "examples/primitive.c by pkg-config $package"
  build_example primitive $package primitive
  run_primitive ./primitive
done

begin "the static one does not need libagenthost.so"
build_example embed agenthost-static embed
check "no libagenthost.so" sh -c '! objdump -p ./embed | grep -q "NEEDED.*libagenthost"'

begin "both by find_package, and a version that is not there is refused"
mkdir project
cat >project/CMakeLists.txt <<EOF
cmake_minimum_required(VERSION 3.25)
project(embedder C)
find_package(agenthost 0.1 REQUIRED)
foreach(kind agenthost agenthost_static)
  foreach(example embed primitive)
    add_executable(\${example}_\${kind} $ROOT/examples/\${example}.c)
    target_compile_definitions(\${example}_\${kind} PRIVATE _GNU_SOURCE)
    target_link_libraries(\${example}_\${kind} PRIVATE agenthost::\${kind})
  endforeach()
endforeach()
EOF
cmake -S project -B built -DCMAKE_PREFIX_PATH="$PREFIX" -DCMAKE_C_FLAGS="${SANITIZE:+-fsanitize=$SANITIZE}" >said 2>&1 &&
  cmake --build built >>said 2>&1 || say_failed "$(tail -n 5 said)"
run_embed built/embed_agenthost
run_embed built/embed_agenthost_static
run_primitive built/primitive_agenthost
sed 's/agenthost 0.1 /agenthost 7.1 /' project/CMakeLists.txt >7 && mv 7 project/CMakeLists.txt
check "version 7 is refused" sh -c '! cmake -S project -B other -DCMAKE_PREFIX_PATH="$1" >said 2>&1' sh "$PREFIX"

begin "docs/embedding.md shows what is built here, and names every kind of error"
is "blocks that are not in the examples or here" "$(python3 - "$ROOT" <<'PY'
import re, sys
root = sys.argv[1]
page = open(root + "/docs/embedding.md").read()
texts = [open(root + "/" + n).read() for n in ("examples/embed.c", "examples/primitive.c", "tests/cli/install_test.sh")]
blocks = re.findall(r"^```(\w+)\n(.*?)^```$", page, re.S | re.M)
assert len(blocks) > 5
lost = [b for kind, b in blocks if kind == "c" and not any(b in t for t in texts)]
lost += [b for kind, b in blocks if kind == "cmake" and b not in texts[2]]
lost += [b for kind, b in blocks if kind == "sh" and b.strip() not in texts[0]]
kinds = re.findall(r'\[AH_[A-Z_]+\] = \{"(\w+)"', open(root + "/src/err.c").read())
lost += [k for k in kinds if k != "none" and not re.search(r"\b" + k + r"\b", page.split("## Kinds of errors")[1])]
print("\n".join(lost))
PY
)" ""

begin "the headers are C++, too"
cat >embedder.cc <<'EOF'
#include <agenthost/agenthost.h>
#include <agenthost/ext.h>
int main()
{
    struct ah_host_opts opts = {};
    opts.size = sizeof opts;
    opts.flags = AH_HOST_MEMORY | AH_HOST_NO_DOTENV;
    struct ah_host_error error;
    struct ah_host *h = ah_host_new(&opts, &error);
    ah_host_free(h);
    return h == nullptr;
}
EOF
if command -v c++ >/dev/null; then
  # shellcheck disable=SC2046,SC2086
  c++ -Wall -Wextra -Werror -pedantic -std=c++17 ${SANITIZE:+-fsanitize=$SANITIZE} embedder.cc \
    $(pkg-config --cflags --libs agenthost) -o embedder >said 2>&1 && ./embedder || say_failed "$(head -n 5 said)"
fi

begin "the installed program finds its scripts, and says what the manual and the README say"
"$PREFIX/bin/agenthost" --help >help 2>&1
"$PREFIX/bin/agenthost" demo >out 2>err
is "the demo" $? 0
man=$PREFIX/share/man/man1/agenthost.1
if command -v groff >/dev/null; then
  is "warnings of groff" "$(groff -man -ww -z -Tutf8 "$man" 2>&1)" ""
fi
if command -v mandoc >/dev/null; then
  is "warnings of mandoc" "$(mandoc -T lint -W warning "$man" 2>&1)" ""
fi
sed 's/\\-/-/g' "$man" >plain
for option in $(grep -o '^ *\(-[a-z], \)\?--[a-z-]*' help | grep -o -- '--[a-z-]*' | sort -u); do
  check "$option is in the manual" grep -q -- "$option" plain
done
sed -n '/^Commands/,/^$/s/^  \([a-z]*\) .*/\1/p' help | sort >commands
awk 'was == ".TP" { print } { was = $0 }' plain >first_lines
sed -n 's/^\.B[IR]* "\?\([a-z]*\).*/\1/p' first_lines | grep -Fx -f commands | sort >heads
is "the manual's commands, each once" "$(cat heads)" "$(cat commands)"
codes=$(sed -n '/^Exit codes/,/^$/p' help | grep -o '[0-9][0-9]* [a-z]' | cut -d' ' -f1)
is "exit codes of the README" "$(sed -n '/^## Exit codes/,/^## /s/^| \([0-9]*\) .*/\1/p' "$ROOT/README.md")" "$codes"
is "exit codes of the manual" "$(sed -n '/^\.SH "EXIT STATUS"/,/^\.SH ENV/s/^\.B \([0-9]*\)$/\1/p' plain)" "$codes"
sed -E 's/ +[<0-9.]+ m?s( |$)/ T\1/' "$ROOT/README.md" >readme
sed -E 's/ +[<0-9.]+ m?s( |$)/ T\1/' out err | grep . >said
while IFS= read -r line; do
  check "README: $line" grep -qFx -- "$line" readme
done <said

done_testing
