//! What `dist/` gives to distributions, in what it plugs into.

mod common;

use common::makedumpfile::ours;
use common::reader::kdump::Kdump;
use common::run::{HADUMP, Run, Scratch};
use common::{check, peer, skip};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn dist(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist").join(path)
}

fn text(path: &str) -> String {
    let path = dist(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    fs::write(path, content).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

fn executable(path: &Path, content: &str) {
    write(path, content);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a program");
}

/// The values of shell assignments that are not commented out.
fn setting(text: &str, name: &str) -> String {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name}")).trim_matches('"').to_owned()
}

#[test]
fn the_lines_for_distributions_pass_the_check_of_parameters() {
    let kdump_tools = setting(&text("kdump-tools/kdump-tools.conf"), "MAKEDUMP_ARGS");
    Run::of(ours().arg("--check-params").args(kdump_tools.split_whitespace()).arg("vmcore")).ok();
    // As mkdumprd: what is behind the collector's name, and operands by the kind of target.
    let mut collectors = 0;
    for line in text("kdump-utils/kdump.conf").lines() {
        let line = line.trim_start_matches('#');
        let Some(options) = line.strip_prefix("core_collector makedumpfile ") else { continue };
        let operands = if options.contains("-F") { &["vmcore"][..] } else { &["vmcore", "dumpfile"] };
        Run::of(ours().arg("--check-params").args(options.split_whitespace()).args(operands)).ok();
        collectors += 1;
    }
    assert_eq!(collectors, 3);
    // As kdump-save.
    let opensuse = text("opensuse-kdump/kdump");
    let format = match setting(&opensuse, "KDUMP_DUMPFORMAT").as_str() {
        "zstd" => "-z",
        other => panic!("{other}"),
    };
    let level = setting(&opensuse, "KDUMP_DUMPLEVEL");
    Run::of(ours().args([
        "--check-params",
        "-F",
        format,
        "--num-threads",
        "4",
        "-d",
        &level,
        "/proc/vmcore",
    ]))
    .ok();
}

#[test]
fn systemd_takes_the_units() {
    let Some(systemd_analyze) = peer::program("systemd-analyze") else { return };
    let scratch = Scratch::new("unit");
    executable(&scratch.directory().join("hadump-boot"), "#!/bin/sh\n");
    for name in ["hadump-save.service", "hadump-registered.service"] {
        let unit = text(&format!("systemd/{name}"));
        assert!(unit.contains("ExecStart=/usr/sbin/hadump-boot"), "{name}");
        let here = unit.replace("/usr/sbin", &scratch.directory().display().to_string());
        let path = scratch.directory().join(name);
        write(&path, &here);
        // The page that the unit names is installed with the package, not here.
        let run = Run::of(Command::new(&systemd_analyze).args(["verify", "--man=no"]).arg(&path)).ok();
        // It says what it does not understand and ends well all the same.
        let about: Vec<&str> = run.stderr.lines().filter(|line| line.contains("hadump")).collect();
        assert!(about.is_empty(), "{about:?}");
    }
}

/// A hadump that notes how it is called, and answers what it is asked of a status from a file for each field.
const STUB: &str = r#"#!/bin/sh
if [ "$1" = status ]; then
    for field; do :; done
    cat "$ANSWERS/$field" 2>/dev/null
    exit 0
fi
echo "$*" >> "$CALLS"
exit "$(cat "$STATUS" 2>/dev/null || echo 0)"
"#;

/// A machine's root for hadump-boot, with that hadump.
struct Machine(Scratch);

impl Machine {
    fn new() -> Self {
        let machine = Self(Scratch::new("root"));
        executable(&machine.path("bin/hadump"), STUB);
        executable(&machine.path("bin/reboot"), "#!/bin/sh\necho \"reboot $*\" >> \"$CALLS\"\n");
        write(&machine.path("root/proc/device-tree/system-id"), "IBM,0212345\0");
        machine
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.directory().join(path)
    }

    fn with(self, path: &str, content: &str) -> Self {
        write(&self.path(path), content);
        self
    }

    /// Runs hadump-boot with this configuration; returns its exit code and how hadump was called.
    fn boot(&self, argument: &str) -> (Option<i32>, String) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path =
            std::env::join_paths([self.path("bin")].into_iter().chain(std::env::split_paths(&path))).unwrap();
        let mut command = Command::new("sh");
        command
            .arg(dist("hadump-boot"))
            .arg(argument)
            .env("PATH", path)
            .env("HADUMP_ROOT", self.path("root"));
        command.env("HADUMP_CONF", self.path("hadump.conf")).env("CALLS", self.path("calls"));
        command.env("ANSWERS", self.path("answers"));
        let run = Run::of(command.env("STATUS", self.path("status")));
        write(&self.path("said"), &run.stdout);
        (run.code, fs::read_to_string(self.path("calls")).unwrap_or_default())
    }

    /// What it said.
    fn said(&self) -> String {
        fs::read_to_string(self.path("said")).unwrap_or_default()
    }

    fn saves(&self) -> String {
        let (root, to) = (self.path("root"), self.path("sysroot/var/crash"));
        format!("save --root {} --to {}/ --release progressive --resume\n", root.display(), to.display())
    }
}

const RELEASE_MEM: &str = "root/sys/kernel/fadump/release_mem";

#[test]
fn a_boot_without_a_dump_is_left_alone() {
    let machine = Machine::new()
        .with("root/proc/vmcore", "kdump's own")
        .with("root/sys/kernel/fadump/registered", "1\n");
    assert_eq!(machine.boot(""), (Some(0), String::new()));
    // phyp-dump's file is there on every boot; the firmware's property only after a crash.
    let machine = Machine::new().with("root/sys/kernel/release_region", "CPU:0x0-0x0:\n");
    assert_eq!(machine.boot(""), (Some(0), String::new()));
}

#[test]
fn a_dump_that_firmware_kept_is_saved_on_the_root_file_system() {
    for files in [
        &[RELEASE_MEM][..],
        &["root/sys/kernel/fadump_release_mem"],
        &["root/sys/kernel/release_region", "root/proc/device-tree/rtas/ibm,kernel-dump"],
    ] {
        let machine = files.iter().fold(Machine::new(), |machine, file| machine.with(file, ""));
        let sysroot = machine.path("sysroot");
        assert_eq!(machine.boot(sysroot.to_str().unwrap()), (Some(0), machine.saves()), "{files:?}");
        assert!(machine.path("sysroot/var/crash").is_dir());
    }
}

#[test]
fn a_dump_is_not_saved_where_a_mount_will_hide_it() {
    const FSTAB: &str = "# the system's\nUUID=1 / ext4 defaults 0 1\nUUID=2 none swap sw 0 0\n";
    let boot = |line: &str, mounted: &str| {
        let machine =
            Machine::new().with(RELEASE_MEM, "").with("sysroot/etc/fstab", &format!("{FSTAB}{line}\n"));
        let sysroot = machine.path("sysroot");
        let mounts =
            format!("/dev/sda1 {0} ext4 ro 0 0\n/dev/sda2 {0}{mounted} ext4 rw 0 0\n", sysroot.display());
        let machine = machine.with("root/proc/mounts", &mounts);
        let (code, calls) = machine.boot(sysroot.to_str().unwrap());
        assert_eq!(code, Some(0));
        let saved = calls == machine.saves();
        assert!(saved || calls.is_empty() && !sysroot.join("var").exists(), "{calls}");
        saved
    };
    for line in [
        "UUID=3 /var ext4 defaults 0 2",
        "UUID=3\t/var/crash\txfs\tdefaults",
        "host:/crash /var/crash/ nfs _netdev",
        "UUID=3 /var ext4 defaults 0 2\nUUID=4 /var/crash ext4 defaults 0 2",
        "UUID=3 /var ext4 noauto,x-systemd.automount 0 2",
    ] {
        assert!(!boot(line, "/boot"), "{line}");
    }
    // Only one of two is there.
    assert!(!boot("UUID=3 /var ext4 defaults 0 2\nUUID=4 /var/crash ext4 defaults 0 2", "/var"));
    for (line, mounted) in [
        ("", "/boot"),
        ("UUID=3 /var ext4 defaults 0 2", "/var"),
        ("UUID=3 /va ext4 defaults 0 2", "/boot"),
        ("UUID=3 /var/crash/old ext4 defaults 0 2", "/boot"),
        ("UUID=3 /var/crash ext4 rw,noauto 0 0", "/boot"),
        ("#UUID=3 /var ext4 defaults 0 2", "/boot"),
    ] {
        assert!(boot(line, mounted), "{line}");
    }
    // On the root file system itself everything is mounted.
    let machine = Machine::new().with(RELEASE_MEM, "").with("etc/fstab", "UUID=3 /var ext4 defaults 0 2\n");
    let machine =
        machine.with("hadump.conf", &format!("HADUMP_TO={}\n", Scratch::new("crash").path().display()));
    assert!(machine.boot("").1.starts_with("save "));
}

#[test]
fn a_dump_is_not_saved_through_a_link_that_leads_out_of_the_root_file_system() {
    for link in ["var", "var/crash"] {
        let machine = Machine::new().with(RELEASE_MEM, "").with("sysroot/etc/fstab", "UUID=1 / ext4 ro 0 1");
        let at = machine.path("sysroot").join(link);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::create_dir(machine.path("initramfs")).unwrap();
        std::os::unix::fs::symlink(machine.path("initramfs"), &at).unwrap();
        let found = machine.boot(machine.path("sysroot").to_str().unwrap());
        assert_eq!(found, (Some(0), String::new()), "{link}");
        assert!(machine.said().contains("left to hadump-save.service"), "{}", machine.said());
        assert_eq!(fs::read_dir(machine.path("initramfs")).unwrap().count(), 0);
    }
}

#[test]
fn the_root_file_system_is_made_writable_only_if_it_is_not_and_is_then_what_it_was() {
    for (options, mounts) in [("ro,relatime", "remount,rw\nremount,ro\n"), ("rw,errors=remount-ro", "")] {
        let machine = Machine::new().with(RELEASE_MEM, "");
        let sysroot = machine.path("sysroot");
        let machine = machine
            .with("root/proc/mounts", &format!("/dev/sda1 {} ext4 {options} 0 0\n", sysroot.display()));
        executable(&machine.path("bin/mount"), "#!/bin/sh\necho \"$2\" >> \"$CALLS.mount\"\n");
        assert_eq!(machine.boot(sysroot.to_str().unwrap()).0, Some(0));
        let called = fs::read_to_string(machine.path("calls.mount")).unwrap_or_default();
        assert_eq!(called, mounts, "{options}");
    }
}

#[test]
fn the_configuration_chooses_target_release_and_options() {
    let machine = Machine::new().with(RELEASE_MEM, "").with(
        "hadump.conf",
        "HADUMP_TO=/dev/mapper/dump\nHADUMP_RELEASE=never\nHADUMP_OPTIONS='-d 17 -c lzo'\n",
    );
    let (code, calls) = machine.boot("/sysroot");
    let root = machine.path("root").display().to_string();
    assert_eq!(
        (code, calls),
        (Some(0), format!("save --root {root} --to /dev/mapper/dump --release never -d 17 -c lzo\n"))
    );
    // What is commented out in the file that is shipped are the values that hold without it.
    let machine = Machine::new()
        .with(RELEASE_MEM, "")
        .with("hadump.conf", &text("hadump.conf").replace("#HADUMP_", "HADUMP_"));
    assert_eq!(machine.boot(machine.path("sysroot").to_str().unwrap()).1, machine.saves());
}

#[test]
fn a_failed_save_is_reported_and_reboots_only_when_asked_to() {
    for (status, conf, code, reboots) in [
        ("3", "", 0, false),
        ("4", "HADUMP_ON_FAILURE=reboot\n", 4, false),
        ("1", "", 1, false),
        ("1", "HADUMP_ON_FAILURE=reboot\n", 1, true),
        ("2", "", 1, false),
    ] {
        let machine = Machine::new().with(RELEASE_MEM, "").with("status", status).with("hadump.conf", conf);
        let machine = machine.with("hadump.conf", &format!("{conf}HADUMP_TO=/dev/null\n"));
        let (found, calls) = machine.boot("");
        assert_eq!((found, calls.contains("reboot -f")), (Some(code), reboots), "{status} {conf}");
        // The initramfs leaves its failures to the system's unit.
        let (found, calls) = machine.boot(machine.path("sysroot").to_str().unwrap());
        let before = usize::from(reboots);
        assert_eq!((found, calls.matches("reboot -f").count()), (Some(code), before), "{status} {conf}");
    }
}

#[test]
fn a_dump_that_was_saved_in_this_boot_is_left_alone_and_never_reboots_the_machine() {
    // Whether its memory waits, was given back, or is not even the dump's any more.
    for last_boot in ["saved", "given_back", "refused_by_the_kernel", "dump_waiting"] {
        let machine = Machine::new()
            .with(RELEASE_MEM, "")
            .with("status", "1")
            .with("hadump.conf", "HADUMP_ON_FAILURE=reboot\nHADUMP_REGISTER=yes\n")
            .with("answers/last_boot", &format!("{last_boot}\n"))
            .with("answers/saved.files", "/var/crash/host-20261128/vmcore\n");
        let sysroot = machine.path("sysroot");
        assert_eq!(machine.boot(sysroot.to_str().unwrap()), (Some(0), String::new()), "{last_boot}");
        assert!(machine.said().contains("saved in this boot already, as /var/crash/"), "{}", machine.said());
        assert!(!sysroot.exists(), "nothing was made for a save");
    }
}

#[test]
fn memory_that_somebody_else_gave_back_is_not_saved() {
    let machine = Machine::new()
        .with(RELEASE_MEM, "")
        .with("hadump.conf", "HADUMP_ON_FAILURE=reboot\n")
        .with("answers/last_boot", "given_back\n");
    assert_eq!(machine.boot(machine.path("sysroot").to_str().unwrap()), (Some(0), String::new()));
    assert!(machine.said().contains("--what-is-left"), "{}", machine.said());
}

#[test]
fn what_is_left_of_a_dump_that_the_kernel_refused_is_saved_without_advice_to_resume() {
    let machine = Machine::new()
        .with(RELEASE_MEM, "")
        .with("status", "4")
        .with("hadump.conf", "HADUMP_ON_FAILURE=reboot\n")
        .with("answers/last_boot", "refused_by_the_kernel\n");
    let found = machine.boot(machine.path("sysroot").to_str().unwrap());
    assert_eq!(found, (Some(4), machine.saves()));
    assert!(machine.said().contains("what firmware copied of the dump is saved"), "{}", machine.said());
    assert!(!machine.said().contains("resume"), "{}", machine.said());
}

#[test]
fn the_next_crash_is_registered_for_only_where_that_is_safe() {
    let registered = "root/sys/kernel/fadump/registered";
    for (readiness, expected) in
        [("not_registered", "1\n"), ("reboot_first", "0\n"), ("dump_active", "0\n"), ("", "0\n")]
    {
        let machine = Machine::new()
            .with(RELEASE_MEM, "")
            .with(registered, "0\n")
            .with("answers/readiness", readiness)
            .with(
                "answers/registration",
                "release gives the page of the crash-info header to the allocator\n",
            )
            .with("hadump.conf", "HADUMP_REGISTER=yes\nHADUMP_TO=/dev/null\n");
        assert_eq!(machine.boot("").0, Some(0));
        assert_eq!(fs::read_to_string(machine.path(registered)).unwrap(), expected, "{readiness}");
        let refused = machine.said().contains("not registered for the next crash");
        assert_eq!(refused, expected == "0\n", "{}", machine.said());
    }
}

#[test]
fn the_machine_of_a_registration_is_noted() {
    let registered = "root/sys/kernel/fadump/registered";
    let noted =
        |machine: &Machine| fs::read_to_string(machine.path("root/var/lib/hadump/registered-on")).ok();
    let machine = Machine::new().with(registered, "0\n");
    assert_eq!((machine.boot("--registered").0, noted(&machine)), (Some(0), None));
    let machine = Machine::new().with(registered, "1\n");
    assert_eq!((machine.boot("--registered").0, noted(&machine)), (Some(0), Some("IBM,0212345\n".into())));
    // After memory was released, if asked to.
    let machine = Machine::new()
        .with(RELEASE_MEM, "")
        .with(registered, "0\n")
        .with("answers/readiness", "not_registered\n")
        .with("hadump.conf", "HADUMP_REGISTER=yes\nHADUMP_TO=/dev/null\n");
    assert_eq!(machine.boot("").0, Some(0));
    assert_eq!(fs::read_to_string(machine.path(registered)).unwrap(), "1\n");
    assert_eq!(noted(&machine), Some("IBM,0212345\n".into()));
}

/// Debian's dracut and what it needs, unpacked: `HADUMP_DRACUT`.
fn dracut() -> Option<PathBuf> {
    let Some(packages) = std::env::var_os("HADUMP_DRACUT").map(PathBuf::from) else {
        skip(
            "no dracut (unpack dracut-core, udev, kmod, libkmod2 and cpio; HADUMP_DRACUT names the directory)",
        );
        return None;
    };
    assert!(packages.join("usr/bin/dracut").exists(), "{}: no usr/bin/dracut", packages.display());
    if !rustix::process::geteuid().is_root() {
        skip("only root can make a root directory for dracut");
        return None;
    }
    Some(packages)
}

#[test]
fn dracut_builds_an_initramfs_whose_hook_saves_a_dump_and_lets_the_boot_go_on() {
    let Some(packages) = dracut() else { return };
    let dump = corpus::dump(corpus::POWER).expect("testdata/ holds the POWER dump");
    let scratch = Scratch::new("image");
    let root = scratch.directory().join("root");
    for directory in ["usr", "proc", "dev", "sys", "tmp", "var/tmp", "etc/dracut.conf.d", "run", "image"] {
        fs::create_dir_all(root.join(directory)).expect("a directory of the root");
    }
    write(&root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n");
    for link in ["bin", "sbin", "lib", "lib64"] {
        std::os::unix::fs::symlink(Path::new("usr").join(link), root.join(link)).expect("a link of the root");
    }
    // What a package of hadump would install, over dracut's packages, over the host's /usr.
    let package = scratch.directory().join("package");
    let module = package.join("lib/dracut/modules.d/90hadump");
    fs::create_dir_all(package.join("sbin")).expect("sbin");
    fs::create_dir_all(&module).expect("the module's directory");
    fs::copy(HADUMP, package.join("sbin/hadump")).expect("room for a copy");
    fs::copy(dist("hadump-boot"), package.join("sbin/hadump-boot")).expect("hadump-boot");
    for file in ["module-setup.sh", "hadump-pre-pivot.sh"] {
        fs::copy(dist("dracut/90hadump").join(file), module.join(file)).expect("the module");
    }
    let script = "set -e
        mount -t overlay overlay -o lowerdir=\"$package:$packages/usr:/usr\" \"$root/usr\"
        mount --rbind /dev \"$root/dev\"
        mount -t proc proc \"$root/proc\"
        chroot \"$root\" /usr/bin/dracut --no-kernel --no-hostonly -m 'base hadump' --tmpdir /tmp --no-compress /image.cpio 1.2.3
        cd \"$root/image\"
        chroot \"$root\" /bin/sh -c 'cd /image && cpio -idm --quiet < /image.cpio'
        # The machine that the image boots on, and its root file system.
        mkdir -p machine/proc machine/sys/kernel/fadump sysroot
        : > machine/sys/kernel/fadump/release_mem
        : > machine/proc/vmcore
        echo 'root /sysroot tmpfs ro 0 0' > machine/proc/mounts
        mount --bind \"$vmcore\" machine/proc/vmcore
        # Mounted read-only, as an initramfs does it.
        mount -t tmpfs -o size=64M root \"$root/image/sysroot\"
        mount -o remount,ro \"$root/image/sysroot\"
        mount -t proc proc \"$root/image/proc\"
        chroot \"$root/image\" /bin/sh -c '
            export HADUMP_ROOT=/machine NEWROOT=/sysroot
            . /lib/dracut-lib.sh
            source_hook pre-pivot
            echo the boot goes on'
        cat machine/sys/kernel/fadump/release_mem; echo
        ! touch \"$root/image/sysroot/writable\" 2>/dev/null
        find \"$root/image/sysroot\"
        cp \"$(find \"$root/image/sysroot\" -name vmcore)\" \"$output\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "bash", "-c", script]);
    let vmcore = fs::canonicalize(&dump.elf).expect("the dump");
    let packages = fs::canonicalize(packages).expect("dracut");
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("root", &root).env("vmcore", vmcore);
    let run =
        Run::of(command.env("package", &package).env("packages", &packages).env("output", scratch.path()))
            .ok();
    // Nothing in this root tells what a release would free, so memory is kept.
    assert!(run.stdout.contains("the boot goes on\n\n"), "{}{}", run.stdout, run.stderr);
    check::same_frames(&Kdump::open(scratch.path()).bitmap2, &dump.bitmap(31)).unwrap();
}
