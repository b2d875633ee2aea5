//! gdb looks into dumps of every machine through hadump, and sees what drgn sees.

mod common;

use common::peer;
use common::run::{self, HADUMP, Run};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// What gdb and the target print for `commands` when it looks into `dump`. `options` are hadump's; gdb gets `before` to begin with.
fn gdb(before: &[&str], dump: &Path, options: &str, commands: &[&str]) -> Option<String> {
    let gdb = peer::program("gdb-multiarch")?;
    let mut command = Command::new(gdb);
    command.env("HOME", "/nonexistent").args([
        "-nx",
        "-batch",
        "-ex",
        "set pagination off",
        "-ex",
        "set width 0",
    ]);
    let remote = format!("target remote | '{HADUMP}' -q gdb --stdio '{}' {options}", dump.display());
    for one in before.iter().copied().chain([remote.as_str()]).chain(commands.iter().copied()) {
        command.args(["-ex", one]);
    }
    let run = Run::of(&mut command).ok();
    // What the target prints goes to standard error.
    Some(run.stdout + &run.stderr)
}

/// The numbers behind the colons of what gdb's `x` printed.
fn words(printed: &str) -> Vec<String> {
    let lines = printed.lines().filter(|line| line.starts_with("0x"));
    let words = lines.filter_map(|line| line.split_once(':')).flat_map(|(_, words)| words.split_whitespace());
    words.map(str::to_owned).collect()
}

/// Where the kernel's name is, by the VMCOREINFO note.
fn name_of_the_kernel(dump: &Path) -> String {
    let dump = std::fs::read(dump).expect("a dump");
    let key = b"SYMBOL(init_uts_ns)=";
    let at = memchr::memmem::find(&dump, key).expect("a VMCOREINFO");
    let digits = dump[at + key.len()..].iter().take_while(|byte| byte.is_ascii_hexdigit());
    format!("0x{}", digits.map(|&byte| char::from(byte)).collect::<String>())
}

#[test]
fn memory_is_what_drgn_reads_on_every_machine() {
    let machines = [
        (corpus::X86_64, None, "little"),
        (corpus::X86_64_DEBIAN, None, "little"),
        (corpus::POWER, None, "little"),
        (corpus::POWER_BE, None, "big"),
        (corpus::ARM64, None, "little"),
        // drgn takes QEMU's dump to be mapped where it is.
        (corpus::S390X, Some("0x792018"), "big"),
    ];
    for (name, addr, order) in machines {
        let (Some(dump), Some(python)) = (corpus::dump(name), peer::python_drgn()) else { continue };
        let addr = addr.map_or_else(|| name_of_the_kernel(&dump.elf), str::to_owned);
        let endian = format!("set endian {order}");
        let Some(printed) = gdb(&[&endian], &dump.elf, "", &[&format!("x/16gx {addr}")]) else { continue };
        let mut drgn = Command::new(python);
        let drgn = drgn.arg(peer::script("words.py")).arg(&dump.elf).args([&addr, "16"]);
        let expected = Run::of(drgn).ok().stdout;
        assert_eq!(words(&printed), expected.lines().collect::<Vec<_>>(), "{name}: {printed}");
    }
}

#[test]
fn cpus_and_tasks_are_threads_with_names_registers_and_states() {
    // The dumps whose kernels have BTF: CPUs that crashed first, tasks that sleep behind.
    for (name, order, first) in [
        (corpus::X86_64_DEBIAN, "little", "\"sh\" (pid 147, R, on CPU 0, which crashed)"),
        (corpus::ARM64, "little", "\"init\" (pid 1, R, on CPU 0, which crashed)"),
        (corpus::S390X, "big", "\"swapper/0\" (pid 0, R, on CPU 0)"),
    ] {
        let Some(dump) = corpus::dump(name) else { continue };
        let endian = format!("set endian {order}");
        let all = ["info threads", "thread apply all -q p/x $sp"];
        let Some(printed) = gdb(&[&endian], &dump.elf, "", &all) else { continue };
        let shown = printed.lines().find(|line| line.starts_with("* 1 ")).expect("a first thread");
        assert!(shown.contains(first), "{name}: {shown}");
        let asleep = printed.lines().filter(|line| line.contains(", S, last on CPU")).count();
        assert!(asleep > 10 && printed.contains("\"kthreadd\" (pid 2, S, "), "{name}: {printed}");
        // Every thread has a stack of its own.
        let mut stacks: Vec<&str> = printed.lines().filter(|line| line.starts_with('$')).collect();
        let count = stacks.len();
        assert!(stacks.iter().all(|line| line.contains("= 0x")), "{name}: {printed}");
        stacks.sort_unstable_by_key(|line| line.split_once(" = ").map(|(_, value)| value));
        stacks.dedup_by_key(|line| line.split_once(" = ").map(|(_, value)| value.to_owned()));
        assert_eq!(stacks.len(), count, "{name}");
    }
}

/// The functions of what gdb's `bt` printed.
fn functions(printed: &str) -> Vec<String> {
    let frames = printed.lines().filter(|line| line.starts_with('#'));
    let place = |line: &str| {
        let line = line.split_once(' ').map_or("", |(_, rest)| rest.trim_start()).to_owned();
        let line = line.split_once(" in ").map_or(line.clone(), |(_, rest)| rest.to_owned());
        line.split(' ').next().unwrap_or_default().to_owned()
    };
    frames.map(place).collect()
}

#[test]
fn a_backtrace_has_the_symbols_of_a_vmlinux_wherever_the_kernel_was_put() {
    for (name, called, below) in [
        (corpus::X86_64, ["__crash_kexec", "panic", "sysrq_handle_crash", "__handle_sysrq"], "schedule"),
        (corpus::POWER, ["crash_fadump", "panic", "sysrq_handle_crash", "__handle_sysrq"], "schedule"),
    ] {
        let Some(dump) = corpus::dump(name) else { continue };
        let Some(vmlinux) = dump.vmlinux() else { continue };
        let commands = ["bt", "thread apply 4 bt", "p init_uts_ns.name.sysname", "x/s linux_banner"];
        let file = format!("file {}", vmlinux.display());
        let options = format!("--vmlinux '{}'", vmlinux.display());
        let Some(printed) = gdb(&[&file], &dump.elf, &options, &commands) else { continue };
        let functions = functions(&printed);
        for function in called {
            assert!(functions.iter().any(|found| found == function), "{name}: {function}: {printed}");
        }
        // The stack of kthreadd, which sleeps.
        assert!(functions.iter().any(|found| found == below), "{name}: {printed}");
        assert!(functions.iter().any(|found| found == "kthreadd"), "{name}: {printed}");
        assert!(printed.contains("= \"Linux\", '\\000'"), "{name}: {printed}");
        // In .rodata, which three offsets would not move.
        assert!(printed.contains("\"Linux version 6."), "{name}: {printed}");
    }
}

#[test]
fn a_filtered_dump_of_any_compression_shows_gdb_the_same() {
    let Some(dump) = corpus::dump(corpus::X86_64_DEBIAN) else { return };
    let commands = ["info threads", "info registers", "x/64gx $sp", "monitor dmesg"];
    let Some(expected) = gdb(&[], &dump.elf, "", &commands) else { return };
    assert!(expected.contains("Linux version 7.2"));
    for (method, _) in run::METHODS {
        let output = run::to_kdump(&dump.elf, 31, method);
        assert_eq!(gdb(&[], output.path(), "", &commands).as_deref(), Some(expected.as_str()), "{method}");
    }
}

#[test]
fn gdb_stays_usable_when_it_is_told_to_write_or_to_go_on() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    let commands =
        ["p/x $rip", "continue", "stepi", "p/x $rip", "monitor help", "monitor phys 0 16", "info threads"];
    let Some(printed) = gdb(&[], &dump.elf, "", &commands) else { return };
    let values: Vec<&str> =
        printed.lines().filter_map(|line| line.split_once(" = ")).map(|(_, value)| value).collect();
    assert_eq!((values.len(), values[0]), (2, values[1]), "{printed}");
    assert_eq!(printed.matches("nothing goes on in it").count(), 2, "{printed}");
    assert!(printed.contains("phys ADDRESS [LENGTH]") && printed.contains("\n0x0: "), "{printed}");
    assert!(printed.contains("* 1    Thread 10000001 (on CPU 1, which crashed)"), "{printed}");
    // Each of these is an error of gdb's, after which the rest of the script is done all the same.
    let gdb = peer::program("gdb-multiarch").expect("it was there before");
    for command in ["set $rax = 1", "set *(long *) $sp = 1", "x/gx 0x10"] {
        let mut run = Command::new(&gdb);
        let remote = format!("target remote | '{HADUMP}' -q gdb --stdio '{}'", dump.elf.display());
        run.args(["-nx", "-batch", "-ex", &remote, "-ex", command, "-ex", "p/x $rip"]);
        let run = Run::of(&mut run);
        assert!(run.stdout.contains(values[0]), "{command}: {} {}", run.stdout, run.stderr);
        assert!(
            run.stderr.contains("annot access memory") || run.stderr.contains("nothing can be written"),
            "{}",
            run.stderr
        );
    }
}

/// `hadump gdb` on a port.
struct Server {
    child: Child,
    _stdout: BufReader<ChildStdout>,
    address: String,
}

impl Server {
    fn new(dump: &Path) -> Self {
        let mut command = Command::new(HADUMP);
        command.args(["gdb", "--listen", "0"]).arg(dump).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("hadump");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("target remote ").expect("gdb's command").to_owned();
        assert!(address.starts_with("127.0.0.1:"), "{address}");
        Self { child, _stdout: stdout, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// A session that was answered.
    fn session(&self) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(b"+$qAttached#8f").unwrap();
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"+$1#31");
        stream
    }

    /// Ends it; what it said.
    fn stop(mut self) -> String {
        assert!(self.child.try_wait().unwrap().is_none(), "it ended by itself");
        self.child.kill().unwrap();
        let mut said = String::new();
        self.child.stderr.take().expect("a pipe").read_to_string(&mut said).unwrap();
        self.child.wait().unwrap();
        said
    }
}

/// What comes until the other side closes the connection.
fn rest(mut stream: &TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    // A connection that is closed with something unread is reset.
    let _ = stream.read_to_end(&mut all);
    all
}

#[test]
fn a_client_that_goes_away_or_sends_garbage_ends_its_session_and_not_the_program() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    let server = Server::new(&dump.elf);
    let whole = server.session();
    for garbage in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 100], &[b"$".as_slice(), &[b'x'; 20_000]].concat()]
    {
        let mut stream = server.connect();
        stream.write_all(garbage).unwrap();
        assert_eq!(rest(&stream), b"", "{garbage:?}");
    }
    for cut in [&b""[..], b"$m", b"$m0,4#"] {
        let mut stream = server.connect();
        stream.write_all(cut).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&stream), b"", "{cut:?}");
    }
    drop(server.session());
    // The first is still there, and goes in order.
    let mut stream = whole;
    stream.write_all(b"$D#44").unwrap();
    assert_eq!(rest(&stream), b"+$OK#9a");
    let said = server.stop();
    assert_eq!(
        said.matches("the session was ended: the client does not speak gdb's remote protocol").count(),
        3,
        "{said}"
    );
}

#[test]
fn a_seventeenth_client_is_turned_away_and_the_others_stay() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    let server = Server::new(&dump.elf);
    let sessions: Vec<TcpStream> = (0..16).map(|_| server.session()).collect();
    assert_eq!(rest(&server.connect()), b"");
    for mut stream in &sessions {
        stream.write_all(b"$qC#b4").unwrap();
        let mut answer = [0; 2];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"+$");
    }
    let said = server.stop();
    assert!(said.contains("turned away: there are 16 sessions already"), "{said}");
}

#[test]
fn what_is_no_dump_or_is_no_protocol_is_an_error() {
    let run = run::hadump(["gdb", "--stdio", "/dev/null"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    for wrong in [&["gdb", "x", "--listen", "far:1"][..], &["gdb", "x", "--listen", "1", "--stdio"]] {
        assert_eq!(run::hadump(wrong).code, Some(2));
    }
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let run = run::hadump(["gdb".as_ref(), "--listen".as_ref(), address.as_ref(), dump.elf.as_os_str()]);
    assert_eq!(run.code, Some(1));
    assert!(
        run.stderr.contains("cannot listen; another port is chosen with --listen PORT"),
        "{}",
        run.stderr
    );
    let mut child = Command::new(HADUMP)
        .args(["gdb", "--stdio"])
        .arg(&dump.elf)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"hello").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    // Nothing but signs of life.
    assert!(output.stdout.iter().all(|&byte| byte == b'+'), "{:?}", output.stdout);
}
