//! Packages for rpm.

use super::contents::{Content, File, Kind, Package, Product, Role};
use anyhow::{Context, Result};
use rpm::{BuildConfig, CompressionWithLevel, Dependency, FileOptions, PackageBuilder, Scriptlet};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The version of makedumpfile whose command line hadump takes.
const MAKEDUMPFILE: &str = "1.7.9";
/// Before the files go: a unit that was enabled would stay as a link to nothing. An upgrade calls it with 1.
const BEFORE_REMOVAL: &str = "\
if [ \"$1\" = 0 ] && [ -x /usr/bin/systemctl ]; then
    /usr/bin/systemctl --no-reload disable hadump-save.service hadump-registered.service >/dev/null 2>&1 || :
fi
";

/// Writes `package` into the directory `into`.
pub(crate) fn write(product: &Product, package: &Package, into: &Path) -> Result<PathBuf> {
    let about = package.about;
    let architecture = if about.kind == Kind::Makedumpfile { "noarch" } else { product.target.machine };
    let release = product.release;
    let summary = capitalised(about.summary);
    let mut builder =
        PackageBuilder::new(package.name, &product.version, product.licence, architecture, &summary);
    let time = u32::try_from(product.time).context("rpm counts seconds in 32 bits")?;
    // What rpm of any age reads, and the same bytes each time.
    let config = BuildConfig::v4().compression(CompressionWithLevel::Gzip(9)).source_date(time);
    builder.using_config(config).release(release).description(about.description).build_host("localhost");
    builder.packager(product.maintainer.as_str()).group("System Environment/Kernel");
    let full = product.full_version();
    let author = format!("{} - {full}", product.maintainer);
    builder.add_changelog_entry(author, product.changes.trim_end(), time);
    match about.kind {
        Kind::Program => {
            builder.suggests(Dependency::any("crash")).suggests(Dependency::any("dracut"));
            builder.suggests(Dependency::any("fuse3"));
            builder.pre_uninstall_script(Scriptlet::new(BEFORE_REMOVAL));
        }
        // Not `Obsoletes`: that would take makedumpfile's place on every machine that is upgraded and has the repository.
        Kind::Makedumpfile => {
            builder
                .requires(Dependency::eq("hadump", &full))
                .provides(Dependency::eq("makedumpfile", MAKEDUMPFILE));
            builder.conflicts(Dependency::any("makedumpfile"));
        }
        Kind::Debug => {
            builder.requires(Dependency::eq("hadump", &full));
        }
    }
    for directory in own_directories(&package.files) {
        builder.with_dir_entry(FileOptions::dir(format!("/{directory}")).permissions(0o755))?;
    }
    for file in &package.files {
        let path = format!("/{}", file.path);
        match &file.content {
            Content::Bytes(content, mode) => {
                let mode = u16::try_from(*mode).context("a mode has twelve bits")?;
                let options = FileOptions::new(path).permissions(mode);
                let options = match file.role {
                    Role::Plain => options,
                    Role::Configuration => options.config().noreplace(),
                    Role::Documentation => options.doc(),
                    Role::Licence => options.license(),
                };
                builder.with_file_contents(content.clone(), options)?;
            }
            Content::Link(to) => {
                builder.with_symlink(FileOptions::symlink(path, *to))?;
            }
        }
    }
    let path = into.join(format!("{}-{full}.{architecture}.rpm", package.name));
    builder.build()?.write_file(&path).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// A summary as rpm has them; Debian's begin with a small letter.
fn capitalised(summary: &str) -> String {
    let mut letters = summary.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Directories that no other package has: rpm leaves them behind unless the package names them.
fn own_directories(files: &[File]) -> BTreeSet<String> {
    let above = files.iter().flat_map(|file| Path::new(&file.path).ancestors().skip(1));
    let own = above.filter(|path| path.to_string_lossy().contains("hadump"));
    own.map(|path| path.display().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_of_the_package_are_its_own() {
        let file =
            |path: &str| File { path: path.to_owned(), content: Content::Link("x"), role: Role::Plain };
        let files =
            [file("usr/share/doc/hadump/docs/why.md"), file("usr/bin/hadump"), file("etc/hadump.conf")];
        let own: Vec<String> = own_directories(&files).into_iter().collect();
        assert_eq!(own, ["usr/share/doc/hadump", "usr/share/doc/hadump/docs"]);
    }
}
