use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::Duration;
use vmcore::DumpLevel;

/// A root, in a boot of this name.
fn root(boot: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    set_boot(root.path(), boot);
    root
}

fn set_boot(root: &Path, boot: &str) {
    let random = root.join("proc/sys/kernel/random");
    fs::create_dir_all(&random).unwrap();
    fs::write(random.join("boot_id"), format!("{boot}\n")).unwrap();
}

fn bytes(start: u64, end: u64) -> Range<PhysAddr> {
    Range::new(PhysAddr(start), PhysAddr(end))
}

fn saved(complete: bool, level_bits: u32) -> Saved {
    let files = vec!["/var/crash/a b\n/vmcore".into(), "/second".into()];
    let level = |bits| DumpLevel::new(bits).unwrap();
    Saved {
        dump: 7,
        files,
        complete,
        from_vmcore: true,
        asked: level(1),
        level: level(level_bits),
        given_back: None,
    }
}

#[test]
fn there_is_nothing_until_something_is_noted_and_then_it_is_its_owners_alone() {
    let root = root("one");
    assert!(State::find(root.path()).unwrap().is_none());
    let state = State::create(root.path()).unwrap();
    assert_eq!((state.released().unwrap(), state.saved().unwrap()), (RangeSet::default(), None));
    state.note_released(bytes(0x1000, 0x3000)).unwrap();
    state.note_saved(&saved(true, 1)).unwrap();
    drop(state.hold().unwrap());
    let path = root.path().join(DIRECTORY);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
    for entry in fs::read_dir(&path).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().mode() & 0o7777, 0o600);
    }
}

#[test]
fn ranges_are_listed_until_all_of_them_are_taken_back() {
    let root = root("one");
    let state = State::create(root.path()).unwrap();
    state.note_released(bytes(0x1000, 0x3000)).unwrap();
    state.note_released(bytes(0x3000, u64::MAX)).unwrap();
    let again = State::find(root.path()).unwrap().unwrap();
    assert_eq!(again.released().unwrap(), [bytes(0x1000, u64::MAX)].into_iter().collect());
    state.forget_released();
    assert!(again.released().unwrap().is_empty());
}

#[test]
fn a_list_that_makes_no_sense_is_an_error_and_its_torn_end_is_none() {
    let root = root("one");
    let state = State::create(root.path()).unwrap();
    let list = root.path().join(DIRECTORY).join("released");
    state.note_released(bytes(0x1000, 0x3000)).unwrap();
    let whole = fs::read(&list).unwrap();
    fs::write(&list, [&whole, &whole[..9]].concat()).unwrap();
    assert_eq!(state.released().unwrap().total(), 0x2000);
    for line in ["what\n", "0x1000\n", "\n"] {
        fs::write(&list, [line.as_bytes(), &whole].concat()).unwrap();
        let error = state.released().unwrap_err().to_string();
        assert!(error.contains("its line 1 is no range"), "{error}");
    }
    fs::remove_file(&list).unwrap();
    symlink("/etc/passwd", &list).unwrap();
    assert!(state.released().is_err());
    assert!(state.note_released(bytes(0, 1)).is_err());
}

#[test]
fn what_was_saved_is_known_in_the_same_boot_and_in_no_other() {
    let root = root("one");
    let state = State::create(root.path()).unwrap();
    state.note_given_back(GivenBack { interface: Interface::ReleaseMem, all: true }).unwrap();
    assert_eq!(state.saved().unwrap(), None);
    state.note_saved(&saved(true, 31)).unwrap();
    assert_eq!(state.saved().unwrap(), Some(saved(true, 31)));
    assert!(saved(true, 31).is_raised() && !saved(true, 1).is_raised());
    // A second one that fails leaves the first one's word.
    state.note_saved(&saved(false, 1)).unwrap();
    assert_eq!(state.saved().unwrap(), Some(saved(true, 31)));
    let given = GivenBack { interface: Interface::ReleaseRegion, all: false };
    state.note_given_back(given).unwrap();
    assert_eq!(state.saved().unwrap(), Some(Saved { given_back: Some(given), ..saved(true, 31) }));
    for boot in ["two", ""] {
        set_boot(root.path(), boot);
        let later = State::find(root.path()).unwrap().unwrap();
        assert_eq!(later.saved().unwrap(), None);
    }
}

#[test]
fn a_torn_or_altered_record_is_none() {
    let root = root("one");
    let state = State::create(root.path()).unwrap();
    let file = root.path().join(DIRECTORY).join("saved");
    state.note_saved(&saved(false, 1)).unwrap();
    let first = fs::read(&file).unwrap();
    state.note_saved(&saved(true, 1)).unwrap();
    let both = fs::read(&file).unwrap();
    for len in first.len()..both.len() {
        fs::write(&file, &both[..len]).unwrap();
        assert_eq!(state.saved().unwrap(), Some(saved(false, 1)));
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o622)).unwrap();
    assert_eq!(state.saved().unwrap(), None);
}

#[test]
fn a_directory_of_somebody_else_is_not_used() {
    let root = root("one");
    State::create(root.path()).unwrap();
    let path = root.path().join(DIRECTORY);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(State::find(root.path()).is_err());
    assert!(State::create(root.path()).is_err());
    fs::remove_dir(&path).unwrap();
    symlink("/tmp", &path).unwrap();
    assert!(State::find(root.path()).unwrap_err().to_string().contains("not believed"));
    assert!(State::create(root.path()).is_err());
}

#[test]
fn many_read_and_the_last_of_them_may_hold_the_dump_alone() {
    let root = root("one");
    let state = State::create(root.path()).unwrap();
    let (one, two) = (state.hold().unwrap(), state.hold().unwrap());
    assert!(one.alone().unwrap().is_none());
    // Whoever was refused still reads.
    assert!(two.alone().unwrap().is_none());
    drop(two);
    let alone = one.alone().unwrap().expect("the last reader");
    assert!(one.alone().unwrap().is_none());
    let other = std::thread::spawn({
        let path = root.path().to_owned();
        move || State::find(&path).unwrap().unwrap().hold().unwrap()
    });
    std::thread::sleep(Duration::from_millis(50));
    assert!(!other.is_finished(), "a reader does not begin during a release");
    drop(alone);
    let other = other.join().unwrap();
    assert!(one.alone().unwrap().is_none());
    drop(one);
    assert!(other.alone().unwrap().is_some());
}

#[test]
fn a_directory_that_was_made_like_a_root_is_left_as_it_is() {
    let root = root("one");
    assert!(hold(root.path()).unwrap().is_none());
    assert!(!root.path().join("run").exists());
    State::create(root.path()).unwrap();
    assert!(hold(root.path()).unwrap().is_some());
}

#[test]
fn what_a_run_of_this_boot_did_not_bring_to_an_end_is_not_begun_again() {
    let root = root("one");
    let state = State::create(root.path()).unwrap();
    let first = state.begin_report().unwrap().unwrap();
    // Another one meanwhile is no failure of the first.
    drop(state.begin_report().unwrap().unwrap());
    drop(first);
    let second = state.begin_report().unwrap().unwrap();
    // As a process that is killed: the lock is gone, and nothing is taken back.
    let file = root.path().join(DIRECTORY).join("reporting");
    let left = fs::read(&file).unwrap();
    drop(second);
    fs::write(&file, left).unwrap();
    assert!(state.begin_report().unwrap().is_none());
    set_boot(root.path(), "two");
    let state = State::create(root.path()).unwrap();
    assert!(state.begin_report().unwrap().is_some());
    // It is as little believed as any other file.
    fs::remove_file(&file).unwrap();
    symlink("/dev/null", &file).unwrap();
    assert!(matches!(state.begin_report(), Err(Error::NotBelieved { .. })));
}
