//! `hadump gdb`: the crashed kernel for gdb, by its remote protocol.

use crate::cli;
use crate::input::{self, Prefer};
use crate::outcome::Outcome;
use crate::show::crash::{Shown, text};
use crate::show::terminal;
use anyhow::{Context, Result};
use gdb::{End, Host, Target, serve};
use kernel::Kernel;
use kernel::knowledge::vmlinux_of;
use kernel::vmlinux::Vmlinux;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use triage::Options;
use vmcore::Dump;

/// The most sessions at once.
const SESSIONS: usize = 16;

/// How often gdb is told that an answer will come: it gives up after two seconds (`set remotetimeout`).
const SIGN_OF_LIFE: Duration = Duration::from_millis(500);

/// Serves one session on standard input and output, or any number on a port.
pub(crate) fn run(args: &cli::Gdb) -> Result<Outcome> {
    // Until the sender is gone.
    let (opened, waiting) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        if args.stdio {
            scope.spawn(move || show_life(&waiting));
        }
        open_and_serve(args, opened)
    })
}

/// Keeps gdb waiting for its first answer while the dump is opened. It takes a `+` for the acknowledgement of what it sent,
/// and reads over any number of others.
fn show_life(opened: &mpsc::Receiver<()>) {
    loop {
        let mut out = std::io::stdout();
        if out.write_all(b"+").and_then(|()| out.flush()).is_err()
            || opened.recv_timeout(SIGN_OF_LIFE) != Err(RecvTimeoutError::Timeout)
        {
            return;
        }
    }
}

fn open_and_serve(args: &cli::Gdb, opened: mpsc::Sender<()>) -> Result<Outcome> {
    let mut dump = input::open_for_kernel(&args.input, Prefer::Vmcore)?;
    let vmlinux = args.input.vmlinux.as_deref().map(|path| vmlinux_of(&mut dump, path)).transpose()?;
    let kernel = input::kernel(&dump, &args.input)?;
    let name = args.input.name();
    let found = triage::threads::threads(&dump, &kernel, vmlinux.as_ref());
    for missing in &found.missing {
        tracing::warn!("{name}: {} cannot be found: {}", missing.part, missing.why);
    }
    let target = Target::new(&kernel, &*dump.memory, found);
    let program = Program { name: &name, dump: &dump, kernel: &kernel, vmlinux: vmlinux.as_ref() };
    drop(opened);
    if args.stdio {
        let (input, output) = (std::io::stdin().lock(), std::io::stdout().lock());
        serve(&target, &program, input, output)?;
        return Ok(Outcome::Complete);
    }
    listen(&target, &program, args.listen)
}

/// Accepts sessions until the program is ended.
fn listen(target: &Target<'_>, program: &Program<'_>, address: SocketAddr) -> Result<Outcome> {
    let listener = TcpListener::bind(address)
        .with_context(|| format!("{address}: cannot listen; another port is chosen with --listen PORT"))?;
    let address = listener.local_addr().context("the port cannot be found out")?;
    if !address.ip().is_loopback() {
        tracing::warn!("{address}: everybody who reaches this address can read all of the dump");
    }
    let mut out = std::io::stdout();
    writeln!(out, "target remote {address}")?;
    out.flush()?;
    let sessions = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        loop {
            let (stream, client) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!("{address}: a client cannot be accepted: {error}");
                    // There may be no file descriptors left until a session ends.
                    std::thread::sleep(Duration::from_millis(100));
                    continue;
                }
            };
            if sessions.fetch_add(1, Ordering::Relaxed) >= SESSIONS {
                sessions.fetch_sub(1, Ordering::Relaxed);
                tracing::warn!("{client}: turned away: there are {SESSIONS} sessions already");
                continue;
            }
            let sessions = &sessions;
            scope.spawn(move || {
                let ended = session(target, program, &stream);
                sessions.fetch_sub(1, Ordering::Relaxed);
                match ended {
                    Ok(End::Done) => tracing::info!("{client}: the session ended"),
                    Ok(End::Gone) => tracing::info!("{client}: went away"),
                    Err(error) => tracing::warn!("{client}: the session was ended: {error:#}"),
                }
            });
        }
    })
}

fn session(target: &Target<'_>, program: &Program<'_>, stream: &TcpStream) -> Result<End> {
    // Packets are small, and each is waited for.
    stream.set_nodelay(true)?;
    Ok(serve(target, program, stream, stream)?)
}

/// What a session asks of the program.
struct Program<'a> {
    name: &'a str,
    dump: &'a Dump,
    kernel: &'a Kernel<'a>,
    vmlinux: Option<&'a Vmlinux>,
}

impl Host for Program<'_> {
    fn report(&self) -> String {
        let report = triage::examine(self.dump, Some(self.kernel), self.vmlinux, &Options::default());
        text::text(&Shown::new(self.name, self.dump, cli::Tasks::Blocked, &report))
    }

    fn safe(&self, text: &str) -> String {
        terminal::lines(text)
    }
}
