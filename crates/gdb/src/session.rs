//! A conversation with one client.

use crate::packet::{self, LONGEST, Received, Wire};
use crate::threads::in_words;
use crate::{Error, Host, Target, monitor};
use std::io::{Read, Write};

/// How a client ended its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It said that it was done.
    Done,
    /// It went away.
    Gone,
}

/// What cannot be done to a dump.
const READ_ONLY: &str = "E.a dump is only read: nothing can be written";
/// gdb counts on a stop after it let the target go on, and asks again where the signal is the one of a step.
const STOPPED: &str = "T11";

/// Answers a client until it leaves.
///
/// # Errors
///
/// When the connection fails, and when the client sends what is not the protocol.
pub fn serve(
    target: &Target<'_>,
    host: &dyn Host,
    input: impl Read,
    output: impl Write,
) -> Result<End, Error> {
    let thread = target.threads.first();
    Session { target, host, wire: Wire::new(input, output), thread, listed: 0 }.run()
}

struct Session<'s, 'd, R, W> {
    target: &'s Target<'d>,
    host: &'s dyn Host,
    wire: Wire<R, W>,
    /// The thread whose registers are asked for.
    thread: u64,
    /// How many threads of the list were sent.
    listed: usize,
}

/// What follows a packet.
enum Answer {
    Content(Vec<u8>),
    /// The client is gone after this answer, or without one.
    Last(Option<&'static str>),
}

/// What is not known is answered with nothing at all.
fn unknown() -> Answer {
    content("")
}

fn content(content: impl Into<Vec<u8>>) -> Answer {
    Answer::Content(content.into())
}

impl<R: Read, W: Write> Session<'_, '_, R, W> {
    fn run(mut self) -> Result<End, Error> {
        loop {
            let packet = match self.wire.receive()? {
                Received::Packet(packet) => packet,
                // Nothing runs.
                Received::Interrupt => continue,
                Received::Gone => return Ok(End::Gone),
            };
            match self.answer(&packet)? {
                Answer::Content(content) => self.wire.send(&content)?,
                Answer::Last(answer) => {
                    answer.map_or(Ok(()), |answer| self.wire.send(answer.as_bytes()))?;
                    return Ok(End::Done);
                }
            }
            if packet == b"QStartNoAckMode" {
                self.wire.trust();
            }
        }
    }

    fn answer(&mut self, packet: &[u8]) -> Result<Answer, Error> {
        let Some((&first, rest)) = packet.split_first() else { return Ok(unknown()) };
        Ok(match first {
            b'?' => content(format!("T05thread:{:x};", self.thread)),
            b'g' if rest.is_empty() => self.registers(None),
            b'p' => {
                packet::number(rest).map_or_else(|| content("E01"), |number| self.registers(Some(number)))
            }
            b'm' => self.memory(rest),
            b'M' | b'X' | b'G' | b'P' | b'Z' | b'z' => content(READ_ONLY),
            b'H' => self.choose(rest),
            b'T' => match packet::number(rest).and_then(|number| self.target.threads.get(number)) {
                Some(_) => content("OK"),
                None => content("E01"),
            },
            b'c' | b'C' | b's' | b'S' => self.go_on()?,
            b'D' => Answer::Last(Some("OK")),
            b'k' => Answer::Last(None),
            b'v' if rest.starts_with(b"Kill") => Answer::Last(Some("OK")),
            b'q' => self.query(rest)?,
            b'Q' if rest == b"StartNoAckMode" => content("OK"),
            _ => unknown(),
        })
    }

    fn registers(&self, number: Option<u64>) -> Answer {
        let saved = self.target.threads.get(self.thread).map_or(&[][..], |thread| &thread.registers);
        let Some(registers) = &self.target.registers else { return content("E01") };
        match number {
            Some(number) => content(registers.one(saved, number).unwrap_or_else(|| "E01".into())),
            None => content(registers.all(saved)),
        }
    }

    /// `m ADDRESS,LENGTH`: as much as there is.
    fn memory(&self, rest: &[u8]) -> Answer {
        let Some((addr, len)) = pair(rest) else { return content("E01") };
        let len = len.min(LONGEST as u64 / 2) as usize;
        if len == 0 {
            return content("");
        }
        self.target.read(addr, len).map_or_else(|| content("E14"), |bytes| content(packet::hex(&bytes)))
    }

    /// `Hg THREAD`, where 0 is any. `Hc` says which thread is to go on, and none does.
    fn choose(&mut self, rest: &[u8]) -> Answer {
        let Some((operation, number)) = rest.split_first() else { return content("E01") };
        if *operation == b'c' || number == b"-1" {
            return content("OK");
        }
        match packet::number(number) {
            Some(0) => content("OK"),
            Some(number) if self.target.threads.get(number).is_some() => {
                self.thread = number;
                content("OK")
            }
            _ => content("E01"),
        }
    }

    /// Nothing goes on; gdb is told why, and that it stopped.
    fn go_on(&mut self) -> Result<Answer, Error> {
        self.print("this is a dump: nothing goes on in it\n")?;
        Ok(content(format!("{STOPPED}thread:{:x};", self.thread)))
    }

    fn query(&mut self, rest: &[u8]) -> Result<Answer, Error> {
        let (name, arguments) = match rest.iter().position(|byte| b":,".contains(byte)) {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => (rest, &[][..]),
        };
        let threads = &self.target.threads;
        Ok(match name {
            b"Supported" => content(format!(
                "PacketSize={LONGEST:x};QStartNoAckMode+;qXfer:threads:read+{}",
                if self.target.registers.is_some() { ";qXfer:features:read+" } else { "" }
            )),
            b"C" => content(format!("QC{:x}", self.thread)),
            // It was there before the client, which lets it be when it leaves.
            b"Attached" => content("1"),
            b"Offsets" => content(self.target.offsets()),
            b"Symbol" => content("OK"),
            b"fThreadInfo" => {
                self.listed = 0;
                self.list()
            }
            b"sThreadInfo" => self.list(),
            b"ThreadExtraInfo" => match packet::number(arguments).and_then(|number| threads.get(number)) {
                Some(thread) => content(packet::hex(in_words(thread, self.host).as_bytes())),
                None => content("E01"),
            },
            b"Xfer" => self.transfer(arguments),
            b"Rcmd" => self.monitor(arguments)?,
            _ => unknown(),
        })
    }

    /// The next part of the list of threads.
    fn list(&mut self) -> Answer {
        let mut list = String::new();
        let mut taken = 0;
        for number in self.target.threads.numbers().skip(self.listed) {
            let next = format!("{}{number:x}", if taken == 0 { 'm' } else { ',' });
            if list.len() + next.len() > LONGEST {
                break;
            }
            list += &next;
            taken += 1;
        }
        self.listed += taken;
        if taken == 0 { content("l") } else { content(list) }
    }

    /// `OBJECT:read:ANNEX:OFFSET,LENGTH`: a part of a document.
    fn transfer(&self, arguments: &[u8]) -> Answer {
        let mut parts = arguments.splitn(4, |&byte| byte == b':');
        let mut next = || parts.next().unwrap_or_default();
        let document = match (next(), next(), next()) {
            (b"features", b"read", b"target.xml") => {
                self.target.registers.as_ref().map(|registers| registers.xml.as_str())
            }
            (b"features", b"read", _) => return content("E00"),
            (b"threads", b"read", b"") => Some(self.target.list(self.host)),
            _ => None,
        };
        let Some(document) = document.map(str::as_bytes) else { return unknown() };
        let Some((offset, len)) = pair(next()) else { return content("E01") };
        let rest = usize::try_from(offset).ok().and_then(|offset| document.get(offset..));
        let rest = rest.unwrap_or_default();
        // Each byte may become two.
        let len = usize::try_from(len).unwrap_or(usize::MAX).min((LONGEST - 1) / 2);
        let part = &rest[..rest.len().min(len)];
        let mut answer = vec![if part.len() == rest.len() { b'l' } else { b'm' }];
        answer.extend(packet::escaped(part));
        content(answer)
    }

    fn monitor(&mut self, arguments: &[u8]) -> Result<Answer, Error> {
        let command = packet::unhex(arguments).and_then(|bytes| String::from_utf8(bytes).ok());
        let Some(command) = command else { return Ok(content("E01")) };
        self.print(&monitor::run(self.target, self.host, &command))?;
        Ok(content("OK"))
    }

    /// Prints on gdb's terminal.
    fn print(&mut self, text: &str) -> Result<(), Error> {
        for part in self.host.safe(text).as_bytes().chunks(LONGEST / 2 - 1) {
            let mut packet = vec![b'O'];
            packet.extend(packet::hex(part));
            self.wire.send(&packet)?;
        }
        Ok(())
    }
}

/// Two numbers with a comma between.
fn pair(digits: &[u8]) -> Option<(u64, u64)> {
    let comma = digits.iter().position(|&byte| byte == b',')?;
    Some((packet::number(&digits[..comma])?, packet::number(&digits[comma + 1..])?))
}
