"""A proxy for tests/cli: tunnels CONNECT to one port of this machine, whatever host is asked for.

tunnel.py PORT [--status N] [--user NAME:PASSWORD]
Prints "listening PORT", then the first line of each request, and "authorized" where the name and password came.
"""
import argparse
import base64
import os
import socket
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
p.add_argument("port", type=int)
p.add_argument("--status", type=int, default=200)
p.add_argument("--user")
a = p.parse_args()


def pump(source, sink):
    try:
        while True:
            data = source.recv(65536)
            if not data:
                break
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(conn):
    data = b""
    while b"\r\n\r\n" not in data:
        more = conn.recv(65536)
        if not more:
            return
        data += more
    lines = data.decode("latin-1").split("\r\n")
    print(lines[0], flush=True)
    status = a.status
    if a.user:
        wanted = "Proxy-Authorization: Basic " + base64.b64encode(a.user.encode()).decode()
        status = 200 if wanted in lines else 407
        if status == 200:
            print("authorized", flush=True)
    if status != 200:
        conn.sendall(b"HTTP/1.1 %d No\r\nProxy-Authenticate: Basic realm=x\r\nX-Of: proxy\r\nContent-Length: 2\r\n\r\nno" % status)
        conn.close()
        return
    far = socket.create_connection(("127.0.0.1", a.port))
    conn.sendall(b"HTTP/1.1 200 Connected\r\nX-Of: proxy\r\n\r\n")
    threading.Thread(target=pump, args=(far, conn), daemon=True).start()
    pump(conn, far)


listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(64)
print("listening", listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
