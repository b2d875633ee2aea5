//! What the dumped kernel says.
