//! The ways in which distributions call makedumpfile after a crash: their command lines, through their pipes.
//!
//! The command lines are those that kdump-utils (Fedora, RHEL: `kdump.sh`, `kdumpctl`), openSUSE's kdump (`kdump-save`) and
//! Debian's kdump-tools (`kdump-config`) put together. kdump-tools is a package that can be had here, so its script runs as
//! it is; the others' pipes are laid by hand.

mod common;

use common::makedumpfile::{OURS, ours, theirs};
use common::reader::elf::Elf;
use common::reader::kdump::Kdump;
use common::run::{Run, Scratch};
use common::{check, peer, skip};
use corpus::Dump;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Options as the scripts have them, and the dump level that they ask for.
const COLLECTORS: [(&str, u32); 12] = [
    // kdump-utils: the default, on one CPU and on more; what its configuration files offer.
    ("-l --message-level 7 -d 31", 31),
    ("-l --message-level 7 -d 31 --num-threads=2", 31),
    ("-c --message-level 7 -d 31 --num-threads=2", 31),
    ("-l --message-level 7 -d 31 -F", 31),
    ("-c --message-level 7 -d 1 -F", 1),
    // Debian.
    ("-F -c -d 31", 31),
    ("-c -d 31 -F", 31),
    // openSUSE's kdump, for each KDUMP_DUMPFORMAT but raw and ELF.
    ("-F -c --num-threads 2 --message-level 6 -d 31", 31),
    ("-F -l --num-threads 2 --message-level 6 -d 15", 15),
    ("-F -p --num-threads 2 --message-level 15 -d 17", 17),
    ("-F -z  --message-level 6 -d 8", 8),
    ("-F -z --num-threads 2 --message-level 6 -d 0", 0),
];

/// Makes a dump as `program` does with these options, in a file either way.
fn collect(mut program: Command, options: &str, input: &Path) -> Scratch {
    let output = Scratch::new("vmcore");
    program.args(options.split_whitespace()).arg(input);
    if !options.contains("-F") {
        Run::of(program.arg(output.path())).ok();
        return output;
    }
    let stream = File::create(output.directory().join("stream")).expect("a file for the stream");
    let status = program.stdout(stream).stderr(Stdio::null()).status().expect("makedumpfile");
    assert!(status.success(), "{options}");
    let stream = File::open(output.directory().join("stream")).expect("the stream");
    let status = ours()
        .arg("-R")
        .arg(output.path())
        .stdin(stream)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(status.expect("makedumpfile -R").success(), "{options}");
    output
}

#[test]
fn scripts_command_lines_keep_the_pages_that_the_original_keeps() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    for (options, _) in COLLECTORS {
        let Some(original) = theirs() else { return };
        let (ours, theirs) = (collect(ours(), options, &dump.elf), collect(original, options, &dump.elf));
        let (ours, theirs) = (Kdump::open(ours.path()), Kdump::open(theirs.path()));
        check::same_frames(&ours.bitmap2, &theirs.bitmap2).unwrap_or_else(|e| panic!("{options}: {e}"));
        check::same_frames(&ours.bitmap1, &theirs.bitmap1).unwrap_or_else(|e| panic!("{options}: {e}"));
        assert_eq!(ours.dump_level, theirs.dump_level, "{options}");
        assert_eq!((&ours.uts[..], ours.time), (&theirs.uts[..], theirs.time), "{options}");
        assert!(ours.vmcoreinfo == theirs.vmcoreinfo, "{options}");
    }
}

fn keeps_what_is_expected(dump: &Dump) {
    for (options, level) in COLLECTORS {
        let output = collect(ours(), options, &dump.elf);
        let kdump = Kdump::open(output.path());
        check::same_frames(&kdump.bitmap2, &dump.bitmap(level)).unwrap_or_else(|e| panic!("{options}: {e}"));
        assert_eq!((kdump.dump_level, kdump.status & 8), (level.into(), 0), "{options}");
    }
    // openSUSE's ELF format.
    let output = collect(ours(), "-F -E --message-level 6 -d 31", &dump.elf);
    let (input, output) = (Elf::open(&dump.elf), Elf::open(output.path()));
    check::pages_of_elf(dump, &input, &output, &dump.bitmap(31)).unwrap();
}

#[test]
fn scripts_command_lines_keep_the_expected_pages_of_x86_64() {
    corpus::dump(corpus::X86_64).iter().for_each(keeps_what_is_expected);
}

#[test]
fn scripts_command_lines_keep_the_expected_pages_of_power_64k_radix() {
    corpus::dump(corpus::POWER).iter().for_each(keeps_what_is_expected);
}

#[test]
fn scripts_command_lines_keep_the_expected_pages_of_power_big_endian_4k_hash() {
    corpus::dump(corpus::POWER_BE).iter().for_each(keeps_what_is_expected);
}

/// A directory with a makedumpfile that is hadump, and an ssh that runs its command here.
fn programs(scratch: &Scratch) -> PathBuf {
    let bin = scratch.directory().join("bin");
    fs::create_dir(&bin).expect("a directory for programs");
    std::os::unix::fs::symlink(fs::canonicalize(&*OURS).expect("hadump"), bin.join("makedumpfile"))
        .expect("a link");
    // Options, then user@host, then the command: a remote shell gets it as one string.
    script(
        &bin.join("ssh"),
        "while :; do case \"$1\" in -i|-o) shift 2;; -*) shift;; *) break;; esac; done; shift; exec sh -c \"$*\"",
    );
    script(
        &bin.join("scp"),
        "while :; do case \"$1\" in -i|-o) shift 2;; -*) shift;; *) break;; esac; done; exec cp \"$1\" \"${2#*:}\"",
    );
    bin
}

fn script(path: &Path, body: &str) {
    fs::write(path, format!("#!/bin/sh\n{body}\n")).expect("a script");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a script");
}

/// Runs a piece of shell with hadump as makedumpfile, `$vmcore` and `$dir`.
fn shell(scratch: &Scratch, shell: &str, text: &str, vmcore: &Path) -> Run {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([programs(scratch)].into_iter().chain(std::env::split_paths(&path)));
    let mut command = Command::new(shell);
    command.args(["-euc", text]).env("PATH", path.expect("a PATH"));
    Run::of(command.env("vmcore", vmcore).env("dir", scratch.directory()))
}

fn power() -> Dump {
    corpus::dump(corpus::POWER).expect("testdata/ holds the POWER dump")
}

fn is_dump_of(dump: &Dump, path: &Path) {
    let kdump = Kdump::open(path);
    check::same_frames(&kdump.bitmap2, &dump.bitmap(31)).unwrap();
    assert_eq!((kdump.dump_level, kdump.status & 8), (31, 0));
    if let Some(python) = peer::python_kdumpfile() {
        check::pages_by_libkdumpfile(python, dump, path, &dump.bitmap(31)).unwrap();
    }
}

#[test]
fn kdump_utils_saves_to_a_file_system() {
    let (dump, scratch) = (power(), Scratch::new("vmcore"));
    shell(
        &scratch,
        "sh",
        "CORE_COLLECTOR='makedumpfile -l --message-level 7 -d 31'
         case $CORE_COLLECTOR in *-F* | *-E*) ;; *) CORE_COLLECTOR=\"$CORE_COLLECTOR --num-threads=$(nproc)\";; esac
         $CORE_COLLECTOR $vmcore $dir/vmcore-incomplete > $dir/console 2>&1
         sync -f $dir/vmcore-incomplete
         mv $dir/vmcore-incomplete $dir/vmcore",
        &dump.elf,
    )
    .ok();
    is_dump_of(&dump, scratch.path());
}

#[test]
fn kdump_utils_saves_over_ssh() {
    let (dump, scratch) = (power(), Scratch::new("vmcore"));
    shell(
        &scratch,
        "bash",
        "set -o pipefail
         opts='-i key -o BatchMode=yes -o StrictHostKeyChecking=yes'
         makedumpfile -l --message-level 7 -d 31 -F $vmcore |
             ssh $opts root@host \"umask 0077 && dd bs=512 of='$dir/vmcore-incomplete'\"
         ssh $opts root@host \"mv '$dir/vmcore-incomplete' '$dir/vmcore.flat'\"
         makedumpfile -R $dir/vmcore < $dir/vmcore.flat",
        &dump.elf,
    )
    .ok();
    is_dump_of(&dump, scratch.path());
}

#[test]
fn kdump_utils_saves_to_a_raw_disk_and_finds_the_dump_there_at_the_next_boot() {
    let (dump, scratch) = (power(), Scratch::new("vmcore"));
    shell(
        &scratch,
        "sh",
        "head -c 67108864 /dev/urandom > $dir/disk
         if makedumpfile -R $dir/vmcore < $dir/disk > /dev/null 2>&1; then exit 1; fi
         makedumpfile -l --message-level 7 -d 31 -F $vmcore |
             dd of=$dir/disk bs=512 conv=notrunc >> $dir/dd_progress 2>&1
         makedumpfile -R $dir/vmcore < $dir/disk > /dev/null 2>&1",
        &dump.elf,
    )
    .ok();
    is_dump_of(&dump, scratch.path());
}

#[test]
fn opensuses_kdump_saves_log_and_dump_through_a_fifo() {
    let (dump, scratch) = (power(), Scratch::new("vmcore"));
    let run = shell(
        &scratch,
        "bash",
        "SOURCE=$dir/fifo
         mkfifo $SOURCE
         SAVE_COMMAND='mkdir -p \"${DIR}\" && cat ${SOURCE} > \"${DIR}/${FILENAME}\"'
         DIR=$dir/saved FILENAME=dmesg
         makedumpfile -F --message-level 8 --dump-dmesg $vmcore > $SOURCE 2> $dir/stderr &
         eval ${SAVE_COMMAND}
         wait $!
         while IFS=' =' read KEY VALUE; do
             [[ OSRELEASE == \"$KEY\" || CRASHTIME == \"$KEY\" ]] && echo \"$KEY $VALUE\"
         done < $dir/stderr
         FILENAME=vmcore
         eval \"makedumpfile -F -c --num-threads 2 --message-level 6 -d 31  $vmcore > $SOURCE\" &
         eval ${SAVE_COMMAND}
         wait $!
         makedumpfile -R $dir/vmcore < $dir/saved/vmcore > /dev/null",
        &dump.elf,
    )
    .ok();
    assert!(
        run.stdout.contains("OSRELEASE 6.12.94-fadump\n") && run.stdout.contains("CRASHTIME 1"),
        "{}",
        run.stdout
    );
    assert_eq!(
        fs::read_to_string(scratch.directory().join("saved/dmesg")).unwrap(),
        dump.text("expected/dmesg.txt")
    );
    is_dump_of(&dump, scratch.path());
}

#[test]
fn a_failure_reaches_the_scripts_that_look_at_either_end_of_a_pipe() {
    let (dump, scratch) = (power(), Scratch::new("vmcore"));
    let run = shell(
        &scratch,
        "bash",
        "set -o pipefail
         makedumpfile -l -d 31 -F $dir/nothing | cat > $dir/a && exit 1
         mkfifo $dir/fifo
         makedumpfile -F -c -d 31 $vmcore > $dir/fifo 2>/dev/null &
         head -c 1000000 $dir/fifo > /dev/null
         wait $! && exit 2
         exit 0",
        &dump.elf,
    );
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}

/// Debian's package, unpacked: `HADUMP_KDUMP_TOOLS`, or what is installed.
fn kdump_tools() -> Option<PathBuf> {
    let root = PathBuf::from(std::env::var_os("HADUMP_KDUMP_TOOLS").unwrap_or_else(|| "/".into()));
    if !root.join("usr/sbin/kdump-config").exists() {
        skip(
            "no kdump-tools (apt-get download kdump-tools && dpkg -x; HADUMP_KDUMP_TOOLS names the directory)",
        );
        return None;
    }
    Some(root)
}

/// Makes the root directory of a machine after its crash and runs kdump-config in it. Everything that is not made here is the
/// host's /usr, which cannot be written to there.
fn kdump_config(scratch: &Scratch, vmcore: &Path, settings: &str) -> Option<Run> {
    let tools = kdump_tools()?;
    if !rustix::process::geteuid().is_root() {
        skip("only root can make a root directory for kdump-config");
        return None;
    }
    let root = scratch.directory().join("root");
    let bin = root.join("bin");
    for directory in ["usr", "proc", "dev", "etc/default", "var/crash", "tmp", "root/.ssh", "kdump-tools"] {
        fs::create_dir_all(root.join(directory)).expect("a directory of the root");
    }
    for link in ["lib", "lib64", "sbin"] {
        std::os::unix::fs::symlink(Path::new("usr").join(link), root.join(link)).expect("a link of the root");
    }
    // /bin comes first on kdump-config's PATH, so the makedumpfile there hides one of the host's.
    fs::rename(programs(scratch), &bin).expect("bin");
    fs::remove_file(bin.join("makedumpfile")).expect("the link");
    fs::copy(fs::canonicalize(&*OURS).expect("hadump"), bin.join("makedumpfile")).expect("room for a copy");
    // It has no syslog to write to.
    script(&bin.join("logger"), "exit 0");
    std::os::unix::fs::symlink("/usr/bin/sh", bin.join("sh")).expect("a shell");
    let defaults =
        fs::read_to_string(tools.join("usr/share/kdump-tools/kdump-tools.conf")).expect("its configuration");
    fs::write(root.join("etc/default/kdump-tools"), defaults + "\n" + settings).expect("its configuration");
    fs::copy(tools.join("usr/sbin/kdump-config"), root.join("kdump-tools/kdump-config")).expect("its script");
    fs::write(root.join("proc/iomem"), "").expect("iomem");
    File::create(root.join("proc/vmcore")).expect("a place for the dump");
    File::create(root.join("dev/null")).expect("a place for the null device");
    let mounts = "set -e
        mount --bind -o ro /usr \"$root/usr\"
        mount -o remount,bind,ro \"$root/usr\"
        mount --bind \"$vmcore\" \"$root/proc/vmcore\"
        mount --bind /dev/null \"$root/dev/null\"
        exec chroot \"$root\" /bin/sh /kdump-tools/kdump-config savecore";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", mounts]);
    let vmcore = fs::canonicalize(vmcore).expect("the dump");
    Some(Run::of(
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("root", &root)
            .env("vmcore", vmcore),
    ))
}

/// The only file below `directory` whose name begins so.
fn only(directory: &Path, name: &str) -> PathBuf {
    let below =
        |directory: &Path| fs::read_dir(directory).expect("a directory").map(|e| e.expect("an entry").path());
    let files: Vec<PathBuf> =
        below(directory).flat_map(|directory| below(&directory).collect::<Vec<_>>()).collect();
    let is_named = |path: &&PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(name));
    let found: Vec<_> = files.iter().filter(is_named).collect();
    let [one] = found[..] else { panic!("{name}: {files:?}") };
    one.clone()
}

#[test]
fn debians_kdump_tools_saves_a_dump_with_hadump_in_place_of_the_original() {
    let dump = power();
    for (settings, unpack) in [
        ("", None),
        ("KDUMP_COMPRESSION=gzip\nMAKEDUMP_ARGS=\"-l -d 31\"\n", Some("gzip")),
        ("SSH=root@host\nSSH_KEY=/root/.ssh/key\nHOSTTAG=hostname\n", None),
    ] {
        let scratch = Scratch::new("vmcore");
        let Some(run) = kdump_config(&scratch, &dump.elf, settings) else { return };
        let run = run.ok();
        let crash = scratch.directory().join("root/var/crash");
        assert_eq!(
            fs::read_to_string(only(&crash, "dmesg.")).unwrap(),
            dump.text("expected/dmesg.txt"),
            "{settings}"
        );
        let stream = only(&crash, "dump.");
        assert!(run.stderr.contains("makedumpfile Completed."), "{settings}: {}", run.stderr);
        let mut stream = File::open(stream).unwrap();
        if let Some(unpack) = unpack {
            let file = File::create(scratch.directory().join("stream")).unwrap();
            assert!(Command::new(unpack).arg("-dc").stdin(stream).stdout(file).status().unwrap().success());
            stream = File::open(scratch.directory().join("stream")).unwrap();
        }
        let arranged =
            ours().args([OsStr::new("-R"), scratch.path().as_os_str()]).stdin(stream).output().unwrap();
        assert!(arranged.status.success(), "{settings}");
        is_dump_of(&dump, scratch.path());
    }
}
