"""Runs a program on a terminal of its own, or in pipes, and sends signals when it has said something.

on_pty.py pty|pipe OUT [TEXT SIGNAL]... -- PROGRAM WORDS
When TEXT is in what was said, SIGNAL (INT, TERM, ^C typed on the terminal, >LINE, a line typed there, or !COMMAND, which
sh runs beside it and whose words are said, too) is sent; then the next pair. All that was said goes to OUT (stdout and
stderr together). Leaves with the program's exit code, 128 + N when a signal killed it, 124 after 30 s.
"""
import os
import pty
import select
import signal
import subprocess
import sys
import time

how, out = sys.argv[1:3]
cut = sys.argv.index("--")
steps = [(sys.argv[i].encode(), sys.argv[i + 1]) for i in range(3, cut, 2)]
words = sys.argv[cut + 1:]
if how == "pty":
    pid, fd = pty.fork()
else:
    fd, far = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(far, 1)
        os.dup2(far, 2)
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    else:
        os.close(far)
if pid == 0:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv(words[0], words)
said, start = b"", time.monotonic()
while True:
    if time.monotonic() - start > 30:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        open(out, "wb").write(said)
        sys.exit(124)
    if select.select([fd], [], [], 0.02)[0]:
        try:
            more = os.read(fd, 65536)
        except OSError:
            more = b""
        if not more:
            break
        said += more
    while steps and steps[0][0] in said:
        kind = steps.pop(0)[1]
        if kind.startswith(">"):
            os.write(fd, kind[1:].encode() + b"\n")
        elif kind.startswith("!"):
            said += subprocess.run(["sh", "-c", kind[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, timeout=20).stdout
        elif kind == "^C":
            os.write(fd, b"\x03")
        else:
            os.kill(pid, getattr(signal, "SIG" + kind))
        time.sleep(0.05)
status = os.waitpid(pid, 0)[1]
open(out, "wb").write(said)
sys.exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))
