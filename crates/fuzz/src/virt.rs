//! A kernel's virtual memory as an input: a machine, the text of VMCOREINFO, and regions of memory.

use crate::pack::{pack, unpack};
use crate::target::Seed;
use kernel::{Error, KernelMemory};
use vmcore::{Machine, VirtAddr, VmcoreInfo};

/// The machines that an input can name.
pub(crate) const MACHINES: [&str; 4] = ["x86_64", "ppc64", "i686", "ppc"];

/// Where the region `n` begins.
pub(crate) const fn region(n: u64) -> u64 {
    (n + 1) << 20
}

/// Memory in regions, each with a page of 0xff after what an input has: a reader of whole pages finds one.
pub(crate) struct Virtual {
    machine: Machine,
    info: VmcoreInfo,
    regions: Vec<Vec<u8>>,
}

/// A machine of [`MACHINES`], VMCOREINFO and regions as one input.
pub(crate) fn seed(machine: usize, info: &str, regions: &[&[u8]]) -> Seed {
    let machine = [machine as u8];
    let files = [&machine[..], info.as_bytes()].into_iter().chain(regions.iter().copied());
    let whole = |bytes: &[u8]| Seed { bytes: bytes.to_vec(), hot: vec![0..bytes.len()] };
    let mut seed = pack(&files.map(whole).collect::<Vec<_>>());
    // Regions three times as often as lengths, machine and text.
    let regions = seed.hot[4..].to_vec();
    seed.hot.extend_from_slice(&regions);
    seed.hot.extend_from_slice(&regions);
    seed
}

impl Virtual {
    /// Reads an input.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut files = unpack(bytes)?.into_iter();
        let machine = MACHINES[usize::from(files.next()?.first()?.to_owned()) % MACHINES.len()];
        let info = VmcoreInfo::parse(&files.next()?);
        let padded = |mut region: Vec<u8>| {
            region.resize(region.len().next_multiple_of(4096) + 4096, 0xff);
            region
        };
        Some(Self { machine: Machine::from_name(machine)?, info, regions: files.map(padded).collect() })
    }

    /// The part of a region at `addr`.
    fn at(&self, addr: u64) -> Option<&[u8]> {
        let n = usize::try_from((addr >> 20).checked_sub(1)?).ok()?;
        self.regions.get(n)?.get((addr & 0xf_ffff) as usize..)
    }
}

impl KernelMemory for Virtual {
    fn machine(&self) -> Machine {
        self.machine
    }

    fn info(&self) -> &VmcoreInfo {
        &self.info
    }

    fn read(&self, addr: VirtAddr, bytes: &mut [u8]) -> Result<(), Error> {
        let found = self.at(addr.0).and_then(|part| part.get(..bytes.len()));
        let found = found.ok_or_else(|| Error::NotMapped { addr, why: "no region is there".into() })?;
        bytes.copy_from_slice(found);
        Ok(())
    }
}
