# The code of the guests' vDSO. The kernel never executes it: it is data that vdso.rs wraps into
# an ELF image. Position independent, no stack, no relocations: the whole of it is covered by one
# unwind entry "return address at the top of the stack", so nothing here may push.
#
# In the guest:   vvar page (read-only) | ELF tables | this code, 0x800 bytes into the image
#
# The vvar page (vvar.rs writes it):
#   0x00 u32 seq        even: valid. odd: use the system call (no usable counter, or being written)
#   0x04 u32 cpu        what getcpu answers; all ones: use the system call
#   0x08 u64 tsc        the counter at the base values
#   0x10 u64 max_delta  ticks after which the base values are too old
#   0x20 + 32*clock     u64 seconds, u64 nanoseconds, u64 mult (ns per tick, 32 fractional bits), unused

    .section .rodata.umbra_vdso, "a", @progbits
    .balign 16
    .globl umbra_vdso_start, umbra_vdso_end
    .hidden umbra_vdso_start, umbra_vdso_end
umbra_vdso_start:
.Lvdso_start:

# Reads the clock whose entry is at r10 into rdx (seconds) and rax (nanoseconds), or goes to \slow.
# r8 = vvar. Changes rax, rcx, rdx, r9. Loads are not reordered with loads on x86.
    .macro READ_CLOCK slow
7:  mov     r9d, dword ptr [r8]
    test    r9d, 1
    jnz     \slow
    rdtscp
    shl     rdx, 32
    or      rax, rdx
    sub     rax, qword ptr [r8 + 0x08]
    cmp     rax, qword ptr [r8 + 0x10]
    ja      \slow
    mul     qword ptr [r10 + 0x10]
    shrd    rax, rdx, 32
    add     rax, qword ptr [r10 + 0x08]
    mov     rdx, qword ptr [r10]
    cmp     r9d, dword ptr [r8]
    jne     7b
8:  cmp     rax, 1000000000
    jae     9f
    .endm
# Where READ_CLOCK goes when the nanoseconds are a second or more (label 9 of the caller).
    .macro CARRY back
9:  sub     rax, 1000000000
    inc     rdx
    jmp     \back
    .endm

# int clock_gettime(clockid_t edi, struct timespec *rsi)
    .balign 32
    .globl umbra_vdso_clock_gettime
    .hidden umbra_vdso_clock_gettime
umbra_vdso_clock_gettime:
    cmp     edi, 7
    ja      .Lcg_slow
    # REALTIME MONOTONIC, MONOTONIC_RAW REALTIME_COARSE MONOTONIC_COARSE BOOTTIME
    mov     eax, 0xf3
    bt      eax, edi
    jnc     .Lcg_slow
    mov     r10d, edi
    shl     r10d, 5
    lea     r8, [rip + .Lvdso_start - 0x1800]
    lea     r10, [r8 + r10 + 0x20]
    READ_CLOCK .Lcg_slow
    mov     qword ptr [rsi], rdx
    mov     qword ptr [rsi + 8], rax
    xor     eax, eax
    ret
    CARRY   8b
.Lcg_slow:
    mov     eax, 228
    syscall
    ret

# int gettimeofday(struct timeval *rdi, struct timezone *rsi)
    .balign 32
    .globl umbra_vdso_gettimeofday
    .hidden umbra_vdso_gettimeofday
umbra_vdso_gettimeofday:
    lea     r8, [rip + .Lvdso_start - 0x1800]
    lea     r10, [r8 + 0x20]
    test    rdi, rdi
    jz      1f
    READ_CLOCK .Lgtod_slow
    # ns / 1000 for ns < 2^32: ns * ceil(2^38 / 1000) >> 38
    imul    rax, rax, 274877907
    shr     rax, 38
    mov     qword ptr [rdi], rdx
    mov     qword ptr [rdi + 8], rax
1:  test    rsi, rsi
    jnz     2f
    xor     eax, eax
    ret
2:  mov     qword ptr [rsi], 0
    xor     eax, eax
    ret
    CARRY   8b
.Lgtod_slow:
    mov     eax, 96
    syscall
    ret

# time_t time(time_t *rdi)
    .balign 32
    .globl umbra_vdso_time
    .hidden umbra_vdso_time
umbra_vdso_time:
    lea     r8, [rip + .Lvdso_start - 0x1800]
    lea     r10, [r8 + 0x20]
    READ_CLOCK .Ltime_slow
    mov     rax, rdx
    test    rdi, rdi
    jz      1f
    mov     qword ptr [rdi], rax
1:  ret
    CARRY   8b
.Ltime_slow:
    mov     eax, 201
    syscall
    ret

# int clock_getres(clockid_t edi, struct timespec *rsi)
    .balign 32
    .globl umbra_vdso_clock_getres
    .hidden umbra_vdso_clock_getres
umbra_vdso_clock_getres:
    cmp     edi, 7
    ja      .Lres_slow
    mov     edx, 1
    mov     eax, 0x93
    bt      eax, edi
    jc      1f
    mov     edx, 4000000
    mov     eax, 0x60
    bt      eax, edi
    jnc     .Lres_slow
1:  test    rsi, rsi
    jz      2f
    mov     qword ptr [rsi], 0
    mov     qword ptr [rsi + 8], rdx
2:  xor     eax, eax
    ret
.Lres_slow:
    mov     eax, 229
    syscall
    ret

# int getcpu(unsigned *rdi, unsigned *rsi, void *unused)
    .balign 32
    .globl umbra_vdso_getcpu
    .hidden umbra_vdso_getcpu
umbra_vdso_getcpu:
    mov     eax, dword ptr [rip + .Lvdso_start - 0x1800 + 4]
    cmp     eax, -1
    je      .Lgetcpu_slow
    test    rdi, rdi
    jz      1f
    mov     dword ptr [rdi], eax
1:  test    rsi, rsi
    jz      2f
    mov     dword ptr [rsi], 0
2:  xor     eax, eax
    ret
.Lgetcpu_slow:
    mov     eax, 309
    syscall
    ret
    .balign 16, 0xcc
umbra_vdso_end:
    .purgem READ_CLOCK
    .purgem CARRY
    .text
