//! Kernel stacks and the switch between them.
