# python3: what its standard library asks of a kernel.
# seconds: 120
cat >t.py <<'EOF'
import json, subprocess, threading, tempfile, hashlib, os, sys, queue, signal, time, shutil, glob, random, mmap, select, errno
print(json.dumps({"a": [1, 2.5, None], "b": "\u00e4"}, sort_keys=True))
print(subprocess.run(["sort", "-r"], input=b"1\n2\n3\n", capture_output=True).stdout)
p = subprocess.Popen("echo out; echo err >&2; exit 4", shell=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
print(p.communicate(), p.returncode)
try: subprocess.run(["sleep", "10"], timeout=0.2)
except subprocess.TimeoutExpired: print("timeout")
try: subprocess.run(["/no/such"])
except FileNotFoundError as e: print(e.errno)
q, out = queue.Queue(), []
def work():
    while (i := q.get()) is not None: out.append(i * i)
ts = [threading.Thread(target=work) for _ in range(8)]
[t.start() for t in ts]; [q.put(i) for i in range(2000)]; [q.put(None) for _ in ts]; [t.join() for t in ts]
print(sum(out), threading.active_count())
with tempfile.TemporaryDirectory() as d:
    for i in range(200): open(f"{d}/{i}", "w").write(str(i) * i)
    print(len(os.listdir(d)), sum(os.stat(f).st_size for f in glob.glob(d + "/*")))
    shutil.copytree(d, d + "/copy"); print(len(os.listdir(d + "/copy")))
print(os.path.exists(d))
with tempfile.TemporaryFile() as f:
    f.write(b"x" * 100000); f.seek(5); f.flush()
    m = mmap.mmap(f.fileno(), 0); m[0:5] = b"hello"; print(m[0:8], hashlib.sha256(m).hexdigest())
r, w = os.pipe(); pid = os.fork()
if pid == 0:
    os.write(w, b"from the child"); os._exit(5)
print(os.read(r, 100), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
signal.signal(signal.SIGALRM, lambda s, f: print("alarm", s)); signal.setitimer(signal.ITIMER_REAL, 0.05); signal.pause()
print(select.select([r], [w], [], 0)[1] == [w])
e = select.epoll(); e.register(r, select.EPOLLIN); os.write(w, b"1"); print(e.poll(1) == [(r, select.EPOLLIN)])
for call in (lambda: os.kill(999999, 0), lambda: os.open("/", os.O_WRONLY), lambda: os.rmdir("/usr"), lambda: os.read(99, 1)):
    try: call()
    except OSError as e: print(errno.errorcode[e.errno])
print(os.uname().machine, os.getuid(), os.cpu_count() > 0, len(os.urandom(16)))
t = time.monotonic(); time.sleep(0.05); print(0.05 <= time.monotonic() - t < 2)
print(sys.getrecursionlimit(), os.get_terminal_size.__name__, os.path.realpath("/bin/sh"))
EOF
python3 t.py 2>&1
