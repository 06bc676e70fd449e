"""Commands for gdb that know Umbra's own data (see scripts/gdb).

    umbra-tasks        every thread: tid, pid, state, name, what it does
    umbra-stack TID    the kernel stack of a thread, sleeping or not
    umbra-mm PID       a process's address space, VMA by VMA

They read memory only and call nothing, so they work on a running kernel and on a core file. They need the
types and fields of the debug information (profile `gdb`, which scripts/gdb builds).
"""

import gdb
from gdb.unwinder import Unwinder, register_unwinder

U64 = gdb.lookup_type("unsigned long")
STATES = {0: "running", 1: "runnable", 2: "sleeping", 3: "dead"}
NO_CALL = 0xFFFFFFFF


def word(address):
    """The eight bytes at an address."""
    return int(gdb.Value(int(address)).cast(U64.pointer()).dereference())


def lock(value):
    """What a base::SpinLock holds."""
    return value["inner"]["data"]["value"]


def atomic(value):
    """The number in an atomic."""
    while value.type.code == gdb.TYPE_CODE_STRUCT:
        value = value[value.type.fields()[0]]
    return int(value)


def shared(value, name):
    """What an Arc or Weak (or an Option of either) points to: one pointer, null for None and for dangling."""
    at = word(value.address)
    if at in (0, 2**64 - 1):
        return None
    inner = gdb.lookup_type("alloc::sync::ArcInner<%s>" % name)
    return gdb.Value(at).cast(inner.pointer()).dereference()["data"]


def hash_map(map_):
    """The entries of a hashbrown map, as tuples: a byte of control for each bucket, its top bit set if free."""
    table = map_["table"]
    entry = table.type.template_argument(0)
    raw = table["table"]
    control, buckets = word(raw["ctrl"].address), int(raw["bucket_mask"]) + 1
    free = bytes(gdb.selected_inferior().read_memory(control, buckets))
    for i in range(buckets):
        if free[i] < 0x80:
            at = control - (i + 1) * entry.sizeof
            yield gdb.Value(at).cast(entry.pointer()).dereference()


def btree_map(map_, key, val):
    """The values of a BTreeMap in order."""
    node = "alloc::collections::btree::node::"
    root_type = gdb.lookup_type(
        node + "NodeRef<%smarker::Owned, %s, %s, %smarker::LeafOrInternal>" % (node, key, val, node))
    leaf = gdb.lookup_type(node + "LeafNode<%s, %s>" % (key, val))
    value_type = gdb.lookup_type(val)
    if int(map_["length"]) == 0:
        return
    root = map_["root"].address.cast(root_type.pointer()).dereference()

    def visit(at, height):
        n = gdb.Value(at).cast(leaf.pointer()).dereference()
        edges = None
        if height:
            inner = gdb.lookup_type(node + "InternalNode<%s, %s>" % (key, val))
            edges = gdb.Value(at).cast(inner.pointer()).dereference()["edges"].address
        for i in range(int(n["len"]) + 1):
            if edges is not None:
                yield from visit(word(int(edges) + 8 * i), height - 1)
            if i < int(n["len"]):
                first = int(n["vals"].address) + i * value_type.sizeof
                yield gdb.Value(first).cast(value_type.pointer()).dereference()

    yield from visit(word(root["node"].address), int(root["height"]))


def kernel():
    """The running kernel: boot keeps a weak reference to it for the panic report."""
    found = gdb.lookup_static_symbol("umbra::boot::THE_KERNEL") or gdb.lookup_global_symbol(
        "umbra::boot::THE_KERNEL")
    if found is None:
        raise gdb.GdbError("no debug information about the kernel: start it by scripts/gdb")
    holder = found.value()["data"]["value"]
    k = shared(holder, "umbra::kernel::Kernel")
    if k is None:
        raise gdb.GdbError("the kernel has not booted yet")
    return k


def tasks():
    """All threads by tid."""
    tree = lock(kernel()["tree"])
    found = {}
    for entry in hash_map(tree["tasks"]):
        task = shared(entry["__1"], "umbra::task::Task")
        if task is not None:
            found[int(entry["__0"])] = task
    return dict(sorted(found.items()))


def process(task):
    return shared(task["process"], "umbra::task::Process")


def name_of(task):
    raw = bytes(int(lock(task["comm"])[i]) for i in range(16))
    return raw.split(b"\0")[0].decode(errors="replace")


def fiber(task):
    """The thread's kernel stack; None for one that is still being made."""
    at = word(task["fiber"]["data"].address)
    if at == 0:
        return None
    inner = gdb.lookup_type("alloc::sync::ArcInner<arch::switch::Fiber>")
    return gdb.Value(at).cast(inner.pointer()).dereference()["data"]


class Tasks(gdb.Command):
    """umbra-tasks: lists all threads."""

    def __init__(self):
        super().__init__("umbra-tasks", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        print("%6s %6s %-9s %-16s %s" % ("TID", "PID", "STATE", "NAME", "IN"))
        for tid, task in tasks().items():
            call = atomic(task["in_syscall"])
            where = "user mode" if call == NO_CALL else "system call %d" % call
            state = STATES.get(atomic(task["sched"]["state"]), "?")
            pid = int(process(task)["pid"])
            print("%6d %6d %-9s %-16s %s" % (tid, pid, state, name_of(task), where))


class Suspended(Unwinder):
    """Puts a sleeping stack where the selected host thread's own would be: its frame 1 is the sleeper's
    innermost. What umbra_switch pushed is popped here, without touching a register of the target."""

    PUSHED = ["r15", "r14", "r13", "r12", "rbx", "rbp", "rip"]

    def __init__(self):
        super().__init__("umbra-suspended")
        self.saved = self.innermost = None

    def __call__(self, pending):
        if self.saved is None or int(pending.read_register("rsp")) != self.innermost:
            return None

        class Id:
            # gdb stops where a caller's stack is not above its callee's: pretend that it is.
            sp, pc = gdb.Value(self.saved).cast(U64), pending.read_register("rip")

        info = pending.create_unwind_info(Id())
        for i, register in enumerate(self.PUSHED):
            # The first word is the floating-point control state.
            info.add_saved_register(register, gdb.Value(word(self.saved + 8 * (i + 1))).cast(U64))
        info.add_saved_register("rsp", gdb.Value(self.saved + 64).cast(U64))
        return info


SUSPENDED = Suspended()
register_unwinder(None, SUSPENDED, replace=True)


class Stack(gdb.Command):
    """umbra-stack TID: the kernel stack of a thread."""

    def __init__(self):
        super().__init__("umbra-stack", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        task = tasks().get(int(argument or 0))
        if task is None:
            raise gdb.GdbError("no such thread: umbra-tasks lists them")
        f = fiber(task)
        if f is None:
            raise gdb.GdbError("it has no kernel stack yet")
        if atomic(f["state"]) != 0:
            print("It is on the CPU now: `thread apply all backtrace` shows the host threads.")
            return
        before = gdb.selected_thread()
        gdb.newest_frame().select()
        SUSPENDED.innermost = int(gdb.newest_frame().read_register("rsp"))
        SUSPENDED.saved = atomic(f["rsp"])
        gdb.invalidate_cached_frames()
        try:
            frame = gdb.newest_frame().older()
            level = 0
            while frame is not None and frame.is_valid() and level < 64:
                at = frame.find_sal()
                place = ""
                if at.symtab is not None:
                    place = " at %s:%d" % (at.symtab.filename, at.line)
                print("#%-2d %s%s" % (level, frame.name() or hex(frame.pc()), place))
                frame, level = frame.older(), level + 1
        finally:
            SUSPENDED.saved = SUSPENDED.innermost = None
            gdb.invalidate_cached_frames()
            if before is not None:
                before.switch()


def mapped(vma):
    """Whether a VMA maps an object. None is told by a `writable` that no bool has, or by a null pointer."""
    kind = gdb.lookup_type("mm::vma::Mapping")
    offset = {f.name: f.bitpos // 8 for f in kind.fields()}
    raw = bytes(gdb.selected_inferior().read_memory(int(vma["mapping"].address), kind.sizeof))
    return raw[offset["writable"]] < 2 and any(raw[offset["object"]:offset["object"] + 8])


class Mm(gdb.Command):
    """umbra-mm PID: the VMAs of a process."""

    def __init__(self):
        super().__init__("umbra-mm", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        pid = int(argument or 0)
        for task in tasks().values():
            if int(process(task)["pid"]) != pid:
                continue
            mm = shared(lock(task["mm"]), "mm::space::AddressSpace")
            if mm is None:
                raise gdb.GdbError("it has no address space")
            break
        else:
            raise gdb.GdbError("no such process: umbra-tasks lists them")
        print("%-14s %-14s %-5s %8s  %s" % ("START", "END", "PROT", "PAGES", "WHAT"))
        # The VMA's addresses are page numbers.
        for v in btree_map(lock(mm["inner"])["vmas"]["map"], "u64", "mm::vma::Vma"):
            start, end = int(v["start"]), int(v["end"])
            prot, flags = atomic(v["prot"]), atomic(v["flags"])
            text = "".join(c if prot & bit else "-" for c, bit in (("r", 1), ("w", 2), ("x", 4)))
            text += "s" if flags & 1 else "p"
            kind = "heap" if flags & 0x200 else "stack" if flags & 0x10 else ""
            if not kind and mapped(v):
                kind = "file, page %d" % int(v["pgoff"])
            print("%014x %014x %-5s %8d  %s" % (start << 12, end << 12, text, end - start, kind))


Tasks()
Stack()
Mm()
