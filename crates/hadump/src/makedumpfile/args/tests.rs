//! The command lines that capture scripts build, and what makedumpfile 1.7.2 answers to wrong ones.

use super::{Job, MessageLevel, Options, Refusal, Target};
use dumpfile::codec::Method;
use std::ffi::OsString;
use vmcore::VirtAddr;

fn parse(line: &str) -> (Options, Result<Job, Refusal>) {
    Options::parse(line.split_whitespace().map(OsString::from))
}

fn job(line: &str) -> Job {
    parse(line).1.unwrap_or_else(|refusal| panic!("{line}: {refusal:?}"))
}

fn create(input: &str, output: &str) -> Job {
    Job::Create { input: input.into(), output: Target::File(output.into()) }
}

#[test]
fn capture_scripts_command_lines_are_taken() {
    // kdump-utils, to a file system and over ssh; Debian; openSUSE.
    let (options, made) =
        parse("-l --message-level 7 -d 31 --num-threads=4 /proc/vmcore /var/crash/vmcore-incomplete");
    assert_eq!(made, Ok(create("/proc/vmcore", "/var/crash/vmcore-incomplete")));
    assert_eq!((options.codec, options.threads.map(|n| n.get())), (Some(Method::Lzo), Some(4)));
    assert_eq!(options.levels.iter().map(|l| l.bits()).collect::<Vec<_>>(), [31]);
    let stream = Job::Create { input: "/proc/vmcore".into(), output: Target::Stdout };
    for line in [
        "-l --message-level 7 -d 31 -F /proc/vmcore",
        "-F -c -d 31 /proc/vmcore",
        "-F -c --num-threads 2 --message-level 6 -d 31 /proc/vmcore",
        "-F -E --message-level 14 -d 0 /proc/vmcore",
        "-z -d 31 /proc/vmcore -",
    ] {
        assert_eq!(job(line), stream, "{line}");
    }
    let log = |output| Job::Dmesg { input: "/proc/vmcore".into(), output };
    assert_eq!(job("-F --message-level 8 --dump-dmesg /proc/vmcore"), log(Target::Stdout));
    assert_eq!(job("--dump-dmesg /proc/vmcore dmesg.1"), log(Target::File("dmesg.1".into())));
    assert_eq!(job("-R vmcore"), Job::Rearrange { output: "vmcore".into() });
}

#[test]
fn the_other_jobs_are_told_by_their_options() {
    let parts = || vec!["a".into(), "b".into()];
    assert_eq!(job("--reassemble a b c"), Job::Reassemble { parts: parts(), output: "c".into() });
    assert_eq!(job("--split -d 31 in a b"), Job::Split { input: "in".into(), outputs: parts() });
    assert_eq!(job("--mem-usage /proc/kcore"), Job::MemUsage { input: "/proc/kcore".into() });
    assert_eq!(job("-f --mem-usage /proc/kcore"), Job::MemUsage { input: "/proc/kcore".into() });
    let generate = Job::GenerateVmcoreinfo { output: "info".into(), vmlinux: "vmlinux".into() };
    assert_eq!(job("-g info -x vmlinux"), generate);
    assert_eq!(job("--help -d 31"), Job::Help);
    assert_eq!(job("-v x"), Job::Version);
}

#[test]
fn what_needs_no_tuning_is_accepted() {
    let line = "-b 8 --cyclic-buffer 1024 --splitblock-size 1024 --work-dir /tmp in out";
    assert_eq!(job(line), create("in", "out"));
    assert!(!parse(line).0.non_mmap && parse("--non-mmap in out").0.non_mmap);
}

#[test]
fn levels_sizes_and_numbers_are_read_as_makedumpfile_reads_them() {
    let levels = |line| parse(line).0.levels.iter().map(|l| l.bits()).collect::<Vec<_>>();
    assert_eq!(levels("in out"), [0]);
    assert_eq!(levels("-d 17 in out"), [17]);
    assert_eq!(levels("-d 1,8,31 in out"), [1, 8, 31]);
    assert_eq!(levels("-d 3l in out"), [3]);
    assert_eq!(parse("-d 3l in out").0.remarks, ["-d 3l: read as 3"]);
    assert_eq!(parse("-d abc in out").0.remarks, ["-d abc: read as 0"]);
    for (line, message) in [
        ("-d 32 in out", "Dump_level(32) is invalid."),
        ("-d -1 in out", "Dump_level(-1) is invalid."),
        ("-d 1,99 in out", "Dump_level(99) is invalid."),
        ("-d , in out", "Dump_level(,) is invalid."),
        ("-L 0 in out", "Limit size(0) is invalid."),
        ("-L 10X in out", "Limit size(10X) is invalid."),
        ("-L 16E in out", "Limit size(16E) is invalid."),
        ("--message-level 32 in out", "Message_level(32) is invalid."),
    ] {
        assert_eq!(parse(line).1, Err(Refusal::Value(message.into())), "{line}");
    }
    for (size, bytes) in
        [("4096", 4096), ("2M", 2 << 20), ("0x10k", 0x10 << 10), ("1g", 1 << 30), ("0xe", 14)]
    {
        assert_eq!(parse(&format!("-L {size} in out")).0.limit, Some(bytes), "{size}");
    }
    assert_eq!(parse("--vtop 0xffffffff81000000 in out").0.vtop, Some(VirtAddr(0xffff_ffff_8100_0000)));
    assert_eq!(parse("--num-threads -3 in out").0.threads, None);
}

#[test]
fn debugging_messages_and_counts_come_on_top_of_a_level_wherever_they_stand() {
    let level = |line| parse(line).0.messages;
    assert_eq!(level("in out"), MessageLevel(7));
    assert_eq!(level("-D --message-level 6 in out"), MessageLevel(14));
    assert_eq!(level("--message-level 0 --show-stats in out"), MessageLevel(16));
    assert_eq!(level("--message-level 31 --message-level 1 in out"), MessageLevel(1));
    assert_eq!(level("--check-params --message-level 0 in out"), MessageLevel(7));
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    for line in [
        "-l",
        "-l in",
        "-l in out more",
        "-F in out",
        "-c -E in out",
        "-i info -x vmlinux in out",
        "-F --split in a b",
        "--split in a",
        "--split -E in a b",
        "--split --num-threads 2 in a b",
        "--num-threads 2 -E in out",
        "--config rules in out",
        "--partial-dmesg in out",
        "--dry-run --dump-dmesg in out",
        "-g info",
        "-g info -x vmlinux in",
        "-g info -x vmlinux --dry-run",
        "-R",
        "-R a b",
        "-R -d 31 a",
        "-R -c a",
        "--reassemble a",
        "--reassemble -d 31 a b",
        "--reassemble --dry-run a b",
    ] {
        assert!(matches!(parse(line).1, Err(Refusal::Usage(_))), "{line}: {:?}", parse(line).1);
    }
}

#[test]
fn what_is_not_supported_is_refused_by_its_name() {
    for (option, line) in [
        ("--diskset", "--diskset a --diskset b in out"),
        ("--eppic", "--eppic macro -x vmlinux in out"),
        ("--extension", "--extension x.so in out"),
    ] {
        let Err(Refusal::Unsupported(what)) = parse(line).1 else { panic!("{line}") };
        assert!(what.starts_with(&format!("{option}: ")), "{what}");
    }
}

#[test]
fn what_hadump_needs_not_is_accepted_with_a_remark() {
    for (option, line) in [
        ("-e", "-e --work-dir /tmp in out"),
        ("-e", "-ecd31 in out"),
        ("--xen-syms", "-X --xen-syms syms in out"),
        ("--xen-vmcoreinfo", "--xen-vmcoreinfo info -X in out"),
        ("--xen_phys_start", "--xen_phys_start 0 in out"),
    ] {
        let (options, job) = parse(line);
        assert_eq!(job, Ok(create("in", "out")), "{line}");
        assert!(options.remarks[0].starts_with(&format!("{option}: ")), "{:?}", options.remarks);
        assert_eq!(options.xen, line.contains("-X"), "{line}");
    }
    assert!(parse("--dump-dmesg --partial-dmesg in out").1.is_ok());
}

#[test]
fn an_option_that_does_not_exist_ends_the_reading() {
    let (options, job) = parse("-F -q -d 99");
    assert_eq!(job, Err(Refusal::Getopt("invalid option -- 'q'".into())));
    assert!(options.flatten, "the refusal goes to standard error");
}
