"""Called by bench/run: runs the programs, reads their wall time, CPU time and peak memory, asks the far end
what it counted, and prints one line a figure. Nothing is asserted about time; counts are."""
import json, os, statistics, subprocess, sys, time, urllib.request

program, limit, work = os.environ["PROGRAM"], os.environ["LIMIT"], os.environ["WORK"]
count, concurrency = int(os.environ["COUNT"]), int(os.environ["CONCURRENCY"])
clean = {k: v for k, v in os.environ.items()
         if not k.startswith(("OPENAI_", "LANGSMITH_", "LANGCHAIN_", "SCALEKIT_", "LITELLM_", "AGENTHOST_"))
         and not k.lower().endswith("_proxy")}
failures = []


def env(base):
    home = os.path.join(work, "home")
    return {**clean, "AGENTHOST_HOME": home, "AGENTHOST_USER": "user_123", "BASE": base,
            "SCALEKIT_ENVIRONMENT_URL": base, "SCALEKIT_CLIENT_ID": "skc_1", "SCALEKIT_CLIENT_SECRET": "test_secret_1",
            "OPENAI_BASE_URL": base + "/v1", "OPENAI_API_KEY": "sk-bench-0000",
            "LANGSMITH_TRACING": "true", "LANGSMITH_ENDPOINT": base, "LANGSMITH_API_KEY": "lsv2_pt_bench_0000"}


def run(args, base):
    """wall seconds, CPU seconds, peak memory in MB, stdout"""
    out, used = os.path.join(work, "out"), os.path.join(work, "used")
    with open(out, "wb") as o, open(os.path.join(work, "err"), "wb") as e:
        subprocess.run([os.path.join(work, "peak"), used] + args, stdout=o, stderr=e, env=env(base), check=True)
    code, wall, cpu, memory = open(used).read().split()
    text = open(out, encoding="utf-8", errors="replace").read()
    if code != "0":
        sys.exit("bench: %s: exit code %s\n%s" % (" ".join(args), code,
                                                 open(os.path.join(work, "err"), errors="replace").read()[-2000:]))
    return float(wall), float(cpu), int(memory) / 1024, text


def both(ours, theirs, base, times):
    """Medians of wall times, taken in turns, so that a busy machine is busy for both."""
    a, b = [], []
    for _ in range(times):
        a.append(run(ours, base)[0])
        b.append(run(theirs, base)[0])
    return statistics.median(a), statistics.median(b)


def stats(base):
    return json.load(urllib.request.urlopen(base + "/__stats"))


def reset(base):
    urllib.request.urlopen(urllib.request.Request(base + "/__reset", method="POST")).read()


def line(what, ours, theirs, ratio, target):
    print("%-46s %16s %16s %8s   %s" % (what, ours, theirs, ratio, target), flush=True)


def expect(what, got, wanted):
    if got != wanted:
        failures.append("%s: the far end counted %s, not %s" % (what, got, wanted))


fast, slow = os.environ["FAST"], os.environ["SLOW"]
recipe = [program, "run", "-q", "examples/gmail_digest.lua"]
line("", "agenthost", "peer", "ratio", "target")

a, b = both([program, "--version"], ["curl", "--version"], fast, 51)
line("--version, against curl --version (median)", "%.1f ms" % (a * 1e3), "%.1f ms" % (b * 1e3), "%.2f" % (a / b), "<= 1.1")

run(recipe, fast), run([limit], fast)
a, b = both(recipe, [limit], fast, 21)
line("recipe, whole process, wall (median)", "%.1f ms" % (a * 1e3), "%.1f ms" % (b * 1e3), "%.2f" % (a / b), "<= 2.2")

agents = [program, "run", "-q", "bench/agents.lua"]
run(agents + ["20", "10"], fast), run([limit, "20"], fast)
reset(fast)
wall, cpu, memory, out = run(agents + [str(count), str(concurrency)], fast)
for _ in range(50):  # the tail of the upload may still be on its way through the far end
    seen = stats(fast)
    if seen["ended"] >= 4 * count:
        break
    time.sleep(0.1)
requests = seen["requests"]
expect("chats", requests.get("POST /v1/chat/completions", 0), 2 * count)
expect("lists", sum(n for k, n in requests.items() if k.endswith("/tools/scoped")), count)
expect("executes", requests.get("POST /api/v1/execute_tool", 0), count)
expect("ended runs", seen["ended"], 4 * count)
expect("runs", seen["run_ids"], 4 * count)
_, floor, _, _ = run([limit, str(count)], fast)
line("recipe x %d, %d at once, CPU per agent" % (count, concurrency), "%.3f ms" % (cpu / count * 1e3),
     "%.3f ms" % (floor / count * 1e3), "%.2f" % (cpu / floor), "<= 2")
line("  the same: " + out.strip().splitlines()[-1], "%.2f s" % wall, "", "", "")
line("  the same: peak memory", "%.1f MB" % memory, "", "", "")

memory = max(run(recipe, fast)[2] for _ in range(3))
line("peak memory of one run", "%.1f MB" % memory, "", "", "<= 20 MB")

# Of an agent's calls the far end delays two chats and one execute: three in a row.
wall, cpu, memory, out = run(agents + ["1000", "1000"], slow)
rate = float(out.strip().splitlines()[-1].split()[1])
line("1000 agents at once, 3 calls of 300 ms each", "%.2f s" % (1000 / rate), "0.90 s ideal", "%.2f" % (1000 / rate / 0.9),
     "<= 1.33")
line("  the same: whole process with its upload", "%.2f s" % wall, "", "", "")
line("  the same: peak memory", "%.1f MB" % memory, "", "", "<= 96 MB")

for f in failures:
    print("bench: " + f, file=sys.stderr)
print("far end: 2N chats, N lists, N executes, 4N ended runs: " + ("no" if failures else "yes"))
sys.exit(1 if failures else 0)
