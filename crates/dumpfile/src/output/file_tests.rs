use super::*;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_name_appears_only_at_commit_and_only_its_owner_may_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("vmcore");
    let out = OutputFile::create(&target, false).unwrap();
    out.write_at(4, b"tail").unwrap();
    out.write_at(0, b"head").unwrap();
    assert!(!target.exists());
    assert_eq!(out.commit().unwrap(), target);
    assert_eq!(fs::read(&target).unwrap(), b"headtail");
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(names(dir.path()), ["vmcore"]);
}

#[test]
fn a_dropped_output_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = OutputFile::create(&dir.path().join("vmcore"), false).unwrap();
    out.write_at(0, b"x").unwrap();
    drop(out);
    assert!(names(dir.path()).is_empty());
}

#[test]
fn an_existing_file_is_kept_unless_forced() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("vmcore");
    fs::write(&target, "old").unwrap();
    let error = OutputFile::create(&target, false).unwrap_err();
    assert_eq!(error.to_string(), format!("{}: cannot replace it unless told to", target.display()));
    let out = OutputFile::create(&target, true).unwrap();
    out.write_at(0, b"new").unwrap();
    out.commit().unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"new");
}

#[test]
fn a_file_that_took_the_name_meanwhile_survives_and_so_does_the_dump() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("vmcore");
    let out = OutputFile::create(&target, false).unwrap();
    out.write_at(0, b"dump").unwrap();
    fs::write(&target, "other").unwrap();
    let error = out.commit().unwrap_err().to_string();
    assert_eq!(fs::read(&target).unwrap(), b"other");
    let left = dir.path().join("vmcore-incomplete");
    assert!(error.contains(left.to_str().unwrap()), "{error}");
    assert_eq!(fs::read(left).unwrap(), b"dump");
}

#[test]
fn a_symbolic_link_is_replaced_and_never_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (target, victim) = (dir.path().join("vmcore"), dir.path().join("victim"));
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, &target).unwrap();
    assert!(OutputFile::create(&target, false).is_err());
    let out = OutputFile::create(&target, true).unwrap();
    out.write_at(0, b"dump").unwrap();
    out.commit().unwrap();
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    assert!(target.symlink_metadata().unwrap().is_file());
}

#[test]
fn what_is_no_regular_file_is_refused_even_by_force() {
    let dir = tempfile::tempdir().unwrap();
    assert!(OutputFile::create(dir.path(), true).is_err());
    assert!(OutputFile::create(Path::new("/dev/null"), true).is_err());
}

#[test]
fn incomplete_dumps_are_named_so_and_do_not_replace_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("vmcore");
    for expected in ["vmcore-incomplete", "vmcore-incomplete.2", "vmcore-incomplete.3"] {
        let out = OutputFile::create(&target, false).unwrap();
        out.write_at(0, b"part").unwrap();
        assert_eq!(out.keep_incomplete().unwrap(), dir.path().join(expected));
    }
    assert!(!target.exists());
}

#[test]
fn a_file_has_a_name_that_somebody_finds_from_the_first_byte_on() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("vmcore-incomplete"), "of an earlier crash").unwrap();
    let out = OutputFile::create(&dir.path().join("vmcore"), true).unwrap();
    let in_place = OutputFile::create(&dir.path().join("dump-incomplete"), false).unwrap();
    in_place.write_at(0, b"part").unwrap();
    assert_eq!(names(dir.path()), ["dump-incomplete", "vmcore-incomplete", "vmcore-incomplete.2"]);
    assert!(OutputFile::create(&dir.path().join("dump-incomplete"), false).is_err());
    assert_eq!(in_place.commit().unwrap(), dir.path().join("dump-incomplete"));
    out.commit().unwrap();
    assert_eq!(names(dir.path()), ["dump-incomplete", "vmcore", "vmcore-incomplete"]);
    assert_eq!(fs::read(dir.path().join("vmcore-incomplete")).unwrap(), b"of an earlier crash");
    // Replaced by force only when there is something to replace it by.
    for (target, name) in [("vmcore", "vmcore-incomplete"), ("dump-incomplete", "dump-incomplete")] {
        let out = OutputFile::create(&dir.path().join(target), true).unwrap();
        out.write_at(0, b"newer").unwrap();
        assert_eq!(out.keep_incomplete().unwrap(), dir.path().join(name));
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), b"newer");
    }
    assert_eq!(names(dir.path()), ["dump-incomplete", "vmcore", "vmcore-incomplete"]);
}

#[test]
fn what_the_system_cannot_write_out_is_kept_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("vmcore");
    let ends: [fn(OutputFile) -> Result<PathBuf, Error>; 2] =
        [OutputFile::commit, OutputFile::keep_incomplete];
    for end in ends {
        for begin in [OutputFile::create, OutputFile::create_resumable] {
            let out = begin(&target, true).unwrap();
            out.write_at(0, b"pages").unwrap();
            // Another fsync would find all well.
            out.syncing.failed.store(true, Ordering::Relaxed);
            let error = end(out).unwrap_err();
            let name = dir.path().join("vmcore-incomplete");
            assert!(matches!(&error, Error::NotDurable { path, .. } if *path == name), "{error}");
            assert!(error.to_string().contains("vmcore-incomplete"), "{error}");
            assert_eq!(names(dir.path()), ["vmcore-incomplete"]);
            assert_eq!(fs::read(&name).unwrap(), b"pages");
            fs::remove_file(name).unwrap();
        }
    }
}

#[test]
fn parts_are_written_one_behind_the_other_however_many_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("vmcore");
    let out = OutputFile::create(&target, false).unwrap();
    let bytes: Vec<u8> = (0..3000u32).map(|i| i as u8).collect();
    let mut parts: Vec<IoSlice<'_>> = bytes.chunks(1).map(IoSlice::new).collect();
    parts.insert(7, IoSlice::new(&[]));
    parts.push(IoSlice::new(&[]));
    out.write_parts_at(10, &parts).unwrap();
    out.commit().unwrap();
    assert_eq!(&fs::read(&target).unwrap()[10..], bytes);
}

#[test]
fn a_full_disk_names_file_and_offset() {
    // /dev/full cannot be a target, so the refusal is provoked by an offset no file system has.
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("vmcore");
    let out = OutputFile::create(&target, false).unwrap();
    let error = out.write_at(i64::MAX as u64 - 1, b"abc").unwrap_err();
    assert!(matches!(error, Error::Write { .. }));
    assert!(error.to_string().contains("offset 0x7ffffffffffffffe"), "{error}");
}

#[test]
fn a_work_file_has_no_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = crate::output::work_file(dir.path()).unwrap();
    file.write_all_at(b"x", 100).unwrap();
    assert!(names(dir.path()).is_empty());
}

#[test]
fn a_resumable_output_stays_when_it_is_dropped_and_goes_on_when_it_is_reopened() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("vmcore");
    assert!(OutputFile::reopen(&target, false).is_err());
    let out = OutputFile::create_resumable(&target, false).unwrap();
    out.write_at(0, b"head").unwrap();
    out.sync().unwrap();
    let kept = dir.path().join("vmcore-incomplete");
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    let busy = OutputFile::reopen(&target, false).unwrap_err().to_string();
    assert!(busy.contains("another process"), "{busy}");
    drop(out);
    assert_eq!(names(dir.path()), ["vmcore-incomplete"]);
    assert!(OutputFile::create_resumable(&target, false).is_err());

    let out = OutputFile::reopen(&target, false).unwrap();
    out.write_at(4, b"tail").unwrap();
    assert_eq!(out.commit().unwrap(), target);
    assert_eq!(fs::read(&target).unwrap(), b"headtail");
    assert_eq!(names(dir.path()), ["vmcore"]);
}

#[test]
fn a_resumable_output_that_stays_incomplete_keeps_its_name_and_force_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("vmcore");
    let out = OutputFile::create_resumable(&target, false).unwrap();
    out.write_at(0, b"old").unwrap();
    assert_eq!(out.keep_incomplete().unwrap(), dir.path().join("vmcore-incomplete"));
    let out = OutputFile::create_resumable(&target, true).unwrap();
    out.write_at(0, b"n").unwrap();
    out.commit().unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"n");
    let out = OutputFile::create_resumable(&dir.path().join("other"), false).unwrap();
    out.discard();
    assert_eq!(names(dir.path()), ["vmcore"]);
}

#[test]
fn an_incomplete_file_that_somebody_else_planted_is_not_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let (target, victim) = (dir.path().join("vmcore"), dir.path().join("victim"));
    let name = OutputFile::incomplete_name(&target).unwrap();
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, &name).unwrap();
    assert!(OutputFile::reopen(&target, false).is_err());
    assert!(OutputFile::create_resumable(&target, false).is_err());
    fs::remove_file(&name).unwrap();
    fs::hard_link(&victim, &name).unwrap();
    assert!(OutputFile::reopen(&target, false).is_err());
    OutputFile::create_resumable(&target, true).unwrap().write_at(0, b"dump").unwrap();
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    assert_eq!(fs::read(&name).unwrap(), b"dump");
}
