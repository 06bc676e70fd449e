# unix sockets as python3's standard library uses them: asyncio, socketserver, multiprocessing's connections, descriptor passing.
# seconds: 120
cat >t.py <<'EOF'
import array, asyncio, multiprocessing as mp, multiprocessing.connection as mc, os, select, selectors, signal, socket, socketserver, struct, threading
async def serve():
    async def talk(r, w):
        while line := await r.readline():
            w.write(line.upper()); await w.drain()
        w.close()
    srv = await asyncio.start_unix_server(talk, "aio")
    async def client(i):
        r, w = await asyncio.open_unix_connection("aio")
        out = []
        for n in range(20):
            w.write(b"client %d line %d\n" % (i, n)); await w.drain(); out.append(await r.readline())
        w.write_eof(); rest = await r.read(); w.close()
        return len(out), out[-1], rest
    print(await asyncio.gather(*(client(i) for i in range(8))))
    r, w = await asyncio.open_unix_connection("aio")
    w.close(); srv.close()
asyncio.run(serve())
class H(socketserver.StreamRequestHandler):
    def handle(self): self.wfile.write(self.rfile.readline()[::-1])
with socketserver.ThreadingUnixStreamServer("ts", H) as s:
    t = threading.Thread(target=s.serve_forever); t.start()
    for i in range(20):
        c = socket.socket(socket.AF_UNIX); c.connect("ts"); c.sendall(b"%d abc\n" % i); d = c.makefile("rb").read(); c.close()
    print(d); s.shutdown(); t.join()
def child(conn, name):
    conn.send({"pid": os.getpid() > 1, "list": list(range(1000))})
    with open(name) as f: mp.reduction.send_handle(conn, f.fileno(), os.getppid())
    print(conn.recv_bytes()[:5], flush=True)
a, b = mp.Pipe(); open("file", "w").write("passed by descriptor")
p = mp.Process(target=child, args=(b, "file")); p.start(); print(len(a.recv()["list"]))
fd = mp.reduction.recv_handle(a); print(os.pread(fd, 99, 0)); a.send_bytes(b"y" * 500_000); p.join(); print(p.exitcode)
with mc.Listener("lis", authkey=b"k") as l:
    def dial():
        with mc.Client("lis", authkey=b"k") as c: c.send([1, "two", 3.0])
    t = threading.Thread(target=dial); t.start()
    with l.accept() as c: print(c.recv())
    t.join()
x, y = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
x.send(b"one"); x.send(b"second"); print(y.recv(99), y.recv(3), y.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE))
cred = struct.unpack("3i", x.getsockopt(socket.SOL_SOCKET, 17, 12)); print(cred[0] == os.getpid(), cred[1:])
r, w = os.pipe(); socket.send_fds(x, [b"fds"], [r, w]); m, fds, fl, _ = socket.recv_fds(y, 9, 4); os.write(fds[1], b"through"); print(m, len(fds), fl, os.read(r, 99))
x.settimeout(0.1)
try: x.recv(1)
except TimeoutError: print("timed out")
sel = selectors.DefaultSelector(); sel.register(x, selectors.EVENT_READ); y.close(); print(len(sel.select(1)), x.recv(1))
d = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); d.bind("\0t-py"); e = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); e.bind("")
e.sendto(b"hello", "\0t-py"); m, who = d.recvfrom(99); print(m, len(who), who[:1]); d.sendto(b"back", who); print(e.recv(9))
try: socket.socket(socket.AF_UNIX).connect("none")
except FileNotFoundError as x: print(x.strerror)
try: socket.socket(socket.AF_UNIX).connect("file")
except ConnectionRefusedError as x: print(x.strerror)
EOF
python3 t.py
ls -l | grep -c '^s'
