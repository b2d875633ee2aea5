//! A machine of QEMU, which keeps a dump over a crash in its own way, and its console.

use super::Platform;
use super::console::is_fault;
use anyhow::{Context, Result, bail};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// How long a guest may say nothing: it sends a sign of life every 20 seconds, and a boot on a busy host takes minutes.
const SILENCE: Duration = Duration::from_secs(300);
/// How long a kernel may go on after a fault: to finish what it prints of it.
const AFTERMATH: Duration = Duration::from_secs(30);
/// How much of the console is shown of a guest that went wrong.
const LAST_LINES: usize = 40;

/// A machine that is switched off.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    pub(crate) platform: &'a Platform<'a>,
    /// Where the console's log and QEMU's own go.
    pub(crate) directory: &'a Path,
    pub(crate) initramfs: PathBuf,
    pub(crate) command_line: String,
    /// In MiB.
    pub(crate) memory: u32,
    /// Raw images; the guest has them as vda, vdb and so on, the host by their files' names.
    pub(crate) disks: Vec<PathBuf>,
    /// Of all its boots together.
    pub(crate) limit: Duration,
}

/// What a guest asks for, on its console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark<'a> {
    /// The scenario is over; what follows is the machine being switched off.
    Finish,
    /// The machine is about to stop, and has to be switched on again.
    Again,
    /// A disk has to vanish.
    Unplug(&'a str),
    /// Anything else, for people.
    Note,
}

impl<'a> Mark<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.strip_prefix("@@ ")?.split_whitespace();
        Some(match (words.next()?, words.next(), words.next()) {
            ("finish", ..) => Self::Finish,
            ("again", ..) => Self::Again,
            ("host", Some("unplug"), Some(disk)) => Self::Unplug(disk),
            _ => Self::Note,
        })
    }
}

impl Machine<'_> {
    /// The log of the console.
    pub(crate) fn console(&self) -> PathBuf {
        self.directory.join("console.log")
    }

    /// Switches the machine on, and again as often as the guest asks for it, until the guest says that it has finished.
    ///
    /// # Errors
    ///
    /// QEMU cannot be started or fails; the guest hangs, stops by itself or takes too long. The message has the console's
    /// last lines.
    pub(crate) fn run(&self) -> Result<()> {
        File::create(self.console())?;
        let begun = Instant::now();
        let mut console =
            Console { log: self.console(), read: 0, partial: String::new(), heard: Instant::now() };
        loop {
            let mut qemu = self.start()?;
            let ended = self.watch(&mut qemu, &mut console, begun);
            if ended.is_err() {
                // It is this process's own child; it may be gone already.
                let _ = qemu.kill();
                let _ = qemu.wait();
            }
            match ended? {
                Some(Mark::Finish) => return Ok(()),
                Some(Mark::Again) => {}
                _ => bail!("the guest stopped before its scenario was over\n{}", self.last_lines()),
            }
        }
    }

    fn start(&self) -> Result<Child> {
        let socket = self.directory.join("monitor");
        let _ = fs::remove_file(&socket);
        let tree = self.platform.tree;
        let mut qemu = tree.command(self.platform.qemu);
        qemu.arg("-nodefaults").args(&self.platform.arguments);
        qemu.args(["-display", "none", "-nic", "none", "-m"]).arg(format!("{}M", self.memory));
        let inside = |path: &Path| Ok::<_, anyhow::Error>(tree.inside(path)?.display().to_string());
        qemu.arg("-chardev").arg(format!("file,id=console,append=on,path={}", inside(&self.console())?));
        qemu.args(["-serial", "chardev:console"]);
        qemu.arg("-qmp").arg(format!("unix:{},server=on,wait=off", inside(&socket)?));
        qemu.arg("-kernel").arg(inside(&self.platform.kernel)?).arg("-initrd").arg(inside(&self.initramfs)?);
        qemu.arg("-append").arg(&self.command_line);
        for disk in &self.disks {
            let name = disk.file_name().unwrap_or_default().to_string_lossy();
            // Nothing here has to survive the host, only the guest.
            let options = format!("id={name},if=virtio,format=raw,cache=unsafe,file={}", inside(disk)?);
            qemu.arg("-drive").arg(options);
        }
        let log = OpenOptions::new().create(true).append(true).open(self.directory.join("qemu.log"))?;
        qemu.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        qemu.spawn().context("cannot run unshare")
    }

    /// Follows the console until QEMU ends; returns the last mark that says what comes next.
    fn watch(
        &self,
        qemu: &mut Child,
        console: &mut Console,
        begun: Instant,
    ) -> Result<Option<Mark<'static>>> {
        let mut next = None;
        let mut fault = None;
        console.heard = Instant::now();
        loop {
            let ended = qemu.try_wait()?;
            for line in console.lines()? {
                if is_fault(&line) {
                    fault.get_or_insert_with(Instant::now);
                }
                match Mark::parse(&line) {
                    Some(Mark::Finish) => next = Some(Mark::Finish),
                    Some(Mark::Again) => next = Some(Mark::Again),
                    Some(Mark::Unplug(disk)) => self.monitor(&format!("drive_del {disk}"))?,
                    Some(Mark::Note) if !line.ends_with("alive") => {
                        println!("  {:>4} s  {}", begun.elapsed().as_secs(), line.trim_start_matches("@@ "));
                    }
                    Some(Mark::Note) | None => {}
                }
            }
            if let Some(status) = ended {
                if !status.success() {
                    let said = fs::read_to_string(self.directory.join("qemu.log")).unwrap_or_default();
                    bail!("QEMU: {status}\n{said}");
                }
                return Ok(next);
            }
            if fault.is_some_and(|since: Instant| since.elapsed() > AFTERMATH) {
                bail!("the guest's kernel is at fault\n{}", self.last_lines());
            }
            if console.heard.elapsed() > SILENCE {
                bail!("the guest said nothing for {} s\n{}", SILENCE.as_secs(), self.last_lines());
            }
            if begun.elapsed() > self.limit {
                bail!("the guest took more than {} s\n{}", self.limit.as_secs(), self.last_lines());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Has QEMU's monitor do something.
    fn monitor(&self, command: &str) -> Result<()> {
        let socket = self.directory.join("monitor");
        let mut stream = UnixStream::connect(&socket).with_context(|| socket.display().to_string())?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut answers = BufReader::new(stream.try_clone()?);
        let mut answer = String::new();
        // A greeting comes first; then an answer to each request.
        answers.read_line(&mut answer)?;
        let argument = serde_json::json!({ "command-line": command });
        for request in [
            serde_json::json!({ "execute": "qmp_capabilities" }),
            serde_json::json!({ "execute": "human-monitor-command", "arguments": argument }),
        ] {
            writeln!(stream, "{request}")?;
            answer.clear();
            while !answer.contains("\"return\"") {
                answer.clear();
                answers.read_line(&mut answer)?;
                if answer.contains("\"error\"") || answer.is_empty() {
                    bail!("QEMU's monitor answers {answer:?} to {request}");
                }
            }
        }
        Ok(())
    }

    fn last_lines(&self) -> String {
        let text = fs::read(self.console()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
        format!("{}, which ends with\n{last}", self.console().display())
    }
}

/// A console's log that grows.
struct Console {
    log: PathBuf,
    read: u64,
    /// The beginning of a line.
    partial: String,
    /// When something came last.
    heard: Instant,
}

impl Console {
    /// The lines that were completed since the last call.
    fn lines(&mut self) -> Result<Vec<String>> {
        let mut file = File::open(&self.log)?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        if !bytes.is_empty() {
            self.heard = Instant::now();
            self.read += bytes.len() as u64;
        }
        self.partial.push_str(&String::from_utf8_lossy(&bytes));
        let mut lines = Vec::new();
        while let Some(end) = self.partial.find('\n') {
            lines.push(self.partial[..end].trim_end().to_owned());
            self.partial.drain(..=end);
        }
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_asks_for_is_read_off_its_console() {
        assert_eq!(Mark::parse("@@ finish 3"), Some(Mark::Finish));
        assert_eq!(Mark::parse("@@ again 2"), Some(Mark::Again));
        assert_eq!(Mark::parse("@@ host unplug pulled.img"), Some(Mark::Unplug("pulled.img")));
        assert_eq!(Mark::parse("@@ exit 2.save 0 after 1.0..2.0 s"), Some(Mark::Note));
        assert_eq!(Mark::parse("[    0.000000] @@ finish"), None);
    }

    #[test]
    fn a_line_of_the_console_counts_when_it_is_complete() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("console.log");
        fs::write(&log, "one\r\ntw").unwrap();
        let mut console =
            Console { log: log.clone(), read: 0, partial: String::new(), heard: Instant::now() };
        assert_eq!(console.lines().unwrap(), ["one"]);
        fs::write(&log, "one\r\ntwo\r\n").unwrap();
        assert_eq!(console.lines().unwrap(), ["two"]);
        assert!(console.lines().unwrap().is_empty());
    }
}
