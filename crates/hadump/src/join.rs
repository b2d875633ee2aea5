//! `hadump join`: the files of a split set, or of shards, made into one.

use crate::cli::{self, Compression, InputArgs, WriteArgs};
use crate::{Outcome, convert};
use anyhow::Result;
use clap::ValueEnum;

/// Joins and reports. From the parts that hadump made of a dump, the file is the one that it would have made in one
/// piece, byte for byte.
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
        json: args.json,
    };
    convert::run(&convert, quiet)
}
