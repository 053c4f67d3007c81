"""A LangSmith that is troubled on purpose: takes uploads, knows each run by its id and its name, answers 409 to what it
has stored, and counts what should never be. Used by tests/faults/faults.py, which runs it in a thread. It knows what a
run must look like only as far as the faults need it; the emulator and the SDKs check the rest.

Trouble is a function of the upload's number and a seed: the same seed gives the same troubles."""
import asyncio
import ctypes
import ctypes.util
import hashlib
import json
import random
import re
import threading
import zlib

MAIN = re.compile(rb'name="(post|patch)\.([0-9a-f-]{36})"\r\nContent-Type: application/json\r\nContent-Length: (\d+)\r\n\r\n')
STAMP = re.compile(r"\d{8}T\d{12}Z")
CONFLICT = b'{"error":"Conflict: payload already received: payloads already received"}'


def unzstd(data):
    lib = ctypes.CDLL(ctypes.util.find_library("zstd") or "libzstd.so.1")
    lib.ZSTD_getFrameContentSize.restype = ctypes.c_ulonglong
    lib.ZSTD_decompress.restype = ctypes.c_size_t
    size = lib.ZSTD_getFrameContentSize(data, ctypes.c_size_t(len(data)))
    out = ctypes.create_string_buffer(size)
    n = lib.ZSTD_decompress(out, ctypes.c_size_t(size), data, ctypes.c_size_t(len(data)))
    return out.raw[:n]


class FarEnd:
    """with FarEnd(...) as far: far.base, far.ended, far.problems ... Restarted on the same port, it still knows all."""

    def __init__(self, seed=None, info=None, delay=0.0, port=0):
        self.random = random.Random(seed) if seed is not None else None
        self.info, self.delay, self.port = info, delay, port
        self.posts, self.patches = {}, {}  # id -> its main part
        self.ended = {}                    # name -> how many runs of that name have ended
        self.bodies = set()                # of what was taken
        self.uploads = self.conflicts = self.strange_conflicts = 0
        self.troubles = {}
        self.problems = []
        self.lock = threading.Lock()

    # --- what an upload holds ------------------------------------------------------------------

    def read(self, path, headers, body):
        """[(kind, main part)]"""
        coding = headers.get("content-encoding")
        if coding == "zstd":
            body = unzstd(body)
        elif coding == "gzip":
            body = zlib.decompress(body, 31)
        if path.endswith("/runs/batch"):
            both = json.loads(body)
            return body, [("post", r) for r in both.get("post", [])] + [("patch", r) for r in both.get("patch", [])]
        runs = []
        for m in MAIN.finditer(body):
            end = m.end() + int(m.group(3))
            if body[end:end + 4] != b"\r\n--":
                self.problems.append("a part is not as long as it says")
            run = json.loads(body[m.end():end])
            if run["id"] != m.group(2).decode():
                self.problems.append("a part's name is not its run's")
            runs.append((m.group(1).decode(), run))
        return body, runs

    def check(self, run):
        stamps = STAMP.findall(run["dotted_order"])
        if stamps != sorted(stamps):
            self.problems.append("%s begins before its parent" % run.get("name"))
        if run.get("end_time") and run["end_time"] < run["start_time"]:
            self.problems.append("%s ends before it begins" % run.get("name"))

    def store(self, path, headers, body):
        body, runs = self.read(path, headers, body)
        digest = hashlib.sha256(body).digest()
        known = [r for kind, r in runs if r["id"] in (self.posts if kind == "post" else self.patches)]
        if known or not runs:
            self.conflicts += 1
            self.strange_conflicts += digest not in self.bodies
            return 409
        self.bodies.add(digest)
        for kind, run in runs:
            self.check(run)
            (self.posts if kind == "post" else self.patches)[run["id"]] = True
            if run.get("end_time"):
                self.ended[run["name"]] = self.ended.get(run["name"], 0) + 1
        return 202

    # --- what is done about it -------------------------------------------------------------------

    TROUBLES = ["500 before", "500 after", "429", "413", "422", "404", "slow", "cut before", "cut after", "cut inside"]

    def choose(self):
        if not self.random or self.random.random() < 0.6:
            return None
        trouble = self.random.choice(self.TROUBLES)
        self.troubles[trouble] = self.troubles.get(trouble, 0) + 1
        return trouble

    async def answer(self, writer, path, headers, body):
        """False: the connection is to be cut."""
        if path.endswith("/info"):
            return await self.reply(writer, 200 if self.info else 404, json.dumps(self.info or {}).encode())
        with self.lock:
            self.uploads += 1
            trouble = self.choose()
        if trouble == "slow" or self.delay:
            await asyncio.sleep(0.2 if trouble == "slow" else self.delay)
        if trouble in ("500 before", "cut before"):
            return await self.reply(writer, 500, b"{}") if trouble == "500 before" else False
        if trouble == "429":
            return await self.reply(writer, 429, b'{"error":"Too many requests"}', "Retry-After-Ms: 100\r\n")
        if trouble in ("413", "422", "404"):
            return await self.reply(writer, int(trouble), b'{"error":"no"}')
        with self.lock:
            status = self.store(path, headers, body)
        if trouble == "500 after":
            return await self.reply(writer, 500, b"{}")
        if trouble == "cut after":
            return False
        if trouble == "cut inside":
            writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 20\r\n\r\n{\"mess")
            await writer.drain()
            return False
        return await self.reply(writer, status, CONFLICT if status == 409 else b'{"message":"Runs batch ingested"}')

    async def reply(self, writer, status, body, more=""):
        writer.write(b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n" %
                     (status, len(body), more.encode()) + body)
        await writer.drain()
        return True

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.decode("latin-1").split("\r\n")
                headers = {k.lower(): v.strip() for k, v in (l.split(":", 1) for l in lines[1:] if ":" in l)}
                if headers.get("expect"):
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if not await self.answer(writer, lines[0].split(" ")[1], headers, body):
                    writer.transport.abort()
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        except Exception as e:  # a test must hear of it
            self.problems.append("the far end: %r" % e)
        finally:
            writer.close()

    # --- its life ----------------------------------------------------------------------------------

    async def run(self):
        self.stop = asyncio.Event()
        server = await asyncio.start_server(self.serve, "127.0.0.1", self.port, limit=1 << 26)
        self.port = server.sockets[0].getsockname()[1]
        self.ready.set()
        await self.stop.wait()
        server.close()
        for t in asyncio.all_tasks() - {asyncio.current_task()}:
            t.cancel()

    def __enter__(self):
        self.ready = threading.Event()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=lambda: self.loop.run_until_complete(self.run()), daemon=True)
        self.thread.start()
        self.ready.wait(10)
        self.base = "http://127.0.0.1:%d" % self.port
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(10)
        self.loop.close()
