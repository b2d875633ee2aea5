//! Runs of `hadump save` on modelled machines, and what has to come of them.

use super::live::LiveRoot;
use super::run::{self, HADUMP, Run as Output, Scratch};
use phyp_model::root::{self, RootOptions};
use phyp_model::scenario::{self, Dirt, Event, Run};
use phyp_model::synth::{self, SynthOptions};
use phyp_model::{Machine, Memory, Options, layout::Layout};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use vmcore::{PageState, Pfn};

/// A machine of 48 MiB with a whole kernel in it, after its crash.
pub fn crashed(options: &Options, seed: u64) -> Run {
    let options = Options { seed, ..options.clone() };
    let layout = Layout::plan(&options).expect("a layout");
    let mut memory = Memory::new(options.ram_end());
    let synth =
        SynthOptions { fill: synth::Fill::OneIn(2), ..SynthOptions::for_machine(&options, layout.reserved) };
    let kernel = synth::build(&synth, &mut memory).expect("a kernel");
    let machine = Machine::with_memory(options, memory, Some(kernel.vmcoreinfo)).expect("a machine");
    scenario::run(machine, Event::CRASH, &[], Dirt::Whole).expect("a run")
}

/// fadump's release file.
pub const RELEASE_MEM: &str = "sys/kernel/fadump/release_mem";

/// The root of a machine that fadump saved, in a boot of this name. Its dump is another for each `seed`.
pub fn fadump(seed: u64, boot: &str) -> Scratch {
    let root = Scratch::new("root");
    let run = crashed(&Options::small_fadump(), seed);
    root::write(&run, root.path(), &RootOptions::default()).expect("a root");
    set_boot(root.path(), boot);
    root
}

pub fn set_boot(root: &Path, boot: &str) {
    let random = root.join("proc/sys/kernel/random");
    fs::create_dir_all(&random).expect("a directory");
    fs::write(random.join("boot_id"), boot).expect("a boot");
}

/// What was written to the release file.
pub fn released(root: &Path) -> String {
    fs::read_to_string(root.join(RELEASE_MEM)).expect("the kernel's file")
}

/// The report on standard output.
#[track_caller]
pub fn json(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", output.stdout, output.stderr))
}

/// `hadump save` with small segments, so that there are many.
pub fn command(root: &Path, to: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(HADUMP);
    command
        .args(["save", "--segment", "512K", "-c", "none", "--json", "--root"])
        .arg(root)
        .arg("--to")
        .arg(to);
    command.args(options);
    command
}

pub fn save(root: &Path, to: &Path, options: &[&str]) -> Output {
    Output::of(&mut command(root, to, options))
}

pub fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("hadump")
}

/// Fails unless both files have the same pages.
#[track_caller]
pub fn same_pages(one: &Path, two: &Path) {
    let (a, b) = (dumpfile::open(one).expect("a dump"), dumpfile::open(two).expect("a dump"));
    assert_eq!(a.memory.map().frames(), b.memory.map().frames());
    let (mut x, mut y) = (vec![0; a.page_size().len()], vec![0; b.page_size().len()]);
    let mut pages = 0;
    for pfn in a.memory.map().frames().iter().flat_map(|r| r.start.0..r.end.0).map(Pfn) {
        let states = (a.memory.read_page(pfn, &mut x).unwrap(), b.memory.read_page(pfn, &mut y).unwrap());
        assert_eq!(states.0, states.1, "frame {pfn}");
        assert!(x == y, "frame {pfn} has other bytes");
        pages += u64::from(states.0 == PageState::Present);
    }
    assert!(pages > 50, "{pages} pages were compared");
}

/// No memory was read after its release, and all of it was released.
#[track_caller]
pub fn all_is_back(root: &LiveRoot) {
    let live = root.live.lock().expect("the machine");
    assert_eq!(live.late_reads(), [], "read after it was released");
    assert_eq!(live.kept_back(), [], "not released");
    assert!(live.reads() > 100);
}

/// What a conversion makes of the dump.
pub fn plain(root: &LiveRoot) -> Scratch {
    let plain = Scratch::new("plain");
    run::convert(root.path(), plain.path(), &["-c", "none"]).ok();
    plain
}
