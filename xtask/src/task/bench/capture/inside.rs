//! `cargo xtask capture`: does in a capture kernel what `bench --capture` has planned on the host.

use super::plan::{Run, Seen, Task, Who};
use super::read::read;
use crate::pages::Sets;
use crate::task::measure::measure_machine;
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The memory of the kernel that crashed.
const VMCORE: &str = "/proc/vmcore";

#[derive(clap::Args)]
pub(crate) struct Capture {
    /// What to do
    plan: PathBuf,
    /// Where to write what was seen: a line for each thing that was done
    seen: PathBuf,
}

impl Capture {
    pub(crate) fn run(self) -> Result<()> {
        let tasks: Vec<Task> = serde_json::from_slice(&fs::read(&self.plan)?)?;
        let mut seen = File::create(&self.seen)?;
        // A step's output is shown when it ends; who watches wants to see that it goes on.
        let mut console = File::options().write(true).open("/dev/console")?;
        for (at, task) in tasks.iter().enumerate() {
            let of = tasks.len();
            fs::write("/proc/sys/vm/drop_caches", "3").context("drop_caches")?;
            let one = task.run().with_context(|| format!("task {at} of {of}, {task:?}"))?;
            writeln!(seen, "{}", serde_json::to_string(&one)?)?;
            writeln!(console, "@@ {} of {of}: {}", at + 1, one.brief())?;
        }
        Ok(())
    }
}

impl Task {
    fn run(&self) -> Result<Seen> {
        match self {
            Self::Read(way) => {
                let (pages, seconds) = read(Path::new(VMCORE), *way)?;
                Ok(Seen::Read { way: *way, pages, seconds })
            }
            Self::Run(run) => run.run(),
            Self::Compare { level, method, ours, theirs } => {
                let Sets { both, first, second, .. } = Sets::of(Path::new(ours), Path::new(theirs));
                fs::remove_file(ours)?;
                fs::remove_file(theirs)?;
                let method = method.clone();
                Ok(Seen::Compared { level: *level, method, both, ours: first, theirs: second })
            }
        }
    }
}

impl Run {
    fn run(&self) -> Result<Seen> {
        let Self { who, level, method, .. } = self;
        let output = Path::new(&self.output);
        let stdout = (*who == Who::Save).then(|| PathBuf::from("/tmp/said"));
        let (taken, complaints) = measure_machine(&self.command, output, stdout.as_deref())?;
        ensure!(taken.code == 0, "{}: exit code {}\n{complaints}", self.command.join(" "), taken.code);
        let said = stdout.map(fs::read_to_string).transpose()?.unwrap_or_default();
        let size = fs::metadata(output).map_or(0, |metadata| metadata.len());
        if output.is_dir() {
            fs::remove_dir_all(output)?;
            fs::create_dir(output)?;
        } else if !self.keep {
            fs::remove_file(output)?;
        }
        Ok(Seen::Ran { who: *who, level: *level, method: method.clone(), taken, size, said })
    }
}

impl Seen {
    /// In some words.
    fn brief(&self) -> String {
        match self {
            Self::Read { way, pages, seconds } => format!("{way:?} {pages} pages {seconds:.3} s"),
            Self::Ran { who, level, method, taken, .. } => format!(
                "{who:?} -d {level} {method} wall {:.3} user {:.3} system {:.3} s",
                taken.wall, taken.user, taken.system
            ),
            Self::Compared { level, method, both, ours, theirs } => {
                format!("-d {level} {method}: {both} pages in both, {ours} and {theirs} in one")
            }
        }
    }
}
