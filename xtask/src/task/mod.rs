//! One file a task.

pub(crate) mod amplify;
pub(crate) mod bench;
pub(crate) mod boot;
pub(crate) mod demo;
pub(crate) mod fuzz;
pub(crate) mod lint;
pub(crate) mod man;
pub(crate) mod measure;
pub(crate) mod model;
pub(crate) mod package;
pub(crate) mod synth;
pub(crate) mod test;
pub(crate) mod testdata;
