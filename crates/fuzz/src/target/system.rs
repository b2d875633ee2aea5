//! What a machine's root shows after a crash: device tree, sysfs, OPAL's answers.

use super::{Seed, Target, firmware};
use crate::pack::{pack, unpack};
use phyp::custody::{Known, custody};
use phyp::status::status;
use phyp::system::System;
use phyp_model::root::{self, ReleaseText, RootOptions};
use phyp_model::tree::MemoryNodes;
use save::state::State;
use std::fs;
use std::path::PathBuf;

pub(super) const TARGET: Target = Target { name: "system", seeds, run };

/// The files of an input, in this order; those without bytes do not exist.
const FILES: [&str; 22] = [
    "proc/device-tree/#address-cells",
    "proc/device-tree/#size-cells",
    "proc/device-tree/memory@0/device_type",
    "proc/device-tree/memory@0/reg",
    "proc/device-tree/ibm,dynamic-reconfiguration-memory/ibm,lmb-size",
    "proc/device-tree/ibm,dynamic-reconfiguration-memory/ibm,dynamic-memory",
    "proc/device-tree/ibm,dynamic-reconfiguration-memory/ibm,dynamic-memory-v2",
    "proc/device-tree/reserved-ranges",
    "proc/device-tree/system-id",
    "proc/device-tree/rtas/ibm,configure-kernel-dump-sizes",
    "proc/device-tree/rtas/ibm,kernel-dump",
    "sys/kernel/release_region",
    "sys/kernel/fadump/enabled",
    "sys/kernel/fadump/registered",
    "sys/kernel/fadump/mem_reserved",
    "sys/kernel/debug/powerpc/fadump_region",
    "opal-mpipl/kernel-metadata",
    "opal-mpipl/cpu-metadata",
    "run/hadump/released",
    "run/hadump/saved",
    "proc/sys/kernel/random/boot_id",
    "var/lib/hadump/registered-on",
];

/// What a save records of itself.
const SAVED: &[u8] =
    b"saved boot=one dump=5f3a90c1d2e4b687 complete=1 asked=0 level=31 file=/var/crash/vmcore de5e5dba\n\
    given-back boot=one interface=release_mem all=1 fa2a61a7\n";

/// A directory in memory, where there is one.
fn directory() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    let place = if memory.is_dir() { memory } else { std::env::temp_dir() };
    tempfile::tempdir_in(place).expect("a temporary directory")
}

fn seeds() -> Vec<Seed> {
    let nodes = [MemoryNodes::Plain, MemoryNodes::Dynamic, MemoryNodes::DynamicV2, MemoryNodes::Plain];
    let of = |(run, memory_nodes)| {
        let made = directory();
        let options = RootOptions {
            vmcore: false,
            memory: false,
            memory_nodes,
            release_region: ReleaseText::Absolute,
            ..RootOptions::default()
        };
        root::write(&run, &made.path().join("root"), &options).expect("the root can be written");
        let file = |name: &&str| {
            let bytes = match *name {
                "run/hadump/released" => b"0x1000000-0x1400000\n0x2000000-0x2010000\n".to_vec(),
                "run/hadump/saved" => SAVED.to_vec(),
                "proc/sys/kernel/random/boot_id" => b"one\n".to_vec(),
                name => fs::read(made.path().join("root").join(name)).unwrap_or_default(),
            };
            Seed { hot: if bytes.is_empty() { Vec::new() } else { vec![0..bytes.len()] }, bytes }
        };
        pack(&FILES.iter().map(file).collect::<Vec<_>>())
    };
    firmware::runs().into_iter().zip(nodes).map(of).collect()
}

fn run(bytes: Vec<u8>) -> bool {
    let Some(files) = unpack(&bytes) else { return false };
    let root = directory();
    for (name, bytes) in FILES.iter().zip(&files).filter(|(_, bytes)| !bytes.is_empty()) {
        let path = root.path().join(name);
        path.parent().map(fs::create_dir_all).transpose().expect("a temporary directory takes directories");
        fs::write(&path, bytes).expect("a temporary directory takes files");
    }
    let mut system = System::look(root.path()).expect("the directory exists");
    let state = State::find(root.path()).expect("the directory is ours");
    let saved = state.as_ref().map(State::saved);
    system.released = state.and_then(|state| state.released().ok()).unwrap_or_default();
    let said = status(&system, &custody(&system, Known::default()), None);
    std::hint::black_box((system.areas_are_gone(), said, saved));
    system.leavings.memory_map.is_some()
}
