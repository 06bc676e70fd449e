# The stub's code: see text.rs, which puts it into an image and gives the names in braces their values.
# Registers only; no stack but a thread's own signal stack.

.macro umbra_shm_call nr
   mov eax, \nr
   syscall
.endm
# A set-up call must succeed: without one of its locks a stub does not live on.
.macro umbra_shm_must nr
   mov eax, \nr
   syscall
   cmp rax, -4096
   ja umbra_shm_dead
.endm
.pushsection .rodata.umbra_shm, "a", @progbits
.balign 16
.globl umbra_shm_begin, umbra_shm_end, umbra_shm_handler
.globl umbra_shm_space, umbra_shm_space_end, umbra_shm_thread, umbra_shm_thread_end
.globl umbra_shm_at_space_clone, umbra_shm_at_thread_clone, umbra_shm_at_server
.globl umbra_shm_at_wake, umbra_shm_at_wait, umbra_shm_at_serve, umbra_shm_at_yield, umbra_shm_at_unmask
.globl umbra_shm_patched
# ---- the zygote: executed with descriptors 0 to 3 as in `layout::fd` ----
umbra_shm_begin:
# The auxiliary vector says where the host has put its vDSO: a 32-bit sysenter "returns" there
# long after it is unmapped. r13 = AT_SYSINFO_EHDR, or 0.
   mov rsi, rsp
1: lodsq                                 # argc, argv
   test rax, rax
   jnz 1b
2: lodsq                                 # environment
   test rax, rax
   jnz 2b
3: lodsq
   mov rcx, rax
   lodsq
   cmp ecx, 33
   je 4f
   test ecx, ecx
   jnz 3b
   xor eax, eax
4: mov r13, rax
   movabs rdi, {text}
   mov esi, {text_len}
   mov edx, 5                            # PROT_READ | PROT_EXEC
   mov r10d, 0x11                        # MAP_SHARED | MAP_FIXED
   mov r8d, {fd_image}
   xor r9d, r9d
   umbra_shm_must {mmap}
   lea rax, [rip + 5f]
   lea rcx, [rip + umbra_shm_begin]
   sub rax, rcx
   movabs rcx, {text} + {code}
   add rax, rcx
   jmp rax
# Executing at the final place: everything else goes.
5: xor edi, edi
   movabs rsi, {text}
   umbra_shm_must {munmap}
   movabs rdi, {text} + {text_len}
   movabs rsi, {host_top} - {text} - {text_len}
   umbra_shm_must {munmap}
   mov edi, {fd_image}
   umbra_shm_must {close}
   xor r14d, r14d                        # slot 0 is the zygote's
   lea r15, [rip + 6f]
   jmp umbra_shm_map
6: movabs r14, {text} + {signals}
7: movzx edi, byte ptr [r14]
   test edi, edi
   jz 8f
   movabs rsi, {text} + {sigaction}
   xor edx, edx
   mov r10d, 8
   umbra_shm_must {rt_sigaction}
   inc r14
   jmp 7b
8: mov edi, {no_new_privs}
   mov esi, 1
   xor edx, edx
   xor r10d, r10d
   xor r8d, r8d
   umbra_shm_must {prctl}
# Servers and the zygote take no signal; guest threads unblock them for themselves.
   mov edi, 2                            # SIG_SETMASK
   movabs rsi, {text} + {ones}
   xor edx, edx
   mov r10d, 8
   umbra_shm_must {rt_sigprocmask}
   mov edi, {set_filter}
   xor esi, esi
   movabs rdx, {text} + {server_filter}
   umbra_shm_must {seccomp}
   mov rax, r13
umbra_shm_zygote:                        # rax = what to report
   movabs rbx, {s_base}
   movabs rbp, {k_base}
   xor r12d, r12d                        # number of the last request
1: mov [rbx + {s_result}], rax
   mov edi, {fd_report}
   movabs rsi, {text} + {done}
   mov edx, 8
   umbra_shm_call {write}
2: mov eax, [rbp + {k_go}]
   cmp eax, r12d
   jne 3f
   mov rdi, rbp
   xor esi, esi                          # FUTEX_WAIT
   mov edx, r12d
   xor r10d, r10d
   umbra_shm_call {futex}
   jmp 2b
3: mov r12d, eax
   mov r14, [rbp + {k_count}]            # the slot
   mov r13d, [rbp + {k_twin}]
   mov edi, {space_flags}
   xor esi, esi
   xor edx, edx
   xor r10d, r10d
   xor r8d, r8d
   umbra_shm_call {clone}
umbra_shm_at_space_clone:
   test rax, rax
   jnz 1b
# ---- a new space, or a twin of the zygote ----
umbra_shm_space:
   lea r15, [rip + 4f]
umbra_shm_map:                           # maps the control pages of slot r14 over whatever is there, goes on at r15
   movabs rdi, {k_base}
   mov esi, {k_len}
   mov edx, 1                            # PROT_READ
   mov r10d, 0x11
   mov r8d, {fd_control}
   mov r9, r14
   umbra_shm_must {mmap}
   movabs rdi, {s_base}
   mov esi, {s_len}
   mov edx, 3
   lea r9, [r14 + {k_len}]
   umbra_shm_must {mmap}
   jmp r15
4: mov edi, {pdeathsig}                  # clone has cleared it
   mov esi, {sigkill}
   umbra_shm_must {prctl}
   movabs rbp, {k_base}
   umbra_shm_call {getppid}              # or the kernel ended before the line above
   cmp eax, [rbp + {k_kernel}]
   jne umbra_shm_dead
   test r13d, r13d
   jz 5f
   umbra_shm_must {setsid}
   xor eax, eax
   jmp umbra_shm_zygote
5: mov edi, {fd_control}
   umbra_shm_must {close}
umbra_shm_space_end:
   movabs rbx, {s_base}
   xor r12d, r12d
   movabs rsi, {text} + {ready}
# ---- the server: rsi = what to report ----
umbra_shm_server:
   mov edi, {fd_report}
   mov edx, 8
   umbra_shm_call {write}
   mov [rbx + {s_ev}], r12d              # a hint for a kernel that looks: the report counts
1: mov eax, [rbp + {k_go}]
   cmp eax, r12d
   jne 2f
   mov rdi, rbp
   xor esi, esi
   mov edx, r12d
   xor r10d, r10d
   umbra_shm_call {futex}
   jmp 1b
2: mov r12d, eax
   lea r14, [rbp + {k_operations}]
   mov r13d, [rbp + {k_count}]
3: test r13d, r13d
   jz 4f
   movzx eax, word ptr [r14 + 24]
   mov rdi, [r14]
   mov rsi, [r14 + 8]
   movzx edx, word ptr [r14 + 26]
   mov r10d, [r14 + 28]
   mov r8d, {fd_ram}
   mov r9, [r14 + 16]
   cmp eax, {clone}
   je 6f
   syscall
umbra_shm_at_server:
   cmp rax, -4096
   ja 5f
   add r14, 32
   dec r13d
   jmp 3b
4: movabs rsi, {text} + {done}
   jmp umbra_shm_server
5: neg eax                               # how many are left, and the errno
   shl r13, 32
   or rax, r13
   mov [rbx + {s_result}], rax
   movabs rsi, {text} + {failed}
   jmp umbra_shm_server
6: xor edx, edx                          # r9 says which region the new thread has
   xor r8d, r8d
   xor r10d, r10d
   syscall
umbra_shm_at_thread_clone:
   test rax, rax
   jz umbra_shm_thread
   cmp rax, -4096
   ja 5b
   mov [rbx + {s_result}], rax
   jmp 4b
# ---- a guest thread: arms itself. Everything it reads is in the text or in its K page ----
umbra_shm_thread:
   mov rbx, r9
   shl rbx, {s_shift}
   movabs rax, {s_base}
   add rbx, rax
   mov rbp, r9
   shl rbp, 12
   movabs rax, {k_base}
   add rbp, rax
   xor edi, edi
   mov esi, -1
   xor edx, edx
   umbra_shm_must {close_range}          # its own table, now empty
   lea rdi, [rbp + {k_stack}]
   xor esi, esi
   umbra_shm_must {sigaltstack}
   mov edi, {set_dispatch}
   mov esi, 1
   movabs rdx, {text}
   mov r10d, {text_len}
   xor r8d, r8d
   umbra_shm_must {prctl}
   mov edi, {set_filter}
   xor esi, esi
   movabs rdx, {text} + {thread_filter}
   umbra_shm_must {seccomp}
# Signals last. Their frames can be written by siblings, so that the first one may go on anywhere:
# all locks must be closed by then.
   mov edi, 2
   movabs rsi, {text} + {zeros}
   xor edx, edx
   mov r10d, 8
   umbra_shm_call {rt_sigprocmask}
umbra_shm_at_unmask:
   test rax, rax
   jnz umbra_shm_dead
umbra_shm_thread_end:
   mov edi, {ev_ready}
   jmp umbra_shm_post
umbra_shm_dead:                          # servers have all signals blocked: this ends the process
   ud2
# ---- a signal: edi = number, rdx = ucontext. The frame has all registers: they are free ----
umbra_shm_handler:
   mov rbx, rsp
   and rbx, -{s_size}
   mov ebp, ebx
   sub ebp, {s_base_low}
   shr ebp, 3
   movabs rax, {k_base}
   add rbp, rax
   mov rax, [rdx + {uc_rip}]
   movabs rcx, {text}
   sub rax, rcx
   cmp rax, {text_len}                   # exactly the text: an old vDSO address is a guest's
   jb umbra_shm_in_text
umbra_shm_event:
   mov [rbx + {s_context}], rdx
umbra_shm_post:                          # rbx = S region, rbp = K page, edi = type; rsp below anything of worth
   mov [rbx + {s_type}], edi
   rdfsbase rax
   mov [rbx + {s_fs_base}], rax
   rdgsbase rax
   mov [rbx + {s_gs_base}], rax
umbra_shm_report:
   mov dword ptr [rbx + {s_kicked}], 0
   mov r15d, [rbp + {k_serve}]
   mov r12d, [rbp + {k_go}]
   lea r13d, [r12 + 1]
   mov eax, r13d
   xchg [rbx + {s_ev}], eax              # a full barrier: SLEEP is looked at after it
   cmp dword ptr [rbp + {k_sleep}], 0
   je 1f
   lea rdi, [rbx + {s_ev}]
   mov esi, 1                            # FUTEX_WAKE
   mov edx, 1
   umbra_shm_call {futex}
umbra_shm_at_wake:
1: mov r14d, [rbp + {k_spin}]
2: cmp [rbp + {k_go}], r13d
   je umbra_shm_leave
   mov eax, [rbp + {k_park}]
   test eax, eax
   jnz 5f
   dec r14d
   js 3f
   pause
   jmp 2b
# Another thread has the turn, on this host CPU: let it run, and look again. If it is the server's,
# it is for us to wake it: from here that costs no interrupt of another host CPU.
5: cmp eax, {park_yield}
   jne 3f
   mov eax, [rbp + {k_serve}]
   cmp eax, r15d
   je 6f
   mov r15d, eax
   movabs rdi, {k_base}
   mov esi, 1
   mov edx, 1
   umbra_shm_call {futex}
umbra_shm_at_serve:
6: sub r14d, {yield_cost}
   js 3f
   umbra_shm_call {sched_yield}
umbra_shm_at_yield:
   jmp 2b
3: mov eax, 1
   xchg [rbx + {s_sleep}], eax
   cmp [rbp + {k_go}], r13d
   je 4f
   mov rdi, rbp
   xor esi, esi                          # FUTEX_WAIT works on a read-only page
   mov edx, r12d
   xor r10d, r10d
   umbra_shm_call {futex}
umbra_shm_at_wait:
   jmp 3b
4: mov dword ptr [rbx + {s_sleep}], 0
# ---- the way out. rsp stays at the frame until the last move: what a kick pushes lands below it
umbra_shm_leave:
   mov ecx, [rbp + {k_mode}]
   test ecx, {m_bases}
   jz 1f
   mov rax, [rbp + {k_fs_base}]
   wrfsbase rax
   mov rax, [rbp + {k_gs_base}]
   wrgsbase rax
1: mov rsp, [rbp + {k_context}]
   mov rsi, [rbp + {k_fpstate}]
   mov eax, [rbp + {k_features}]
   mov edx, [rbp + {k_features} + 4]
   cmp cl, {m_full}
   je umbra_shm_leave_full
   ja umbra_shm_leave_patched
   xrstor64 [rsi]
.macro umbra_shm_restore
   mov r8, [rsp + {uc_regs}]
   mov r9, [rsp + {uc_regs} + 8]
   mov r10, [rsp + {uc_regs} + 16]
   mov r12, [rsp + {uc_regs} + 32]
   mov r13, [rsp + {uc_regs} + 40]
   mov r14, [rsp + {uc_regs} + 48]
   mov r15, [rsp + {uc_regs} + 56]
   mov rdi, [rsp + {uc_regs} + 64]
   mov rsi, [rsp + {uc_regs} + 72]
   mov rbp, [rsp + {uc_regs} + 80]
   mov rbx, [rsp + {uc_regs} + 88]
   mov rdx, [rsp + {uc_regs} + 96]
   mov rax, [rsp + {uc_regs} + 104]
.endm
   umbra_shm_restore
   mov rcx, [rsp + {uc_regs} + 128]
   mov r11, [rsp + {uc_regs} + 136]
   push r11
   popfq
   mov rsp, [rsp + {uc_regs} + 120]
   jmp rcx
umbra_shm_leave_full:                    # rsp = context, rsi = extended state, edx:eax = what of it
   push 2                                # NT survives signal delivery, and iretq with NT set faults
   popfq
   xrstor64 [rsi]
   mov rbp, rsp
   push 0x2b
   push [rbp + {uc_regs} + 120]
   push [rbp + {uc_regs} + 136]
   push 0x33
   push [rbp + {uc_regs} + 128]          # what iretq pops, in the red zone below the context
   mov rsp, rbp
   umbra_shm_restore
   mov r11, [rsp + {uc_regs} + 24]
   mov rcx, [rsp + {uc_regs} + 112]
   lea rsp, [rsp - 40]
   iretq
# The host interrupted the stub itself.
umbra_shm_in_text:
   cmp edi, {sig_kick}
   jne 2f
   cmp dword ptr [rbp + {k_reset}], 0
   jne 1f
   mov dword ptr [rbx + {s_kicked}], 1
umbra_shm_resume:
   mov rsp, rdx                          # an event or a resume is on its way: go on. The kernel kicks again if it must
   mov rsi, [rdx + {uc_fpstate}]
   mov eax, [rbp + {k_features}]
   mov edx, [rbp + {k_features} + 4]
   jmp umbra_shm_leave_full
# Whatever it was doing: start anew. What came with the kick says that we have been here.
1: mov rax, [rsi + {si_value}]
   mov [rbx + {s_result}], rax
   xor eax, eax                          # selectors of the last guest
   mov ds, eax
   mov es, eax
   mov fs, eax
   mov gs, eax
   lea rsp, [rbx + {s_size} - 16]
   mov edi, {ev_ready}
   jmp umbra_shm_post
# A patched call that cannot be made here: single-stepped (the trap must not come in the stub's
# text), or without our gs base (the guest has loaded the selector). The real `syscall` in front
# of the return address makes it.
2: mov rax, [rdx + {uc_rip}]
   lea rcx, [rip + umbra_shm_patched]
   cmp rax, rcx
   je 3f
   lea rcx, [rip + umbra_shm_patched_store]
   cmp rax, rcx
   je 3f
   or edi, {ev_broken}
   jmp umbra_shm_event
3: mov rax, [rdx + {uc_rcx}]
   sub rax, 2
   mov [rdx + {uc_rip}], rax
   jmp umbra_shm_resume
# ---- a patched call site: rcx = where to go on, r11 is dead, the gs base is our S region ----
umbra_shm_patched:
   rdgsbase r11
umbra_shm_patched_store:
   mov [r11 + {s_regs} + 56], rsp
   lea rsp, [r11 + {s_size} - 16]
   pushfq
   mov [r11 + {s_regs} + 8], rbx
# What the kernel has answered in advance. (A guest may have changed the address: it fools
# nobody but itself.)
   cmp rax, {answers}
   jae 1f
   mov rbx, [r11 + {s_k}]
   mov rbx, [rbx + rax * 8 + {k_answers}]
   test rbx, rbx
   jz 1f
# A guest that does nothing but ask is nearly always here when it is kicked.
   cmp dword ptr [r11 + {s_kicked}], 0
   jne 1f
   lea rax, [rbx - 1]
   mov rbx, [r11 + {s_regs} + 8]
   popfq
   mov rsp, [r11 + {s_regs} + 56]
   jmp rcx
1: pop [r11 + {s_regs} + 128]
   mov [r11 + {s_regs}], rax
   mov [r11 + {s_regs} + 16], rcx
   mov [r11 + {s_regs} + 24], rdx
   mov [r11 + {s_regs} + 32], rsi
   mov [r11 + {s_regs} + 40], rdi
   mov [r11 + {s_regs} + 48], rbp
   mov [r11 + {s_regs} + 64], r8
   mov [r11 + {s_regs} + 72], r9
   mov [r11 + {s_regs} + 80], r10
   mov [r11 + {s_regs} + 96], r12
   mov [r11 + {s_regs} + 104], r13
   mov [r11 + {s_regs} + 112], r14
   mov [r11 + {s_regs} + 120], r15
   mov rbx, r11
   mov ebp, ebx
   sub ebp, {s_base_low}
   shr ebp, 3
   movabs rax, {k_base}
   add rbp, rax
   mov dword ptr [rbx + {s_type}], {ev_patched}
   jmp umbra_shm_report
umbra_shm_leave_patched:
   lea rsp, [rbx + {s_size} - 16]
   cmp cl, {m_patched}
   je 1f
# The kernel wants all of this thread. The rest of it is still in the CPU.
   xsave64 [rsi]
   mov edi, {ev_saved}
   jmp umbra_shm_post
1: push [rbx + {s_regs} + 128]
   mov rax, [rbx + {s_regs}]
   mov rcx, [rbx + {s_regs} + 16]
   mov rdx, [rbx + {s_regs} + 24]
   mov rsi, [rbx + {s_regs} + 32]
   mov rdi, [rbx + {s_regs} + 40]
   mov rbp, [rbx + {s_regs} + 48]
   mov r8, [rbx + {s_regs} + 64]
   mov r9, [rbx + {s_regs} + 72]
   mov r10, [rbx + {s_regs} + 80]
   mov r12, [rbx + {s_regs} + 96]
   mov r13, [rbx + {s_regs} + 104]
   mov r14, [rbx + {s_regs} + 112]
   mov r15, [rbx + {s_regs} + 120]
   mov r11, [rsp]                        # the flags, as a system call leaves them there
   popfq
   mov rsp, [rbx + {s_regs} + 56]
   mov rbx, [rbx + {s_regs} + 8]
   jmp rcx
umbra_shm_end:
.popsection
