//! All forms in which a product is given out.

use super::contents::{Flavour, Product};
use super::{deb, redhat, tarball};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// Writes everything that is made of a product.
pub(crate) fn write(product: &Product, into: &Path) -> Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    for package in product.packages(Flavour::Debian) {
        made.push(deb::write(product, &package, into)?);
    }
    for package in product.packages(Flavour::Rpm) {
        made.push(redhat::write(product, &package, into)?);
    }
    made.extend(tarball::write(product, into)?);
    Ok(made)
}
