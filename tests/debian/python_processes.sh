# multiprocessing, futures, a database, a compressed archive.
# seconds: 120
cat >t.py <<'EOF'
import concurrent.futures, multiprocessing as mp, os, sys, zipfile, tarfile, io, ctypes, pickle, fcntl, pty, resource
def square(n): return n * n
def put(q, n): q.put(n)
if __name__ == "__main__":
    for how in ("fork", "spawn"):
        try:
            ctx = mp.get_context(how)
            with ctx.Pool(3) as p: print(how, sum(p.map(square, range(100))))
        except Exception as e: print(how, type(e).__name__, e)
    q = mp.Queue(); ps = [mp.Process(target=put, args=(q, i)) for i in range(4)]
    [p.start() for p in ps]; print(sorted(q.get() for _ in ps)); [p.join() for p in ps]
    v = mp.Value("i", 0); print([p.exitcode for p in ps], v.value)
    with concurrent.futures.ThreadPoolExecutor(4) as x: print(sum(x.map(square, range(50))))
    with concurrent.futures.ProcessPoolExecutor(2) as x: print(sum(x.map(square, range(50))))
    z = io.BytesIO()
    with zipfile.ZipFile(z, "w", zipfile.ZIP_DEFLATED) as f: f.writestr("a", "b" * 10000)
    print(len(z.getvalue()), len(pickle.dumps(list(range(1000)))))
    print(ctypes.CDLL(None).abs(-5), resource.getrlimit(resource.RLIMIT_CORE)[1] != 0)
    with open("lock", "w") as f: fcntl.flock(f, fcntl.LOCK_EX); print(os.system("flock -n lock true") >> 8)
    m, s = pty.openpty(); os.write(s, b"tty\n"); print(os.read(m, 10), os.isatty(s))
    try:
        import sqlite3
        c = sqlite3.connect("db"); c.execute("create table t(a, b)")
        for i in range(1000): c.execute("insert into t values(?, ?)", (i, str(i)))
        c.commit(); print(c.execute("select count(*), sum(a) from t where b like '%7'").fetchall()); c.close()
        c = sqlite3.connect("db"); c.execute("pragma journal_mode=wal"); c.execute("delete from t where a < 500"); c.commit()
        print(c.execute("select count(*) from t").fetchone())
    except ImportError: print("no sqlite3")
EOF
python3 t.py 2>&1
python3 -c 'print("é".encode())'; echo 'print(input())' >u.py; echo typed | python3 u.py
python3 -m compileall -q t.py; echo $?; python3 -c 'raise SystemExit(9)'; echo $?
python3 -c 'import os; os.abort()' 2>/dev/null; echo $?
