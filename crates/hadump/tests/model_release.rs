//! What hadump works out of a release from a machine's files is what the modelled kernel does.

mod common;

use common::model::root_with;
use phyp::giveback::{self, Hazard, Resident};
use phyp::system::System;
use phyp_model::layout::Layout;
use phyp_model::root::RootOptions;
use phyp_model::scenario::{self, Dirt, Event, Run};
use phyp_model::{Extent, Linux, Machine, Mode, Options, extent, release};
use proptest::prelude::*;
use std::collections::BTreeSet;

const PAGE: u64 = 0x1_0000;

fn crashed(options: Options) -> Run {
    let machine = Machine::new(options).expect("a machine");
    scenario::run(machine, Event::CRASH, &[], Dirt::Stamps).expect("a run")
}

prop_compose! {
    /// A machine of 80 MiB or more, whose RTAS and initial RAM disk are anywhere.
    fn machines()(
        linux in prop_oneof![Just(Linux::V6_1), Just(Linux::V6_12), Just(Linux::V7_2), Just(Linux::Next)],
        small_pages in any::<bool>(), parameter_area in any::<bool>(), hole in 0u64..3, more in 0u64..64,
        rtas in 0u64..0x500, initrd in 0u64..0x500, spared in prop::collection::vec((0x100_0000u64..0x500_0000, 1u64..0x9_0000), 0..3),
    ) -> Options {
        let end = 0x500_0000 + more * PAGE;
        let page_size = if small_pages { 0x1000 } else { PAGE };
        let ram = if hole == 0 {
            vec![Extent::new(0, end)]
        } else {
            // The hole is above the dump area, or pushes it up.
            let at = 0x10_0000 + hole * 0x100_0000;
            vec![Extent::new(0, at), Extent::between(at + 4 * PAGE, end + 0x100_0000)]
        };
        let reserved_ranges = extent::merged(spared.iter().map(|&(at, len)| Extent::new(at, len)).collect());
        Options {
            mode: Mode::Fadump(linux), ram, page_size, parameter_area, reserved_ranges,
            rtas: Some(Extent::new(rtas * PAGE, 0x83c)),
            initrd: Some(Extent::new(initrd * PAGE, 3 * PAGE - 0x123)),
            ..Options::small_fadump()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_is_freed_who_lives_there_and_what_the_next_dump_loses_is_foretold(options in machines()) {
        let inside = |extent| extent::covers(&options.ram, extent);
        prop_assume!(inside(options.rtas_extent()) && inside(options.initrd_extent()));
        prop_assume!(Layout::plan(&options).is_ok());
        let mut run = crashed(options);
        let root = root_with(&run, &RootOptions { vmcore: false, memory: false, ..RootOptions::default() });
        let system = System::look(root.path()).expect("a system");
        let foretold = giveback::release(&system).expect("all is known");

        let freed: Vec<Extent> = foretold.freed.iter().map(|r| Extent::between(r.start.0, r.end.0)).collect();
        prop_assert_eq!(&freed, &release::frees(&run));
        let clashes: BTreeSet<&str> = release::clashes(&run).into_iter().map(|(name, _)| name).collect();
        let said = |resident| foretold.clashes.iter().any(|clash| clash.resident == resident);
        prop_assert_eq!(said(Resident::Rtas), clashes.contains("RTAS"));
        prop_assert_eq!(said(Resident::Initrd), clashes.contains("initrd"));
        let header = foretold.hazards.iter().any(|hazard| matches!(hazard, Hazard::HeaderPage(_)));
        prop_assert_eq!(header, clashes.contains("crash-info header"));
        let parameters = foretold.hazards.iter().any(|hazard| matches!(hazard, Hazard::Parameters(_)));
        prop_assert_eq!(parameters, clashes.contains("parameter area"));

        // What this boot has written over, as far as the dump has it.
        let lost = giveback::overwritten(&system).expect("all is known");
        let lost = lost.iter().flat_map(|place| place.lost.iter()).map(|r| Extent::between(r.start.0, r.end.0));
        let dump = extent::subtract(&run.truth.ram, &run.truth.reserved);
        prop_assert_eq!(&extent::intersect(&dump, &extent::merged(lost.collect())), &run.truth.lost);

        // And the kernel does it.
        run.write_release_mem("1").expect("memory");
        prop_assert_eq!(&freed, &run.fadump.freed);
    }
}
