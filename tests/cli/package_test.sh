#!/bin/sh
# The Debian package: what is in it, what it needs, and that the program in it runs without being installed.
. "$(dirname "$0")/lib.sh"
for tool in cpack dpkg-deb dpkg-shlibdeps gzip; do
  command -v $tool >/dev/null || { echo "1..0 # SKIP $tool is needed"; exit 77; }
done
DEB=$TMP/deb
cpack --config "$AGENTHOST_BUILD/CPackConfig.cmake" -B "$DEB" >"$TMP/cpack.log" 2>&1 || { tail -n 20 "$TMP/cpack.log"; exit 1; }

begin "one package; its fields, no conffiles, no scripts of its own"
is "packages" "$(find "$DEB" -maxdepth 1 -name '*.deb' | wc -l)" 1
FILE=$(find "$DEB" -maxdepth 1 -name 'agenthost_*.deb')
field() { dpkg-deb -f "$FILE" "$1"; }
is "Package" "$(field Package)" agenthost
is "Section" "$(field Section)" utils
is "Architecture" "$(field Architecture)" "$(dpkg --print-architecture)"
case "$(field Version)" in "$("$AGENTHOST" version | cut -d' ' -f2)"-1) ;; *) say_failed "version $(field Version)" ;; esac
for library in libc6 libcurl4 liblua5.4-0 libmicrohttpd12 libsqlite3-0 libssl3 libuv1 libzstd1; do
  case "$(field Depends)" in *"$library ("*) ;; *) say_failed "does not depend on $library: $(field Depends)" ;; esac
done
case "$(field Depends)" in *-dev*) say_failed "needs a -dev package" ;; esac
case "$(field Description)" in "runs AI agents written as Lua scripts"*"  key are needed"*) say_failed "indented" ;; esac
dpkg-deb --ctrl-tarfile "$FILE" | tar -t | sed 's|^\./||' | grep . | LC_ALL=C sort >out
is "control files" "$(tr '\n' ' ' <out)" "control md5sums "

begin "its files: program, scripts, stubs, manual, completions, licence; all of root, none writable by others"
dpkg-deb -c "$FILE" >out
for path in ./usr/bin/agenthost ./usr/share/agenthost/scripts/agent/loop.lua ./usr/share/agenthost/scripts/meta/host.lua \
  ./usr/share/agenthost/scripts/prompts/default.md ./usr/share/man/man1/agenthost.1.gz ./usr/share/doc/agenthost/copyright \
  ./usr/share/doc/agenthost/changelog.Debian.gz ./usr/share/bash-completion/completions/agenthost \
  ./usr/share/zsh/vendor-completions/_agenthost ./usr/share/fish/vendor_completions.d/agenthost.fish; do
  check "there is $path" grep -q " $path\$" out
done
is "of others" "$(grep -vc ' root/root ' out)" 0
is "modes" "$(grep -v '^drwxr-xr-x \|^-rw-r--r-- ' out | grep -c .)" 1 # the program
check "no headers, no libraries" sh -c "! grep -q '/include/\|/lib/' out"

begin "taken apart, it runs: the demo, its own scripts, its completion"
dpkg-deb -x "$FILE" x
code=0
timeout 60 x/usr/bin/agenthost demo >out 2>err || code=$?
want_code 0
want_out "unread emails"
"$AGENTHOST" completion bash >wanted
check "completion of bash" cmp wanted x/usr/share/bash-completion/completions/agenthost
"$AGENTHOST" completion zsh >wanted
check "completion of zsh" cmp wanted x/usr/share/zsh/vendor-completions/_agenthost
"$AGENTHOST" completion fish >wanted
check "completion of fish" cmp wanted x/usr/share/fish/vendor_completions.d/agenthost.fish
echo 'error "a broken copy"' >x/usr/share/agenthost/scripts/agent/loop.lua # proof that these are used
code=0
timeout 60 x/usr/bin/agenthost demo >out 2>err || code=$?
want_code 1
want_err "a broken copy"
check "the manual is readable" sh -c "gzip -dc x/usr/share/man/man1/agenthost.1.gz | grep -q '^.TH AGENTHOST 1'"
check "the licence is there" grep -q "agenthost contributors" x/usr/share/doc/agenthost/copyright
check "the linked library's, too" grep -q "Mark Pulford" x/usr/share/doc/agenthost/copyright

begin "lintian finds no error"
if command -v lintian >/dev/null && ! ldd "$AGENTHOST" | grep -q 'libasan\|libtsan'; then
  lintian --allow-root --fail-on error "$FILE" >out 2>&1 || say_failed "$(grep '^E:' out)"
else
  skip "no lintian here, or a build with sanitizers"
fi

begin "installed by CMake: the same files below another prefix"
cmake --install "$AGENTHOST_BUILD" --component program --prefix "$PWD/prefix" >log 2>&1 || say_failed "$(tail -n 5 log)"
for path in bin/agenthost share/zsh/site-functions/_agenthost share/bash-completion/completions/agenthost share/man/man1/agenthost.1; do
  check "there is $path" test -s "prefix/$path"
done
DESTDIR=$PWD/root cmake --install "$AGENTHOST_BUILD" --component program --prefix /usr >log 2>&1 || say_failed "$(tail -n 5 log)"
check "Debian's place for zsh" test -s root/usr/share/zsh/vendor-completions/_agenthost

done_testing
