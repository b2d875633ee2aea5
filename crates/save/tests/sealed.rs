//! Encrypted saves that die, by themselves or with the power, at any moment: what the files hold then is right, and what they
//! hold in the end is the dump.

#[expect(dead_code, reason = "each test file uses its part")]
mod common;

use age::secrecy::ExposeSecret;
use common::machine::{Patient, Random, same_pages, some_pages};
use dumpfile::codec::{Choice, Method};
use dumpfile::flattened::{StreamEnd, unflatten};
use dumpfile::kdump::{self, Checkpoint, Options, Unfinished, Writer};
use dumpfile::output::OutputFile;
use dumpfile::{Facts, Progress};
use phyp_model::release::Handler;
use save::target::{Output, Target};
use save::{SealedTarget, Segments};
use sealed::{Identities, Part, Recipients, Unsealer};
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use vmcore::{Dump, PageState, Pfn, Selection};

const OPTIONS: Options = Options {
    method: Choice::One(Some(Method::Snappy)),
    level: None,
    part: None,
    beside: 0,
    dedup: false,
    checksums: true,
};

struct Case {
    directory: tempfile::TempDir,
    patient: Patient,
    whole: Selection,
    public: String,
    identities: Identities,
}

impl Case {
    fn new(random: &mut Random) -> Self {
        let patient = Patient::new(300, Handler::Shipped);
        let whole = some_pages(&patient.dump(), random);
        let directory = tempfile::tempdir().unwrap();
        let identity = age::x25519::Identity::generate();
        let key = directory.path().join("key");
        fs::write(&key, identity.to_string().expose_secret()).unwrap();
        let identities = Identities::read(&[key]).unwrap();
        Self { directory, patient, whole, public: identity.to_public().to_string(), identities }
    }

    fn name(&self) -> PathBuf {
        self.directory.path().join("vmcore")
    }

    fn target(&self) -> SealedTarget {
        let recipients = Recipients::parse(&[&self.public]).unwrap();
        SealedTarget::new(&self.name(), self.directory.path().join("vmcore.journal"), recipients, false, None)
    }

    fn parts(&self) -> Vec<Part> {
        Part::all(&self.name()).unwrap()
    }

    /// Puts the parts together, and returns the dump and whether the stream has its end; `None` where there is no part.
    fn open(&self, to: &str) -> Option<(Dump, bool)> {
        let parts = self.parts();
        if parts.is_empty() {
            return None;
        }
        let inputs = parts.iter().map(|part| Ok((part.path(), File::open(part.path()).unwrap())));
        let path = self.directory.path().join(to);
        let out = OutputFile::create(&path, true).unwrap();
        let end = unflatten(&mut Unsealer::new(&self.identities, inputs), &out).unwrap().end;
        out.commit().unwrap();
        let whole = match end {
            StreamEnd::Whole => true,
            StreamEnd::Cut(None) => {
                let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
                kdump::mark_incomplete(&file, &path).unwrap();
                false
            }
            other => panic!("{other:?}"),
        };
        Some((dumpfile::open(&path).unwrap(), whole))
    }

    /// Fails if a page is there and is not what it should be; returns how many are.
    fn check_what_is_there(&self, plain: &Dump) -> u64 {
        let Some((dump, whole)) = self.open("so far") else { return 0 };
        assert!(!whole && dump.source.incomplete);
        let (mut one, mut two) = (vec![0; 4096], vec![0; 4096]);
        let mut there = 0;
        for pfn in plain.memory.map().frames().iter().flat_map(|r| r.start.0..r.end.0).map(Pfn) {
            let state = dump.memory.read_page(pfn, &mut one).unwrap();
            let expected = plain.memory.read_page(pfn, &mut two).unwrap();
            if matches!(state, PageState::Present | PageState::Zero) {
                assert_eq!(state, expected, "frame {pfn}");
                assert!(one == two, "frame {pfn} has the bytes of another");
                there += 1;
            }
        }
        there
    }
}

/// What a power cut leaves of a file: of each sector what it was when it was last made durable, or what it became.
fn cut(path: &Path, durable: &[u8], random: &mut Random) {
    let mut now = fs::read(path).unwrap();
    for (number, sector) in now.chunks_mut(512).enumerate() {
        if random.below(2) == 0 {
            for (at, byte) in sector.iter_mut().enumerate() {
                *byte = durable.get(512 * number + at).copied().unwrap_or(0);
            }
        }
    }
    fs::write(path, now).unwrap();
}

/// Where a run dies.
#[derive(Clone, Copy, PartialEq)]
enum Death {
    /// While pages are written.
    Writing,
    /// The skeleton is durable, and the file that holds the same is not.
    BetweenTheTwo,
    /// Both are, but the journal does not say so.
    BeforeTheCheckpoint,
}

#[test]
fn whatever_dies_when_the_files_hold_pages_of_the_dump_and_in_the_end_all() {
    let seeds = std::env::var("HADUMP_SEEDS").map_or(30, |n| n.parse().unwrap());
    let (mut deaths, mut seen) = (0, 0);
    for seed in 0..seeds {
        let mut random = Random(seed);
        let case = Case::new(&mut random);
        let dump = case.patient.dump();
        let plain = OutputFile::create(&case.directory.path().join("plain"), false).unwrap();
        kdump::write(&dump, &case.whole, &Facts::default(), &OPTIONS, &plain, &Progress::default()).unwrap();
        let plain = dumpfile::open(&plain.commit().unwrap()).unwrap();

        let mut checkpoint: Option<Checkpoint> = None;
        let mut lives = random.below(6);
        loop {
            let target = case.target();
            let skeleton = target.unfinished().unwrap();
            let mut durable = fs::read(&skeleton).unwrap_or_default();
            let unfinished = checkpoint.map(|at| Unfinished::open(&skeleton, &at, || Ok(None)).unwrap());
            let out = match unfinished {
                None => target.create(true).unwrap(),
                Some(_) => target.reopen().unwrap(),
            };
            if let Some(unfinished) = &unfinished
                && lives > 0
                && random.below(4) == 0
            {
                // The file does not get its name: the skeleton must not forget what was to be cleared in them.
                lives -= 1;
                deaths += 1;
                let number = case.parts().len() as u32;
                let blocked = Part { dump: case.name(), number }.path();
                fs::create_dir(&blocked).unwrap();
                assert!(Writer::resume(&dump, unfinished, &OPTIONS, &*out).is_err());
                drop(out);
                fs::remove_dir(blocked).unwrap();
                assert!(fs::read(&skeleton).unwrap() == durable, "the skeleton is ahead of the files");
                continue;
            }
            let mut writer = match &unfinished {
                None => Writer::begin(&dump, &case.whole, &Facts::default(), &OPTIONS, &*out).unwrap(),
                Some(unfinished) => Writer::resume(&dump, unfinished, &OPTIONS, &*out).unwrap(),
            };
            if unfinished.is_some() && lives > 0 && random.below(4) == 0 {
                // The old descriptors are cleared in a file that is durable, and the skeleton did not get so far.
                lives -= 1;
                deaths += 1;
                drop(writer);
                drop(out);
                cut(&skeleton, &durable, &mut random);
                seen += case.check_what_is_there(&plain);
                continue;
            }
            durable = fs::read(&skeleton).unwrap();
            let rest = std::slice::from_ref(unfinished.as_ref().map_or(&case.whole, |u| u.remaining()));
            let mut segments = Segments::new(rest);
            let mut died = None;
            while let Some(segment) = segments.next(1 + random.below(400)).unwrap() {
                writer.write(&segment, &Progress::default()).unwrap();
                let dies = lives > 0 && random.below(4) == 0;
                let death = [Death::Writing, Death::BetweenTheTwo, Death::BeforeTheCheckpoint]
                    [random.below(3) as usize];
                if dies && death == Death::Writing {
                    died = Some(death);
                    break;
                }
                let reached = writer.checkpoint().unwrap();
                if dies {
                    died = Some(death);
                    break;
                }
                checkpoint = Some(reached);
                durable = fs::read(&skeleton).unwrap();
            }
            if let Some(death) = died {
                lives -= 1;
                deaths += 1;
                drop(writer);
                drop(out);
                match death {
                    Death::Writing => cut(&skeleton, &durable, &mut random),
                    Death::BetweenTheTwo => fs::remove_file(case.parts().last().unwrap().path()).unwrap(),
                    Death::BeforeTheCheckpoint => (),
                }
                if checkpoint.is_some() {
                    seen += case.check_what_is_there(&plain);
                }
                continue;
            }
            writer.finish().unwrap();
            out.commit().unwrap();
            break;
        }
        let (made, whole) = case.open("made").unwrap();
        assert!(whole && !made.source.incomplete);
        same_pages(&plain, &made);
    }
    assert!(deaths > seeds && seen > 100 * seeds, "{deaths} deaths, {seen} pages seen after them");
}

#[test]
fn an_uninterrupted_save_holds_the_bytes_of_the_plain_file() {
    let mut random = Random(7);
    let case = Case::new(&mut random);
    let dump = case.patient.dump();
    let write = |out: Box<dyn Output>| {
        kdump::write(&dump, &case.whole, &Facts::default(), &OPTIONS, &*out, &Progress::default()).unwrap();
        out.sync().unwrap();
        out.commit().unwrap()
    };
    let plain = write(Box::new(OutputFile::create(&case.directory.path().join("plain"), false).unwrap()));
    let first = write(case.target().create(false).unwrap());
    assert_eq!(first, Part { dump: case.name(), number: 0 }.path());
    case.open("made").unwrap();
    assert!(fs::read(plain).unwrap() == fs::read(case.directory.path().join("made")).unwrap());
    // Another save does not take the place of one that is there.
    let error = case.target().create(false).err().unwrap().to_string();
    assert!(error.contains("vmcore.00000.age"), "{error}");
    assert_eq!(case.parts().len(), 3);
}

#[test]
fn a_missing_part_is_noticed_before_anything_is_gone_on_with() {
    let mut random = Random(8);
    let case = Case::new(&mut random);
    let dump = case.patient.dump();
    let out = case.target().create(false).unwrap();
    let mut writer = Writer::begin(&dump, &case.whole, &Facts::default(), &OPTIONS, &*out).unwrap();
    let all = std::slice::from_ref(&case.whole);
    let mut segments = Segments::new(all);
    for _ in 0..3 {
        writer.write(&segments.next(100).unwrap().unwrap(), &Progress::default()).unwrap();
        writer.checkpoint().unwrap();
    }
    drop(writer);
    out.keep().unwrap();
    fs::remove_file(case.parts()[1].path()).unwrap();
    let error = case.target().reopen().err().unwrap().to_string();
    assert!(error.contains("vmcore.00001.age"), "{error}");
}
