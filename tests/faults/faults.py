"""Faults on purpose: what must hold of traces when a process dies, a disk fills, a service misbehaves.

    tests/faults/faults.py NAME [long]      NAME: kill, points, processes, down, trouble, disk, clock

The short form is what ctest runs (tests/faults/*_test.sh); `long` is the whole measure. $AGENTHOST names the program,
$AGENTHOST_RELEASE one without sanitizers for what measures memory. Exits 0, 1, or 77 when it cannot run here. Ends only
what it started."""
import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from farend import FarEnd  # noqa: E402

PROGRAM = os.path.abspath(os.environ.get("AGENTHOST", os.path.join(HERE, "../../build-dev/agenthost")))
RELEASE = os.path.abspath(os.environ.get("AGENTHOST_RELEASE") or PROGRAM)
SPANS = os.path.join(HERE, "spans.lua")
CLEAN = {k: v for k, v in os.environ.items()
         if not k.startswith(("OPENAI_", "LANGSMITH_", "LANGCHAIN_", "SCALEKIT_", "LITELLM_", "AGENTHOST_"))
         and not k.lower().endswith("_proxy")}
failures = []


def check(what, fine, more=""):
    print("%s - %s%s" % ("ok" if fine else "not ok", what, "" if fine else "\n# " + str(more)), flush=True)
    if not fine:
        failures.append(what)
    return fine


def note(text):
    print("# " + text, flush=True)


class Rig:
    """A home of its own, and the program run in it against one far end."""

    def __init__(self, base):
        self.home = tempfile.mkdtemp(prefix="agenthost-faults-")
        self.env = {**CLEAN, "AGENTHOST_HOME": os.path.join(self.home, "home"), "LANGSMITH_TRACING": "true",
                    "LANGSMITH_ENDPOINT": base, "LANGSMITH_API_KEY": "lsv2_pt_faults_0000",
                    "ASAN_OPTIONS": "exitcode=99:detect_leaks=0"}
        self.count = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.home, ignore_errors=True)

    def start(self, *words, program=PROGRAM, env=None, flush="0", quiet=True):
        """A process whose stdout and stderr are files: child.out, child.err."""
        self.count += 1
        out, err = (os.path.join(self.home, "%s%d" % (w, self.count)) for w in ("out", "err"))
        with open(out, "wb") as o, open(err, "wb") as e:
            child = subprocess.Popen([program, "run", *(["-q"] if quiet else []), "--flush", flush, *map(str, words)], stdout=o, stderr=e,
                                     stdin=subprocess.DEVNULL, env={**self.env, **(env or {})}, cwd=self.home)
        child.out, child.err = out, err
        return child

    def run(self, *words, seconds=300, **options):
        child = self.start(*words, **options)
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            check("it ends", False, "%s: killed after %d s" % (words, seconds))
        return child

    def drain(self, **options):
        """A process that sends what the others left."""
        child = self.run(SPANS, "drain", 0, flush="120s", **options)
        check("what was left is sent", child.returncode == 0 and "waiting" not in text(child.err), text(child.err))
        return child

    def journal(self, sql):
        with sqlite3.connect(os.path.join(self.env["AGENTHOST_HOME"], "journal.db"), timeout=10) as db:
            return db.execute(sql).fetchall()


def text(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


def said(child):
    """(names of spans that ended, those of them that the contract covers)"""
    did, covered, since = [], [], []
    for line in text(child.out).split("\n")[:-1]:  # a last line without its end was cut
        word, _, rest = line.partition(" ")
        if word == "did":
            did.append(rest)
            since.append(rest)
        elif word == "ok":
            covered += since
            since = []
    return did, covered


def check_arrived(far, names, what="every span that the contract covers arrived"):
    missing = [n for n in names if far.ended.get(n, 0) != 1]
    check("%s, once (%d)" % (what, len(names)), not missing,
          "%d, such as %s" % (len(missing), [(n, far.ended.get(n, 0)) for n in missing[:5]]))


def check_far(far, conflicts_are_resends=True):
    twice = [n for n, count in far.ended.items() if count > 1 and "-" in n]  # roots share a name
    check("nothing arrived twice", not twice, twice[:5])
    check("what arrived is well made", not far.problems, far.problems[:5])
    if conflicts_are_resends:
        check("what was sent again was sent byte for byte (%d of %d uploads)" % (far.conflicts, far.uploads),
              far.strange_conflicts == 0, far.strange_conflicts)


class Locker:
    """Another program that holds the journal's lock for a moment, again and again."""

    def __init__(self, rig):
        self.path, self.stop = os.path.join(rig.env["AGENTHOST_HOME"], "journal.db"), threading.Event()
        self.thread, self.count = threading.Thread(target=self.run), 0

    def run(self):
        chance = random.Random(1)
        while not self.stop.wait(chance.random() * 0.03):
            try:
                with contextlib.closing(sqlite3.connect("file:%s?mode=rw" % self.path, uri=True, timeout=5, isolation_level=None)) as db:
                    db.execute("begin immediate")
                    self.count += 1
                    self.stop.wait(chance.random() * 0.03)
                    db.execute("rollback")
            except sqlite3.OperationalError:  # not there yet
                pass

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def kill_all(rig, times, chance, did, covered):
    for i in range(times):
        child = rig.start(SPANS, "k%d" % i, 1000000, *(["flush"] if i % 3 else []), *(["runs"] if i % 2 else []))
        time.sleep(0.1)
        while child.poll() is None and not os.path.getsize(child.out):
            time.sleep(0.005)
        time.sleep(chance.random() * 0.4)
        child.send_signal(signal.SIGKILL)
        if child.wait() != -signal.SIGKILL:
            check("run %d was killed" % i, False, text(child.err))
        d, c = said(child)
        did += d
        covered += c


def kill(long):
    """SIGKILL at random moments under load, while somebody else wants the journal too."""
    times, chance = (200 if long else 12), random.Random(7)
    did, covered = [], []
    with FarEnd(info={"instance_flags": {"zstd_compression_enabled": True}}) as far, Rig(far.base) as rig:
        with Locker(rig) as locker:
            kill_all(rig, times, chance, did, covered)
        check("the journal was locked by another", locker.count > times, locker.count)
        rig.drain()
        check_arrived(far, covered)
        check_far(far)
        check("the journal is whole", rig.journal("pragma integrity_check") == [("ok",)])
        beyond = set(did) - set(covered)
        lost = [n for n in beyond if n not in far.ended]
        note("%d kills; %d spans ended, %d of them covered; of the %d that are not, %d were lost" %
             (times, len(did), len(covered), len(beyond), len(lost)))


def has_faults(rig):
    child = rig.run(SPANS, "x", 1, env={"AGENTHOST_FAULT": "any:1"})
    return child.returncode == -signal.SIGKILL


def check_saves(rig):
    """Where nothing goes wrong, a batch of spans that have ended is written once: with the attempt that is about to leave."""
    rig.journal("create table saved (id integer, attempts integer)")
    rig.journal("create trigger saving after insert on batch begin insert into saved values (new.id, new.attempts); end")
    child = rig.run(SPANS, "saves", 6, "runs", "flush", "pause=0.001")
    rows = rig.journal("select attempts, count(*) from saved group by id")
    check("a batch is saved once, with its attempt", child.returncode == 0 and rows and set(rows) == {(1, 1)}, (rows, text(child.err)))


def points(long):
    """Death at each point of the code that has a name."""
    with FarEnd() as far, Rig(far.base) as rig:
        if not has_faults(rig):
            print("1..0 # SKIP a build without AH_FAULTS")
            sys.exit(77)
        n, covered = 0, []
        while True:
            n += 1
            child = rig.run(SPANS, "p%d" % n, 6 if long else 3, "flush", env={"AGENTHOST_FAULT": "any:%d" % n}, seconds=60)
            covered += said(child)[1]
            if child.returncode != -signal.SIGKILL:
                break
            if n > 2000:
                break
        check("the last one ended by itself", child.returncode == 0, text(child.err))
        check("there are at least 30 points", n > 30, n - 1)
        rig.drain()
        check_arrived(far, covered)
        check_far(far)
        check("the journal is whole", rig.journal("pragma integrity_check") == [("ok",)])
        note("%d points" % (n - 1))
        check_saves(rig)


def processes(long):
    """Eight processes and one journal; one dies while the answer to its upload is on the way."""
    runs = 144 if long else 15
    with FarEnd(delay=0.02) as far, Rig(far.base) as rig:
        doomed = has_faults(rig)
        children = [rig.start(SPANS, "m%d" % i, runs, "runs", "flush", flush="60s",
                              env={"AGENTHOST_FAULT": "answer:1"} if i == 3 and doomed else None) for i in range(8)]
        names = []
        for i, child in enumerate(children):
            child.wait(300)
            names += said(child)[1]
            if i != 3:
                check("process %d ended well" % i, child.returncode == 0, text(child.err))
        check("one was killed in mid-upload", not doomed or children[3].returncode == -signal.SIGKILL, children[3].returncode)
        rig.drain()
        check_arrived(far, names)
        check_far(far)
        states = dict(rig.journal("select state, count(*) from run group by state"))
        check("no run is left open", states.get(0, 0) == 0, states)
        note("%d runs, %d uploads" % (sum(states.values()), far.uploads))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


DOWN = """
local host, task, trace = require "host", require "host.task", require "host.trace"
local count, mark = %d, %d
local first
for n = 1, count do
  trace.span("d-" .. n, {}, function() return { text = ("x"):rep(900) .. n } end)
  if n %% 50 == 0 then task.sleep(0) end
  if n == mark then first = host.memory() end
end
print(first, host.memory())
"""


def down(long):
    """Nobody listens while spans are made; then somebody does."""
    count = 100000 if long else 12000
    port = free_port()
    with Rig("http://127.0.0.1:%d" % port) as rig:
        script = os.path.join(rig.home, "down.lua")
        with open(script, "w", encoding="utf-8") as f:
            f.write(DOWN % (count, count // 5))
        child = rig.run(script, program=RELEASE, seconds=600, quiet=False)
        check("a script feels nothing of it", child.returncode == 0, text(child.err))
        check("it is said how many wait", "%d spans waiting in the journal" % (count + 1) in text(child.err), text(child.err)[-500:])
        numbers = [int(n) for n in re.findall(r"\d+", text(child.out))]
        if check("the script says how much memory it had", len(numbers) == 2, text(child.out)):
            grown = (numbers[1] - numbers[0]) / 2**20
            note("%.1f MB at a fifth of %d spans, %.1f MB more at their end" % (numbers[0] / 2**20, count, grown))
            check("memory is flat", RELEASE == PROGRAM or grown <= 4, grown)
        with FarEnd(port=port) as far:
            rig.drain(program=RELEASE)
            check_arrived(far, ["d-%d" % n for n in range(1, count + 1)], "everything arrived when it came back")
            check_far(far)


def trouble(long):
    """A service that answers 500, 429, 413, 422, 404, slowly or not at all, and 409 for what it has."""
    turns = 6667 if long else 400
    small = {"batch_ingest_config": {"size_limit": 20}}
    with FarEnd(seed=11, info=None if long else small) as far, Rig(far.base) as rig:
        child = rig.run(SPANS, "t", turns, "pause=0.001", flush="300s", seconds=900, program=RELEASE)
        check("a script feels nothing of it", child.returncode == 0, text(child.err))
        names = said(child)[0]
        for _ in range(40):  # what a 422 refused for good is there, with the server's words, until somebody pushes it
            ids = [row[0] for row in rig.journal("select distinct r.id from exception e join run r on r.key = e.run")]
            if not ids:
                break
            for run in ids:
                subprocess.run([RELEASE, "trace", "push", run], env=rig.env, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, timeout=300, check=False)
        rig.drain(program=RELEASE)
        check_arrived(far, names, "everything arrived in the end")
        check_far(far, conflicts_are_resends=False)
        check("each kind of trouble was met", set(far.troubles) == set(FarEnd.TROUBLES), far.troubles)
        note("%d spans, %d uploads, %d conflicts, troubles %s" % (len(names), far.uploads, far.conflicts, far.troubles))


def disk(long):
    """The disk fills, or the journal is damaged, while a script runs."""
    turns = 400 if long else 60
    with FarEnd() as far, Rig(far.base) as rig:
        if not has_faults(rig):
            print("1..0 # SKIP a build without AH_FAULTS")
            sys.exit(77)
        names = []
        for n, (what, words) in enumerate([("full", "the disk is full"), ("damage", "it is damaged")] * 3):
            child = rig.run(SPANS, "f%d" % n, turns, "runs", env={"AGENTHOST_FAULT": "commit:%d:%s" % (1 + n * n, what)},
                            flush="60s", quiet=False)
            check("%s at commit %d: the script ends well" % (what, 1 + n * n), child.returncode == 0, text(child.err))
            check("%s: it is said once" % what, text(child.err).count(words) == 1, text(child.err))
            names += said(child)[1]
        rig.drain()
        check_arrived(far, names, "what was said before and after arrived")
        check_far(far, conflicts_are_resends=False)  # a batch may be noted in memory only
    with FarEnd() as far, Rig(far.base) as rig:
        child = rig.start(SPANS, "g", turns, "runs", "pause=0.02", flush="60s", quiet=False)
        while child.poll() is None and text(child.out).count("ok") < 10:
            time.sleep(0.01)
        path = os.path.join(rig.env["AGENTHOST_HOME"], "journal.db")
        for name in (path, path + "-wal"):
            size = os.path.getsize(name)
            with open(name, "r+b") as f:
                f.write(os.urandom(max(size, 65536)))
        child.wait(120)
        check("damaged: the script ends well", child.returncode == 0, text(child.err))
        # What is in SQLite's memory may hide it to the end.
        check("damaged: it is said once at most", text(child.err).count("cannot be used") <= 1, text(child.err))
        after = [n for n in said(child)[1] if int(n.split("-")[1]) > 15]
        check_arrived(far, after, "what ended after that arrived")
        check_far(far)
        child = rig.run(SPANS, "h", 1, quiet=False)
        check("damaged: the next one says what to do", "it is damaged: move it away" in text(child.err), text(child.err))


def clock(long):
    """The wall clock steps back an hour."""
    with FarEnd() as far, Rig(far.base) as rig:
        if not has_faults(rig):
            print("1..0 # SKIP a build without AH_FAULTS")
            sys.exit(77)
        names = []
        for n in (range(1, 120) if long else (1, 2, 5, 13, 30, 60)):
            child = rig.run(SPANS, "c%d" % n, 8, *(["runs"] if n % 2 else []), "flush",
                            env={"AGENTHOST_FAULT_CLOCK": "%d:-3600" % n}, flush="60s")
            check("step at reading %d: the script ends well" % n, child.returncode == 0, text(child.err))
            names += said(child)[1]
        rig.drain()
        check_arrived(far, names)
        check_far(far)


ALL = {f.__name__: f for f in (kill, points, processes, down, trouble, disk, clock)}


def main():
    if len(sys.argv) < 2 or sys.argv[1] not in ALL:
        sys.exit(__doc__)
    if not os.access(PROGRAM, os.X_OK):
        print("1..0 # SKIP no program at %s" % PROGRAM)
        sys.exit(77)
    ALL[sys.argv[1]]("long" in sys.argv[2:])
    print("%d failed" % len(failures))
    sys.exit(1 if failures else 0)


main()
