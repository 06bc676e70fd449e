//! Virtual CPUs: host threads of the kernel process, their current task, interrupts and idling.
