//! Whose the memory of a dump is after the second boot, in every state that a kernel can be in, and what each command
//! makes of it.

mod common;

use common::model::root_with;
use common::run::{self, Run as Output, Scratch};
use common::saving::{crashed, json, save};
use phyp_model::faults::{Amount, Fault};
use phyp_model::linux::AreaEnd;
use phyp_model::release::Written;
use phyp_model::root::RootOptions;
use phyp_model::scenario::{self, Dirt, Event, Run};
use phyp_model::{Extent, Linux, Machine, Mode, Options};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const MIB: u64 = 1 << 20;

/// A machine of this kernel, with RTAS where a release does not touch it, on which a dump waits.
fn options(linux: Linux) -> Options {
    Options {
        mode: Mode::Fadump(linux),
        parameter_area: linux.facts().parameter_area,
        ..Options::small_fadump()
    }
}

fn waiting(linux: Linux) -> Run {
    crashed(&options(linux), 7)
}

fn given_back(linux: Linux) -> Run {
    let mut run = waiting(linux);
    assert_eq!(run.write_release_mem("1").unwrap(), Written::Accepted);
    run
}

/// The kernel finds fault with what the firmware copied, and frees everything before a program runs.
fn refused(linux: Linux) -> Run {
    let mut run = given_back(linux);
    run.write_registered("1").unwrap();
    let run = run.crash_again(&[Fault::Copied(2, Amount::Half)], Dirt::Whole).unwrap();
    assert!(run.rejected.is_some() && run.released());
    run
}

/// The root of a machine in a boot that has a name.
struct Booted(Scratch);

impl Booted {
    fn new(run: &Run) -> Self {
        let root = root_with(run, &RootOptions::default());
        let boot = root.path().join("proc/sys/kernel/random");
        fs::create_dir_all(&boot).unwrap();
        fs::write(boot.join("boot_id"), "0d2f0c3a-7a1e-4b57-9f67-27b3a4f2b5c1\n").unwrap();
        Self(root)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// The kernel goes on: its files are other ones, and what hadump noted and saved in this boot stays.
    fn goes_on(&mut self, run: &Run) {
        let next = Self::new(run);
        for kept in ["run", "sysroot"] {
            let _ = fs::rename(self.path().join(kept), next.path().join(kept));
        }
        self.0 = next.0;
    }

    fn hadump(&self, words: &[&str]) -> Output {
        let words =
            words.iter().map(|word| if *word == "ROOT" { self.path().to_str().unwrap() } else { word });
        run::hadump(words)
    }

    fn status(&self) -> Value {
        json(&self.hadump(&["status", "--json", "--root", "ROOT"]))
    }

    /// Runs hadump-boot, with the real hadump; returns its exit code, and what it said on both outputs.
    fn boot(&self, conf: &str) -> (Option<i32>, String) {
        let bin = Scratch::new("bin");
        std::os::unix::fs::symlink(run::HADUMP, bin.directory().join("hadump")).unwrap();
        fs::write(bin.directory().join("reboot"), "#!/bin/sh\necho REBOOTED\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(bin.directory().join("reboot"), mode).unwrap();
        let configuration = bin.directory().join("hadump.conf");
        fs::write(&configuration, conf).unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(
            [bin.directory().to_owned()].into_iter().chain(std::env::split_paths(&path)),
        );
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/hadump-boot");
        let mut command = Command::new("sh");
        command.arg(script).arg(self.path().join("sysroot")).env("PATH", path.unwrap());
        command.env("HADUMP_ROOT", self.path()).env("HADUMP_CONF", configuration);
        let run = Output::of(&mut command);
        (run.code, format!("{}{}", run.stdout, run.stderr))
    }

    fn dumps(&self) -> Vec<PathBuf> {
        let crash = self.path().join("sysroot/var/crash");
        let directories = fs::read_dir(crash).into_iter().flatten().map(|entry| entry.unwrap().path());
        directories.flat_map(|d| fs::read_dir(d).unwrap().map(|entry| entry.unwrap().path())).collect()
    }
}

fn answers(status: &Value) -> (&str, &str) {
    (status["last_boot"].as_str().unwrap(), status["readiness"].as_str().unwrap())
}

/// Whether registering again is safe after a release by this kernel.
fn registers_safely(linux: Linux) -> bool {
    linux.facts().area_end == AreaEnd::WholePage
}

#[test]
fn status_is_true_in_every_state_of_every_kernel() {
    for linux in Linux::ALL {
        let waits = Booted::new(&waiting(linux)).status();
        assert_eq!(answers(&waits), ("dump_waiting", "dump_active"), "{linux:?}: {waits:#}");
        assert_eq!(waits["dump"]["whole"], true, "{linux:?}: {waits:#}");

        let mut run = given_back(linux);
        let released = Booted::new(&run);
        let status = released.hadump(&["status", "--root", "ROOT"]);
        assert_eq!(status.code, Some(0), "{linux:?}: {}{}", status.stdout, status.stderr);
        let safe = registers_safely(linux);
        let next = if safe { "not_registered" } else { "reboot_first" };
        assert_eq!(answers(&released.status()), ("given_back", next), "{linux:?}: {}", status.stdout);
        assert_eq!(
            status.stdout.contains("reboot before the next crash can be dumped"),
            !safe,
            "{}",
            status.stdout
        );

        run.write_registered("1").unwrap();
        let again = Booted::new(&run);
        let next = if safe { "registered" } else { "registered_unsafe" };
        assert_eq!(answers(&again.status()), ("given_back", next), "{linux:?}");
    }
    for linux in [Linux::V6_1, Linux::V6_12, Linux::V7_2] {
        let refused = Booted::new(&refused(linux));
        let status = refused.hadump(&["status", "--root", "ROOT"]);
        assert_eq!(status.code, Some(4), "{linux:?}: {}{}", status.stdout, status.stderr);
        assert!(status.stdout.contains("refused by the kernel"), "{linux:?}: {}", status.stdout);
    }
}

#[test]
fn a_saved_dump_is_called_so_whether_its_memory_is_kept_or_was_given_back() {
    let mut run = waiting(Linux::V6_12);
    let mut machine = Booted::new(&run);
    let target = Scratch::new("vmcore");
    save(machine.path(), target.path(), &["--release", "never"]).ok();
    let kept = machine.status();
    assert_eq!(answers(&kept), ("saved", "dump_active"));
    assert_eq!(kept["saved"]["complete"], true, "{kept:#}");
    // Registering is impossible until the memory is given back, and this machine's may not be.
    let words = machine.hadump(&["status", "--root", "ROOT"]).ok().stdout;
    let (possible, next) = (kept["release"]["possible"] == true, "next crash  ");
    let next = words.split_once(next).expect("what the next crash brings").1;
    assert_eq!(next.starts_with("not dumped unless the memory is given back"), possible, "{words}");
    assert_eq!(next.starts_with("reboot before the next crash"), !possible, "{words}");
    let file = machine.hadump(&["status", "--only", "saved.files", "--root", "ROOT"]).ok().stdout;
    assert_eq!(file.trim_end(), target.path().to_str().unwrap());
    // Saved again, when somebody asks for that.
    let second = Scratch::new("vmcore");
    save(machine.path(), second.path(), &[]).ok();
    run.write_release_mem("1").unwrap();
    machine.goes_on(&run);
    let status = machine.status();
    assert_eq!(status["last_boot"], "given_back");
    assert!(status["evidence"].to_string().contains("/proc/vmcore was there earlier"), "{status:#}");
}

#[test]
fn a_boot_unit_that_always_passes_resume_saves_once_a_boot() {
    let machine = Booted::new(&waiting(Linux::V6_12));
    let target = Scratch::new("crash");
    let to = format!("{}/", target.path().display());
    for _ in 0..3 {
        machine.hadump(&["save", "--root", "ROOT", "--to", &to, "--resume"]).ok();
        assert_eq!(run::names(target.path()).len(), 1);
    }
    // Without it somebody wants another one.
    machine.hadump(&["save", "--root", "ROOT", "--to", &to]).ok();
    assert_eq!(run::names(target.path()).len(), 2);
}

#[test]
fn memory_that_was_given_back_is_not_read_as_the_dumps() {
    let run = given_back(Linux::V6_12);
    let machine = Booted::new(&run);
    for words in [
        &["convert", "ROOT", "-o", "/dev/null", "--force"][..],
        &["dmesg", "ROOT"],
        &["regs", "ROOT"],
        &["hpte", "ROOT"],
        &["info", "ROOT"],
        &["pages", "ROOT"],
        &["verify", "ROOT"],
        &["save", "--root", "ROOT", "--to", "/var/tmp/no-such-vmcore"],
    ] {
        let output = machine.hadump(words);
        assert_eq!(output.code, Some(1), "{words:?}: {}{}", output.stdout, output.stderr);
        assert!(output.stderr.contains("given back to the running system"), "{words:?}: {}", output.stderr);
    }
    // What the firmware copied is still reserved.
    machine.hadump(&["regs", "ROOT", "--what-is-left"]).ok();
    let log = machine.hadump(&["dmesg", "ROOT", "--what-is-left"]);
    assert_eq!(log.code, Some(0), "{}", log.stderr);
    let target = Scratch::new("vmcore");
    let saved = save(machine.path(), target.path(), &["-d", "0", "--what-is-left"]);
    assert_eq!(saved.code, Some(4), "{}", saved.stderr);
    let report = json(&saved);
    let boot = run.options.boot_top / run.options.page_size;
    let pages = &report["pages"];
    let read = pages["data"].as_u64().unwrap() + pages["zero"].as_u64().unwrap();
    assert_eq!(read, boot, "{pages:#}");
    assert!(pages["lost"].as_u64().unwrap() > 0);
    assert_eq!(report["journal"], Value::Null, "there is nothing to resume");
}

#[test]
fn hadump_boot_saves_once_and_does_nothing_the_second_time() {
    let conf = "HADUMP_ON_FAILURE=reboot\nHADUMP_RELEASE=never\n";
    let mut run = waiting(Linux::V6_12);
    let mut machine = Booted::new(&run);
    let (code, said) = machine.boot(conf);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the dump is saved"), "{said}");
    let dumps = machine.dumps();
    assert!(dumps.iter().any(|path| path.ends_with("vmcore")), "{dumps:?}");
    for _ in 0..2 {
        let (code, said) = machine.boot(conf);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("saved in this boot already") && !said.contains("REBOOTED"), "{said}");
        assert_eq!(machine.dumps().len(), dumps.len());
        // Once with the memory kept, once after it was given back.
        let _ = run.write_release_mem("1").unwrap();
        machine.goes_on(&run);
    }
}

#[test]
fn hadump_boot_does_not_save_what_somebody_else_gave_back() {
    let machine = Booted::new(&given_back(Linux::V7_2));
    let (code, said) = machine.boot("HADUMP_ON_FAILURE=reboot\n");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("given back without hadump") && !said.contains("REBOOTED"), "{said}");
    assert!(machine.dumps().is_empty());
}

#[test]
fn hadump_boot_saves_what_is_left_of_a_refused_dump_once() {
    for linux in [Linux::V6_1, Linux::V6_12, Linux::V7_2] {
        let machine = Booted::new(&refused(linux));
        let (code, said) = machine.boot("HADUMP_ON_FAILURE=reboot\n");
        assert_eq!(code, Some(4), "{linux:?}: {said}");
        assert!(said.contains("what firmware copied of the dump is saved"), "{linux:?}: {said}");
        assert!(!said.contains("--resume") && !said.contains("REBOOTED"), "{linux:?}: {said}");
        let dumps = machine.dumps();
        assert!(dumps.iter().any(|path| path.ends_with("vmcore-incomplete")), "{linux:?}: {dumps:?}");
        let (code, said) = machine.boot("HADUMP_ON_FAILURE=reboot\n");
        assert_eq!(code, Some(0), "{linux:?}: {said}");
        assert_eq!(machine.dumps(), dumps, "{linux:?}");
    }
}

#[test]
fn memory_is_kept_where_a_release_would_free_rtas() {
    let above = Some(Extent::new(40 * MIB, 0x1_0000));
    for linux in [Linux::V6_1, Linux::V6_12, Linux::V7_2] {
        let run = crashed(&Options { rtas: above, ..options(linux) }, 7);
        let machine = Booted::new(&run);
        let target = Scratch::new("vmcore");
        let saved = save(machine.path(), target.path(), &["--release", "progressive"]).ok();
        let report = json(&saved);
        assert_eq!(report["exit_code"], 0);
        assert!(report["released"]["kept"].as_str().unwrap().contains("RTAS"), "{linux:?}: {report:#}");
        assert_eq!(report["released"]["all"], false);
        let file = fs::read_to_string(machine.path().join("sys/kernel/fadump/release_mem")).unwrap();
        assert_eq!(file, "", "nothing was written to it");
        let status = machine.status();
        assert_eq!(status["release"]["possible"], false, "{status:#}");
    }
    // Where it lies in boot memory nothing is in the way.
    let machine = Booted::new(&waiting(Linux::V6_12));
    let report = json(&save(machine.path(), Scratch::new("vmcore").path(), &["--release", "after"]).ok());
    assert_eq!((&report["released"]["kept"], &report["released"]["all"]), (&Value::Null, &true.into()));
}

#[test]
fn pages_that_this_boots_rtas_overwrote_in_the_copy_are_lost() {
    // In the dump area: the firmware's copy of boot memory begins at its second page.
    let inside = Extent::new(20 * MIB, 0x1_0000);
    let run = crashed(&Options { rtas: Some(inside), ..options(Linux::V6_12) }, 7);
    let copy = run.truth.copied.iter().find(|copy| copy.source.start == 0).unwrap();
    let lost = inside.start - copy.destination + copy.source.start;
    let machine = Booted::new(&run);
    // As the kernel shows it, and from memory.
    for vmcore in [true, false] {
        if !vmcore {
            fs::remove_file(machine.path().join("proc/vmcore")).unwrap();
        }
        let pages = machine.hadump(&["pages", "ROOT"]);
        let page = lost / run.options.page_size;
        assert!(pages.stdout.contains(&format!("page {page} lost")), "{}{}", pages.stdout, pages.stderr);
        assert_eq!(pages.stdout.matches(" lost").count(), 1, "{vmcore}");
    }
}

#[test]
fn an_ordinary_boot_says_whether_the_next_dumps_memory_can_be_given_back() {
    let above = Some(Extent::new(40 * MIB, 0x1_0000));
    let machine = Machine::new(Options { rtas: above, ..options(Linux::V6_12) }).unwrap();
    let next = scenario::run(machine, Event::CrashUnregistered, &[], Dirt::Whole).unwrap();
    let machine = Booted::new(&next);
    let status = machine.hadump(&["status", "--root", "ROOT"]).ok();
    assert!(
        status.stdout.contains(
            "afterwards memory cannot be given back without a reboot, because release would free RTAS"
        ),
        "{}",
        status.stdout
    );
}

#[test]
fn a_registration_is_recorded_where_the_machine_has_a_name_and_is_no_failure_where_not() {
    let root = Scratch::new("root");
    let file = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    file("proc/device-tree/rtas/ibm,configure-kernel-dump", "x");
    file("sys/kernel/fadump/enabled", "1\n");
    file("sys/kernel/fadump/registered", "1\n");
    let root = root.path().to_str().unwrap();
    let record = || run::hadump(["status", "--record-registration", "--root", root]);
    let output = record();
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert!(output.stderr.contains("system-id"), "{}", output.stderr);
    file("proc/device-tree/system-id", "IBM,0212345\0");
    record().ok();
    let noted = fs::read_to_string(Path::new(root).join("var/lib/hadump/registered-on")).unwrap();
    assert_eq!(noted, "IBM,0212345\n");
}
