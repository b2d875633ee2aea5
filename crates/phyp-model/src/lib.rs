//! The hypervisor as an executable model.
