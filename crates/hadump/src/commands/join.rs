//! `hadump join`: the files of a split set, or shards, joined into one.

use crate::cli::{self, Compression, InputArgs, WriteArgs};
use crate::commands::convert;
use crate::outcome::Outcome;
use anyhow::Result;
use clap::ValueEnum;

/// Joins and reports. From parts written by hadump, the file is byte for byte the one that it would have written
/// unsplit.
pub(crate) fn run(args: &cli::Join, quiet: bool) -> Result<Outcome> {
    let compression = match args.compression {
        Some(given) => given,
        None => {
            let found = dumpfile::open_set(&args.parts)?.source.compression.unwrap_or("none");
            Compression::from_str(found, false).unwrap_or(Compression::Zstd)
        }
    };
    let convert = cli::Convert {
        input: InputArgs::paths(args.parts.clone()),
        output: vec![args.output.clone()],
        write: WriteArgs::everything(compression, args.threads),
        flattened: false,
        split: None,
        shard: None,
        force: args.force,
        limit_rate: None,
        work_dir: None,
        dry_run: false,
        json: args.json,
    };
    convert::run(&convert, quiet)
}
