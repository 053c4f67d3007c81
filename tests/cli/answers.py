"""A small HTTP or TLS server for tests/cli: answers each request with one file, or counts who came.

answers.py [--body FILE] [--status N] [--type T] [--cut N] [--tls CERT KEY]
Prints "listening PORT", then "request METHOD PATH" and its body length for each. --cut closes after N bytes of the body.
"""
import argparse
import os
import socket
import ssl
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

p = argparse.ArgumentParser()
p.add_argument("--body")
p.add_argument("--status", default="200")
p.add_argument("--type", default="application/json")
p.add_argument("--cut", type=int, default=-1)
p.add_argument("--chunked", action="store_true")
p.add_argument("--tls", nargs=2)
p.add_argument("--log-bodies")
a = p.parse_args()
body = open(a.body, "rb").read() if a.body else b"{}"
context = None
if a.tls:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*a.tls)


def serve(conn):
    print("connection", flush=True)
    try:
        if context:
            conn = context.wrap_socket(conn, server_side=True)
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                more = conn.recv(65536)
                if not more:
                    return
                data += more
            head, data = data.split(b"\r\n\r\n", 1)
            length = 0
            for line in head.split(b"\r\n"):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            while len(data) < length:
                more = conn.recv(65536)
                if not more:
                    return
                data += more
            if a.log_bodies:
                open(a.log_bodies, "ab").write(data[:length] + b"\n")
            data = data[length:]
            print("request", head.split(b"\r\n")[0].decode("latin-1"), flush=True)
            part = body if a.cut < 0 else body[:a.cut]
            lines = "HTTP/1.1 %s X\r\nContent-Type: %s\r\n" % (a.status, a.type)
            lines += "Transfer-Encoding: chunked\r\n\r\n" if a.chunked else "Content-Length: %d\r\n\r\n" % len(body)
            conn.sendall(lines.encode())
            if a.chunked:
                if part:
                    conn.sendall(b"%x\r\n" % len(part) + part + b"\r\n")
                if a.cut < 0:
                    conn.sendall(b"0\r\n\r\n")
            else:
                conn.sendall(part)
            if a.cut >= 0:
                return
    except (OSError, ssl.SSLError) as e:
        print("ended", type(e).__name__, flush=True)
    finally:
        conn.close()


listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(64)
print("listening", listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
