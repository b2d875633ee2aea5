//! What a tool is shown: directories laid out like a machine's root, and a machine that answers.

pub mod corpus;
pub mod live;
pub mod root;
pub mod state;
mod surroundings;
pub mod tree;
