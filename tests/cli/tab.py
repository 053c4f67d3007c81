# A shell on a terminal, and somebody who types. Called by completion_test.sh: tab.py SHELL WORDS...
# For each argument, in a shell that was started with $TAB_RC as its settings: types it and the Tab key, then puts "echo " before
# the line and presses Enter. Prints what the shell made of each line.
import os, pty, select, sys, time

shell, lines = sys.argv[1], sys.argv[2:]
rc = os.environ["TAB_RC"]
commands = {
    "bash": ["bash", "--noprofile", "--rcfile", rc + "/bashrc", "-i"],
    "zsh": ["zsh", "-i"],
}
pid, fd = pty.fork()
if pid == 0:
    os.environ.update(TERM="dumb", ZDOTDIR=rc, PS1="$ ", HISTFILE="")
    os.execvp(commands[shell][0], commands[shell])

seen = b""


def wait_for(text, begin):
    """Until the terminal has shown it after a position, or ten seconds are over."""
    global seen
    end = time.monotonic() + 10
    while text not in seen[begin:] and time.monotonic() < end:
        if select.select([fd], [], [], 0.1)[0]:
            try:
                seen += os.read(fd, 65536)
            except OSError:
                break
    return text in seen[begin:]


os.write(fd, b"echo be''gin\n")
wait_for(b"begin", 0)
for n, line in enumerate(lines):
    begin = len(seen)
    mark = b"end%d" % n
    os.write(fd, line.encode() + b"\t" + b"\x05 en''d%d" % n + b"\x01echo \n")
    wait_for(mark, begin)
os.write(fd, b"exit\n")
wait_for(b"\xff", len(seen) - 1)
os.waitpid(pid, 0)
for n in range(len(lines)):
    for row in seen.replace(b"\r", b"\n").split(b"\n"):
        if row.endswith(b" end%d" % n):
            print(row.decode(errors="replace")[: -len(" end%d" % n)].strip())
