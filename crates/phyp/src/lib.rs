//! What the hypervisor leaves behind.
