//! The kernels that are booted: that of a real dump, and ones built from Debian's sources.

use crate::guest::tree::{Tree, logged};
use crate::unpack::unpack;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// The dump whose kernel is booted.
const DUMP: &str = corpus::POWER;
/// Debian's package of the sources that are built.
const SOURCE: &str = "linux-source-7.2";
/// What building them takes besides the cross compiler.
const BUILD: [&str; 9] =
    [SOURCE, "make", "gcc", "libc6-dev", "flex", "bison", "bc", "xz-utils", "libelf-dev"];
/// The configuration; the variants replace lines of it.
const CONFIG: &str = include_str!("kernel/power.config");

/// A kernel by its name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kernel {
    /// 6.12, 64 KiB pages, radix: the kernel of the dump power9-fadump-radix-64k
    Corpus,
    /// 7.2, 64 KiB pages, radix
    #[value(name = "7.2")]
    Built,
    /// 7.2, 4 KiB pages, hash
    #[value(name = "7.2-4k-hash")]
    Built4kHash,
}

impl Kernel {
    /// The name, as on the command line.
    pub(crate) fn name(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self).expect("no kernel is hidden");
        value.get_name().to_owned()
    }

    /// What the kernel has to be told. The corpus's prefers hash where nothing is said.
    pub(crate) fn command_line(self) -> &'static str {
        match self {
            Self::Corpus | Self::Built => "disable_radix=0",
            Self::Built4kHash => "disable_radix=1",
        }
    }

    /// The lines of the configuration that are replaced.
    fn variant(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Corpus | Self::Built => &[],
            Self::Built4kHash => &[("CONFIG_PPC_64K_PAGES=y", "CONFIG_PPC_4K_PAGES=y")],
        }
    }

    /// Whether the kernel can be had: the corpus's is too large for `testdata/`.
    pub(crate) fn is_there(self) -> bool {
        self != Self::Corpus || packed().is_some()
    }

    /// The kernel with its debug information, made if it is not there.
    pub(crate) fn vmlinux(self, tree: &Tree, work: &Path) -> Result<PathBuf> {
        let kernels = work.join("kernels");
        fs::create_dir_all(&kernels)?;
        let vmlinux = kernels.join(format!("vmlinux-{}", self.name()));
        if vmlinux.exists() {
            return Ok(vmlinux);
        }
        let partial = vmlinux.with_extension("partial");
        if self == Self::Corpus {
            let packed = packed().with_context(|| format!("no corpus here has the vmlinux of {DUMP}"))?;
            let content = BufReader::new(File::open(&packed).with_context(|| packed.display().to_string())?);
            unpack(content, File::create(&partial)?).with_context(|| packed.display().to_string())?;
        } else {
            let built = self.build(tree, work)?;
            fs::rename(built.join("vmlinux"), &partial)?;
        }
        fs::rename(&partial, &vmlinux)?;
        Ok(vmlinux)
    }

    /// The kernel as it is booted: without debug information, which would not fit below the firmware.
    pub(crate) fn image(self, tree: &Tree, vmlinux: &Path) -> Result<PathBuf> {
        let image = vmlinux.with_file_name(format!("image-{}", self.name()));
        if !image.exists() {
            let partial = image.with_extension("partial");
            let mut strip = tree.command("powerpc64le-linux-gnu-objcopy");
            strip.arg("-g").arg(tree.inside(vmlinux)?).arg(tree.inside(&partial)?);
            logged(&mut strip, &vmlinux.with_extension("log"))?;
            fs::rename(partial, &image)?;
        }
        Ok(image)
    }

    /// Builds Debian's sources; returns the directory of the objects.
    fn build(self, tree: &Tree, work: &Path) -> Result<PathBuf> {
        tree.install("kernels", &BUILD)?;
        let name = format!("kernel-{}", self.name());
        let objects = work.join(&name);
        fs::create_dir_all(&objects)?;
        let mut config = CONFIG.to_owned();
        for (line, other) in self.variant() {
            config = config.replace(line, other);
        }
        fs::write(objects.join("wanted.config"), config)?;
        println!("boot: building the kernel {}; it takes a quarter of an hour", self.name());
        let mut build = tree.command("sh");
        build
            .arg("/hadump/xtask/src/task/boot/power/kernel/build.sh")
            .arg(SOURCE)
            .arg(format!("/boots/{name}"));
        logged(&mut build, &work.join(format!("{name}.log")))?;
        Ok(objects)
    }
}

/// The packed vmlinux: of `HADUMP_CORPUS`, of the corpus beside the repository, or of `testdata/`.
fn packed() -> Option<PathBuf> {
    let root = crate::root();
    let named = std::env::var_os("HADUMP_CORPUS").map(PathBuf::from);
    let places = [named, Some(root.join("../shared/corpus")), Some(root.join("testdata"))];
    places
        .into_iter()
        .flatten()
        .map(|corpus| corpus.join(DUMP).join("vmlinux.zst"))
        .find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_replaces_lines_that_the_configuration_has() {
        for kernel in [Kernel::Built, Kernel::Built4kHash] {
            for (line, _) in kernel.variant() {
                assert!(CONFIG.lines().any(|of| of == *line), "{line}");
            }
        }
    }
}
