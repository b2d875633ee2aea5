//! The subcommands, a file or folder each: it opens what the user named, does its work and prints.

pub(crate) mod completions;
pub(crate) mod convert;
pub(crate) mod decrypt;
pub(crate) mod diff;
pub(crate) mod dmesg;
pub(crate) mod gdb;
pub(crate) mod hpte;
pub(crate) mod info;
pub(crate) mod join;
pub(crate) mod mount;
pub(crate) mod pages;
pub(crate) mod read;
pub(crate) mod receive;
pub(crate) mod regs;
pub(crate) mod report;
pub(crate) mod save;
pub(crate) mod search;
pub(crate) mod status;
pub(crate) mod verify;
