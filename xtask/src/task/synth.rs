//! `cargo xtask synth`: the dump of a synthetic kernel, with what a filter must make of it, to look at.

use anyhow::{Context, Result, bail};
use phyp_model::synth::dump::{self, catalogue};
use std::io::Write;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct Synth {
    /// The dump's name, or a part of it that no other has
    #[arg(required_unless_present = "list")]
    name: Option<String>,
    /// The ELF file to make
    #[arg(short, long, value_name = "FILE", required_unless_present = "list")]
    output: Option<PathBuf>,
    /// Write the frames kept at each of the 32 levels, a bitmap each, as expected/bitmaps.bin of a corpus has them
    #[arg(long, value_name = "FILE")]
    bitmaps: Option<PathBuf>,
    /// Another seed: other pages of the same sort
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Print the names, and make nothing
    #[arg(long)]
    list: bool,
}

impl Synth {
    pub(crate) fn run(self) -> Result<()> {
        let all = catalogue::catalogue();
        if self.list {
            all.iter().for_each(|spec| println!("{}", spec.name));
            return Ok(());
        }
        let (name, output) = (self.name.unwrap_or_default(), self.output.context("-o FILE is missing")?);
        let fits = |spec: &&dump::Spec| spec.name.contains(&name);
        let mut spec = match all.iter().find(|spec| spec.name == name) {
            Some(spec) => spec.clone(),
            None => match all.iter().filter(fits).collect::<Vec<_>>()[..] {
                [spec] => spec.clone(),
                [] => bail!("{name}: no such dump; cargo xtask synth --list prints their names"),
                ref several => bail!("{name}: {} dumps have this in their names", several.len()),
            },
        };
        spec.seed = self.seed.unwrap_or(spec.seed);
        let made = dump::build(&spec)?;
        made.write_elf(&output)?;
        if let Some(path) = self.bitmaps {
            // Bitmaps as long as memory: a machine with RAM at 2^51 would have 64 GiB of them.
            let end = spec.banks.last().map_or(0, |bank| bank.extent.end());
            if end > 1 << 40 {
                bail!("{}: RAM reaches to {end:#x}, too far for bitmaps", spec.name);
            }
            let mut file = std::fs::File::create(&path).with_context(|| path.display().to_string())?;
            for level in 0..32 {
                file.write_all(&made.truth.kept_bitmap(level))?;
            }
        }
        println!("{}: {spec:?}", spec.name);
        for (class, frames) in made.truth.classes() {
            println!("{frames:>9} frames are {class:?}");
        }
        for level in [1, 2, 4, 8, 16, 31] {
            let gone: u64 = made.truth.counts(level).values().sum();
            println!("{:>9} frames are kept at level {level}", made.truth.frames() - gone);
        }
        for (address, physical) in &made.translations {
            match physical {
                Some(physical) => println!("{address:#018x} is at physical {physical:#x}"),
                None => println!("{address:#018x} is mapped nowhere"),
            }
        }
        Ok(())
    }
}
