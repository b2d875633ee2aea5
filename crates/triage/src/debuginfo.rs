//! Where debug information for the kernel is to be had.
//!
//! Distributions name their packages after the kernel's release, and show themselves in the release or in the version. What
//! fits none of them gets no package: debuginfod knows any kernel by its build ID.

/// What names the debug information.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DebugInformation {
    /// The release.
    pub release: String,
    /// The build ID in hexadecimal, by which debuginfod knows it.
    pub build_id: Option<String>,
    /// The distribution, where the release or the version tells it.
    pub distribution: Option<&'static str>,
    /// The packages that have it.
    pub packages: Vec<String>,
}

/// Finds the distribution and its packages. `release` and `version` are those of `uname`, `build_id` is VMCOREINFO's.
pub fn find(release: &str, version: &str, build_id: Option<&str>) -> DebugInformation {
    let is_id = |id: &&str| !id.is_empty() && id.len() <= 128 && id.bytes().all(|b| b.is_ascii_hexdigit());
    let mut found = DebugInformation {
        release: release.to_owned(),
        build_id: build_id.filter(is_id).map(str::to_ascii_lowercase),
        ..DebugInformation::default()
    };
    // A name that no package can have comes from a damaged or hostile dump, and is no command's argument.
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"._+~-".contains(&b);
    if !release.starts_with(|c: char| c.is_ascii_digit())
        || release.len() > 64
        || !release.bytes().all(is_name)
    {
        return found;
    }
    if version.contains("Debian ") {
        found.distribution = Some("Debian");
        found.packages = vec![format!("linux-image-{release}-dbg")];
    } else if version.contains("-Ubuntu") {
        found.distribution = Some("Ubuntu");
        // Where images are signed, the debug information is that of the image before it was.
        let of = |image: &str| format!("linux-image-{image}{release}-dbgsym");
        found.packages = vec![of(""), of("unsigned-")];
    } else if let Some((distribution, name)) = rpm(release) {
        found.distribution = Some(distribution);
        found.packages = rpm_packages(&name, release);
    } else if let Some(flavour) = suse_flavour(release) {
        found.distribution = Some("SUSE Linux Enterprise or openSUSE");
        // The package's release has a count of rebuilds that the kernel does not know.
        found.packages = vec![format!("kernel-{flavour}-debuginfo")];
    } else if release.contains("-arch") {
        // It has no package with the kernel's debug information, only a server for debuginfod.
        found.distribution = Some("Arch Linux");
    }
    found
}

/// What stands in the releases of distributions whose kernel packages end with `RELEASE.ARCH`, and their names. A mark is
/// followed by a digit.
const RPM: [(&str, &str); 9] = [
    (".fc", "Fedora"),
    (".el", "Red Hat Enterprise Linux, CentOS, AlmaLinux, Rocky Linux or Oracle Linux"),
    (".amzn", "Amazon Linux"),
    (".oe", "openEuler"),
    (".cm", "Azure Linux"),
    (".azl", "Azure Linux"),
    (".an", "Anolis OS"),
    (".al", "Alibaba Cloud Linux"),
    (".tl", "TencentOS Server"),
];

/// The distribution, and what its kernel's package is called.
fn rpm(release: &str) -> Option<(&'static str, String)> {
    let (distribution, rest) = RPM.iter().find_map(|(mark, distribution)| {
        let (_, rest) = release.split_once(mark)?;
        rest.starts_with(|c: char| c.is_ascii_digit()).then_some((*distribution, rest))
    })?;
    let tag = rest.split('.').next().unwrap_or_default();
    if tag.contains("uek") {
        return Some(("Oracle Linux", "kernel-uek".into()));
    }
    let name = match (distribution, tag) {
        // Of the kernels that it offers, the first has the plain name.
        ("Amazon Linux", "2023") => match release.splitn(3, '.').collect::<Vec<_>>()[..] {
            [major, minor, _] if (major, minor) != ("6", "1") => format!("kernel{major}.{minor}"),
            _ => "kernel".into(),
        },
        // Before Enterprise Linux 9.3 the realtime kernel had releases of its own.
        _ if release.contains(".rt") => "kernel-rt".into(),
        _ => "kernel".into(),
    };
    Some((distribution, name))
}

/// The package of the kernel itself and the one with the sources that all its variants share.
fn rpm_packages(name: &str, release: &str) -> Vec<String> {
    // `+debug`, `+rt`, `+64k`, `+64k-debug` are variants of one build.
    let (build, variant) = release.split_once('+').map_or((release, ""), |(build, variant)| (build, variant));
    let dash = if variant.is_empty() { "" } else { "-" };
    let mut packages = vec![format!("{name}{dash}{variant}-debuginfo-{build}")];
    if let Some((_, arch)) = build.rsplit_once('.') {
        packages.push(format!("{name}-debuginfo-common-{arch}-{build}"));
    }
    packages
}

/// The flavour of `5.14.21-150500.55.44-default`.
fn suse_flavour(release: &str) -> Option<&str> {
    const FLAVOURS: [&str; 10] =
        ["default", "azure", "rt", "rt_debug", "preempt", "64kb", "kvmsmall", "debug", "vanilla", "longterm"];
    let (version, flavour) = release.rsplit_once('-')?;
    let (upstream, build) = version.split_once('-')?;
    let numbers = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_digit())
            && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
    };
    (numbers(upstream) && numbers(build) && FLAVOURS.contains(&flavour)).then_some(flavour)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn distributions_are_told_by_release_and_version() {
        const EL: &str = RPM[1].1;
        for (release, version, distribution, packages) in [
            (
                "6.12.107+deb13-s390x",
                "#1 SMP Debian 6.12.107-1 (2026-08-01)",
                Some("Debian"),
                &["linux-image-6.12.107+deb13-s390x-dbg"][..],
            ),
            (
                "6.1.0-28-cloud-amd64",
                "#1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1 (2024-11-22)",
                Some("Debian"),
                &["linux-image-6.1.0-28-cloud-amd64-dbg"],
            ),
            (
                "6.8.0-45-generic",
                "#45-Ubuntu SMP PREEMPT_DYNAMIC Fri Aug 30",
                Some("Ubuntu"),
                &["linux-image-6.8.0-45-generic-dbgsym", "linux-image-unsigned-6.8.0-45-generic-dbgsym"],
            ),
            (
                "5.15.0-1053-aws",
                "#58~20.04.1-Ubuntu SMP Mon Jan 22",
                Some("Ubuntu"),
                &["linux-image-5.15.0-1053-aws-dbgsym", "linux-image-unsigned-5.15.0-1053-aws-dbgsym"],
            ),
            (
                "6.11.4-301.fc41.x86_64",
                "#1 SMP PREEMPT_DYNAMIC Sun Oct 20",
                Some("Fedora"),
                &[
                    "kernel-debuginfo-6.11.4-301.fc41.x86_64",
                    "kernel-debuginfo-common-x86_64-6.11.4-301.fc41.x86_64",
                ],
            ),
            (
                "6.11.4-301.fc41.x86_64+debug",
                "#1 SMP",
                Some("Fedora"),
                &[
                    "kernel-debug-debuginfo-6.11.4-301.fc41.x86_64",
                    "kernel-debuginfo-common-x86_64-6.11.4-301.fc41.x86_64",
                ],
            ),
            (
                "5.14.0-427.13.1.el9_4.ppc64le",
                "#1 SMP",
                Some(EL),
                &[
                    "kernel-debuginfo-5.14.0-427.13.1.el9_4.ppc64le",
                    "kernel-debuginfo-common-ppc64le-5.14.0-427.13.1.el9_4.ppc64le",
                ],
            ),
            (
                "5.14.0-503.el9.aarch64+64k",
                "#1 SMP",
                Some(EL),
                &[
                    "kernel-64k-debuginfo-5.14.0-503.el9.aarch64",
                    "kernel-debuginfo-common-aarch64-5.14.0-503.el9.aarch64",
                ],
            ),
            (
                "4.18.0-553.rt7.342.el8_10.x86_64",
                "#1 SMP PREEMPT_RT",
                Some(EL),
                &[
                    "kernel-rt-debuginfo-4.18.0-553.rt7.342.el8_10.x86_64",
                    "kernel-rt-debuginfo-common-x86_64-4.18.0-553.rt7.342.el8_10.x86_64",
                ],
            ),
            (
                "3.10.0-1160.el7.x86_64",
                "#1 SMP Mon Oct 19",
                Some(EL),
                &[
                    "kernel-debuginfo-3.10.0-1160.el7.x86_64",
                    "kernel-debuginfo-common-x86_64-3.10.0-1160.el7.x86_64",
                ],
            ),
            (
                "5.15.0-200.131.27.el8uek.x86_64",
                "#2 SMP",
                Some("Oracle Linux"),
                &[
                    "kernel-uek-debuginfo-5.15.0-200.131.27.el8uek.x86_64",
                    "kernel-uek-debuginfo-common-x86_64-5.15.0-200.131.27.el8uek.x86_64",
                ],
            ),
            (
                "4.14.355-275.570.amzn2.x86_64",
                "#1 SMP",
                Some("Amazon Linux"),
                &[
                    "kernel-debuginfo-4.14.355-275.570.amzn2.x86_64",
                    "kernel-debuginfo-common-x86_64-4.14.355-275.570.amzn2.x86_64",
                ],
            ),
            (
                "6.1.112-122.189.amzn2023.aarch64",
                "#1 SMP",
                Some("Amazon Linux"),
                &[
                    "kernel-debuginfo-6.1.112-122.189.amzn2023.aarch64",
                    "kernel-debuginfo-common-aarch64-6.1.112-122.189.amzn2023.aarch64",
                ],
            ),
            (
                "6.12.20-23.97.amzn2023.x86_64",
                "#1 SMP",
                Some("Amazon Linux"),
                &[
                    "kernel6.12-debuginfo-6.12.20-23.97.amzn2023.x86_64",
                    "kernel6.12-debuginfo-common-x86_64-6.12.20-23.97.amzn2023.x86_64",
                ],
            ),
            (
                "5.10.0-216.0.0.115.oe2203sp4.x86_64",
                "#1 SMP",
                Some("openEuler"),
                &[
                    "kernel-debuginfo-5.10.0-216.0.0.115.oe2203sp4.x86_64",
                    "kernel-debuginfo-common-x86_64-5.10.0-216.0.0.115.oe2203sp4.x86_64",
                ],
            ),
            (
                "5.14.21-150500.55.44-default",
                "#1 SMP PREEMPT_DYNAMIC Mon Jan 15 (cc7d8b6)",
                Some("SUSE Linux Enterprise or openSUSE"),
                &["kernel-default-debuginfo"],
            ),
            (
                "6.9.7-1-default",
                "#1 SMP",
                Some("SUSE Linux Enterprise or openSUSE"),
                &["kernel-default-debuginfo"],
            ),
            (
                "5.14.21-150400.14.75-azure",
                "#1 SMP",
                Some("SUSE Linux Enterprise or openSUSE"),
                &["kernel-azure-debuginfo"],
            ),
            ("6.9.7-arch1-1", "#1 SMP PREEMPT_DYNAMIC", Some("Arch Linux"), &[]),
            ("6.12.94-fadump", "#3 SMP", None, &[]),
            ("6.1.192-lab", "#1", None, &[]),
            ("6.9.7-1-mydefault", "#1", None, &[]),
            ("5.14.0-1.elf.x86_64", "#1", None, &[]),
            ("6.1.0; rm -rf / .el9", "#1 Debian 6.1", None, &[]),
            ("../6.1.el9", "#1", None, &[]),
            ("", "", None, &[]),
        ] {
            let found = find(release, version, None);
            assert_eq!(
                (found.distribution, &found.packages[..]),
                (distribution, &packages.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>()[..]),
                "{release}"
            );
        }
    }

    #[test]
    fn a_build_id_is_hexadecimal_or_none() {
        for (id, expected) in
            [("AB12cd", Some("ab12cd")), ("", None), ("xyz", None), (&*"a".repeat(129), None)]
        {
            assert_eq!(find("6.1", "", Some(id)).build_id.as_deref(), expected);
        }
    }

    proptest! {
        #[test]
        fn any_names_find_a_package_or_none(release in "[0-9a-z.+_é-]{0,30}(\\.el|\\.amzn|\\.fc|-arch|-default|\\+)[0-9a-z.+-]{0,20}", version in "[ -~]{0,30}") {
            for package in find(&release, &version, None).packages {
                prop_assert!(package.bytes().all(|b| b.is_ascii_graphic() && b != b'/'));
            }
        }
    }
}
