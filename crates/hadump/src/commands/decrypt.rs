//! `hadump decrypt`: what `--encrypt-to` wrote, as it was before: a dump, or a log.

use crate::cli;
use crate::input::decrypt::{self, Encrypted};
use crate::outcome::Outcome;
use crate::output::{self, received};
use anyhow::{Context, Result, bail};
use std::io::{self, Write};

/// Decrypts and names the output.
pub(crate) fn run(args: &cli::Decrypt) -> Result<Outcome> {
    let Some(encrypted) = Encrypted::of(&args.input, &args.identity)? else {
        bail!("{}: not encrypted with age", args.input[0].display());
    };
    if cli::is_stream(&args.output) {
        output::check_not_closed()?;
        let mut out = io::stdout().lock();
        io::copy(&mut encrypted.stream(), &mut out).context("cannot decrypt to standard output")?;
        out.flush().context("standard output: cannot write to it")?;
        return Ok(match encrypted.gap() {
            Some(gap) => {
                tracing::error!("{gap}; what follows is not decrypted");
                Outcome::Incomplete
            }
            None => Outcome::Complete,
        });
    }
    output::refuse_input(&cli::InputArgs::paths(args.input.clone()), std::slice::from_ref(&args.output))?;
    let file = output::create(&args.output, args.force, output::FORCE)?;
    let Some(trouble) = decrypt::into(&encrypted, &file)? else {
        file.commit()?;
        return Ok(Outcome::Complete);
    };
    let name = file.name().to_owned();
    match received::keep_cut(file, &name)? {
        Ok((kept, _)) => {
            tracing::error!("{trouble}; what was decrypted is kept in {}", kept.display());
            Ok(Outcome::Incomplete)
        }
        Err(unusable) => bail!("{trouble}; the decrypted part is unusable: {unusable}"),
    }
}
