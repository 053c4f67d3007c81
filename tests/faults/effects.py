#!/usr/bin/env python3
# An e-mail is sent by a process that is killed at every fault point in turn, and resumed: the emulator's outbox (in
# another process) holds it once, or the run says that it does not know; never twice: sent by an agent (send, verify)
# and by a script that calls the tool itself (hand). And each example, killed and
# resumed, ends as if nothing had happened. TAP on stdout.
#   tests/faults/effects.py send|hand|verify|examples [long] [EXAMPLE.lua...]
# Wants $AGENTHOST with fault points (preset dev). `long`: every point; else every few. Examples: else all of them.
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.environ.get("AGENTHOST", os.path.join(ROOT, "build-dev", "agenthost"))
LEAST_POINTS = 30
EXAMPLES = sorted(name for name in os.listdir(os.path.join(ROOT, "examples")) if name.endswith(".lua"))
UNSAFE = ["approve.lua", "gmail_digest_by_hand.lua", "many_connectors.lua"]  # they may not know what became of a call

env = {k: v for k, v in os.environ.items()
       if not re.match(r"(SCALEKIT|OPENAI|LITELLM|LANGSMITH|LANGCHAIN|AGENTHOST)_|.*_proxy$|.*_PROXY$", k)}
env["AGENTHOST_USER"] = "user_123"
env["ASAN_OPTIONS"] = "detect_leaks=0"  # what is killed frees nothing
top = tempfile.mkdtemp()


class Problems(list):
    """Said as they come: the long form takes a while."""

    def append(self, problem):
        super().append(problem)
        print("# " + problem.replace("\n", " "), flush=True)


problems = Problems()


def start_emulator():
    child = subprocess.Popen([PROGRAM, "emulate", "--json", "--seed", "7"], stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, env=dict(env, AGENTHOST_HOME=os.path.join(top, "emulator")), text=True)
    settings = json.loads(child.stdout.readline())
    env.update({k: str(v) for k, v in settings["env"].items()})
    return child, settings["url"]


def outbox(url):
    with urllib.request.urlopen(url + "/__emulator/state") as answer:
        return json.dumps(json.load(answer)["outbox"])


def agenthost(home, *words, fault=None):
    more = {"AGENTHOST_HOME": home}
    if fault:
        more["AGENTHOST_FAULT"] = "any:%d" % fault
    done = subprocess.run([PROGRAM, *words], env=dict(env, **more), cwd=ROOT, stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, timeout=120)
    return done


def has_faults():
    home = os.path.join(top, "probe")
    return agenthost(home, "run", "-q", "--no-trace", "examples/lua_tool.lua", fault=1).returncode == -signal.SIGKILL


def send(url, what, step, second):
    """Raises n until the run ends by itself. Returns (points tried, runs that did not know)."""
    n, tried, unsure = 1, 0, 0
    verify = what == "verify"
    script = "tests/faults/hand.lua" if what == "hand" else "tests/faults/send.lua"
    if verify:
        env["SEND_VERIFY"] = "yes"
    while True:
        home = os.path.join(top, "home%d" % n)
        text = "Point%dof%d%s" % (n, step, what)
        words = ["run", "-q", "--approve", "auto", script, "Send an email to dana@example.com saying " + text]
        done = agenthost(home, *words, fault=n)
        if done.returncode != -signal.SIGKILL:
            if done.returncode != 0:
                problems.append("point %d: ended with %d: %s" % (n, done.returncode, done.stderr[-300:]))
            break
        tried += 1
        began = agenthost(home, "trace", "ls", "--json").stdout.strip() not in ("", "[]")
        asked = False
        for again in range(4):
            if not began:  # killed before there was a run: nothing was sent
                break
            done = agenthost(home, "resume", "last", "-q", fault=second if again == 0 else None)
            if done.returncode == 16:
                asked = True
                unsure += 1
                done = agenthost(home, "resume", "last", "-q", "--assume", "done")
            if done.returncode != -signal.SIGKILL:
                break
        count = outbox(url).count(text)
        ended = "has come to its end" in done.stderr  # it was killed behind its last word
        if began and done.returncode != 0 and not ended:
            problems.append("point %d: resume ended with %d: %s" % (n, done.returncode, done.stderr[-300:]))
        if count > 1 or (count == 0 and began and not asked):
            problems.append("point %d: the outbox holds it %d times" % (n, count))
        if verify and asked:
            problems.append("point %d: verify could tell, and the run did not know" % n)
        shutil.rmtree(home, ignore_errors=True)
        n += step
    return tried, unsure


def normal(text):
    """Without what differs between any two runs: ids, durations, times, chance."""
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\b\d+(\.\d+)? (ms|s)\b|\d\d:\d\d:\d\d|number(: | is )\d+|\d{9,}\.\d+", "…", text)


def example(name, step):
    home = os.path.join(top, "undisturbed")
    wanted = agenthost(home, "run", "-q", "--approve", "auto", "examples/" + name)
    if wanted.returncode != 0 or not wanted.stdout:
        problems.append("%s, undisturbed: code %d: %s" % (name, wanted.returncode, wanted.stderr[-300:]))
    n, tried = 2, 0
    while True:
        home = os.path.join(top, "%s%d" % (name, n))
        done = agenthost(home, "run", "-q", "--approve", "auto", "examples/" + name, fault=n)
        if done.returncode != -signal.SIGKILL:
            break
        tried += 1
        if agenthost(home, "trace", "ls", "--json").stdout.strip() not in ("", "[]"):
            done = agenthost(home, "resume", "last", "-q")
            ended = "has come to its end" in done.stderr
            if done.returncode == 16 and name in UNSAFE:  # it says that it does not know
                ended = True
            if not ended and (done.returncode != wanted.returncode or normal(done.stdout) != normal(wanted.stdout)):
                problems.append("%s, point %d: code %d, wanted %d: %s %s" % (
                    name, n, done.returncode, wanted.returncode, done.stdout[-200:], done.stderr[-300:]))
        shutil.rmtree(home, ignore_errors=True)
        n += step
    return tried


def main():
    what, long = sys.argv[1], "long" in sys.argv[2:]
    if not has_faults():
        print("1..0 # SKIP %s has no fault points" % PROGRAM)
        return 77
    child, url = start_emulator()
    try:
        if what == "examples":
            names = [word for word in sys.argv[2:] if word.endswith(".lua")] or EXAMPLES
            for number, name in enumerate(names, 1):
                before = len(problems)
                tried = example(name, 1 if long else 11)
                print("%s %d - %s, killed at %d points and resumed" % (
                    "ok" if len(problems) == before else "not ok", number, name, tried), flush=True)
            print("1..%d" % len(names))
        else:
            tried, unsure = send(url, what, 1 if what == "send" or long else 3, 5 if long else None)
            if what == "send" and tried < LEAST_POINTS:
                problems.append("only %d points" % tried)
            print("%s 1 - an e-mail at %d points: once, or %d times not known; never twice" % (
                "not ok" if problems else "ok", tried, unsure))
            print("1..1")
    finally:
        child.terminate()
        child.wait()
        shutil.rmtree(top, ignore_errors=True)
    return 1 if problems else 0


sys.exit(main())
