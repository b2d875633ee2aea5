//! Where the nodes are that zones belong to.
//!
//! VMCOREINFO gives `node_data` on x86_64 and POWER, and `contig_page_data` on machines that are built for one node. Kernels
//! of other architectures that are built for several name neither, but their symbol table does, which VMCOREINFO leads to
//! since 6.0.

use crate::description::kallsyms::Kallsyms;
use crate::{Error, Kernel, KernelMemory};
use vmcore::VirtAddr;

/// `MAX_NUMNODES` is at most this (`CONFIG_NODES_SHIFT` ends at 10).
const MOST_NODES: u64 = 1 << 10;

/// What leads to the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeData {
    /// An array of pointers to `pglist_data` and its length, `MAX_NUMNODES`.
    Table(VirtAddr, u64),
    /// The only `pglist_data`.
    Only(VirtAddr),
}

impl NodeData {
    /// What VMCOREINFO tells, else the kernel's symbol table, if there is one that can be read.
    ///
    /// # Errors
    ///
    /// Only when the input is damaged.
    pub(super) fn find(kernel: &Kernel<'_>) -> Result<Option<Self>, Error> {
        let info = kernel.info();
        if let Some((table, count)) = info.symbol("node_data").zip(info.length("node_data")) {
            return Ok(Some(Self::Table(table, count)));
        }
        if let Some(only) = info.symbol("contig_page_data") {
            return Ok(Some(Self::Only(only)));
        }
        match Self::in_symbols(kernel) {
            Err(Error::Read(error)) => Err(error.into()),
            Err(error) => {
                tracing::debug!("the symbol table does not lead to the nodes: {error}");
                Ok(None)
            }
            found => found,
        }
    }

    fn in_symbols(kernel: &Kernel<'_>) -> Result<Option<Self>, Error> {
        let symbols = Kallsyms::open(kernel)?;
        let mut table: Option<VirtAddr> = None;
        // Symbols come by address: the next one ends the table.
        for symbol in symbols.iter() {
            let symbol = symbol?;
            match (table, symbol.name.as_str()) {
                (_, "contig_page_data") => return Ok(Some(Self::Only(symbol.addr))),
                (None, "node_data") => table = Some(symbol.addr),
                (Some(table), _) if symbol.addr > table => {
                    let word = kernel.machine().word.bytes() as u64;
                    let room = (symbol.addr.0 - table.0) / word;
                    return Ok(length(room).map(|count| Self::Table(table, count)));
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

/// The length of a table with room for `room` pointers up to the next symbol, before which there may be padding. It is a
/// power of two.
fn length(room: u64) -> Option<u64> {
    (room > 0).then(|| (1 << room.ilog2()).min(MOST_NODES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_table_without_room_for_a_pointer_is_none() {
        assert_eq!(length(0), None);
    }

    proptest! {
        #[test]
        fn padding_that_is_shorter_than_the_table_does_not_change_its_length(shift in 0u32..=10, padding in 0u64..1024) {
            let count = 1u64 << shift;
            prop_assert_eq!(length(count + padding % count), Some(count));
        }
    }
}
