"""Answers POST /v1/<n>/... with the first n bytes of a file, then closes.  cutter.py FILE chunked|close"""
import os
import socket
import sys
import threading
import time

parent = os.getppid()


def leave_with_parent():
    """A test that is killed cannot end its helpers."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


threading.Thread(target=leave_with_parent, daemon=True).start()

body = open(sys.argv[1], "rb").read()
how = sys.argv[2]
def serve(c):
    data = b""
    while b"\r\n\r\n" not in data:
        more = c.recv(65536)
        if not more:
            return c.close()
        data += more
    head, rest = data.split(b"\r\n\r\n", 1)
    length = int([l for l in head.split(b"\r\n") if l.lower().startswith(b"content-length")][0].split(b":")[1])
    while len(rest) < length:
        rest += c.recv(65536)
    n = int(head.split(b" ")[1].split(b"/")[2])
    c.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
    part = body[:n]
    if how == "chunked":
        c.sendall(b"Transfer-Encoding: chunked\r\n\r\n" + (b"%x\r\n" % n + part + b"\r\n" if n else b""))
        if n == len(body):
            c.sendall(b"0\r\n\r\n")
    else:  # until the end of the connection: the protocol itself does not say that it was cut
        c.sendall(b"Connection: close\r\n\r\n" + part)
    c.close()
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen(64)
print("listening", s.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
