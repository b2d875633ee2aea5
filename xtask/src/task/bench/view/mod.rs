//! Dumps used without converting them: mounted, and searched.

mod alone;
pub(super) mod mounted;
pub(super) mod search;
