//! What can be done about an error of the system whose own words do not tell.

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// The error with its causes, and the remedy where the system's words name none.
pub(crate) fn explained(error: &anyhow::Error) -> String {
    let number = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        io.or_else(|| cause.downcast_ref::<Errno>().map(|error| error.raw_os_error()))
    };
    let numbers: Vec<i32> = error.chain().filter_map(number).collect();
    if numbers.contains(&Errno::MFILE.raw_os_error()) {
        let limit = getrlimit(Resource::Nofile).current.map_or("unlimited".to_owned(), |n| n.to_string());
        return format!(
            "{error:#}; the limit on open files of a process is {limit} here: raise it (`ulimit -n 1024`, or LimitNOFILE= \
             in a unit of systemd)"
        );
    }
    format!("{error:#}")
}
