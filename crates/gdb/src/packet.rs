//! Packets: `$`, the content, `#`, and two hexadecimal digits that are the sum of the content's bytes.
//!
//! Each is acknowledged with `+`, or asked for again with `-`, until the client turns that off. The manual of gdb has the
//! rest, in its appendix "Remote Protocol".

use crate::Error;
use std::io::{BufRead, BufReader, Read, Write};

/// The most bytes of a packet's content, in either direction.
pub const LONGEST: usize = 16 << 10;
/// The most packets in a row that may be asked for again, by either side.
const PATIENCE: u32 = 16;

/// Something that the client sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// A packet's content.
    Packet(Vec<u8>),
    /// The client wants to stop what runs.
    Interrupt,
    /// The client went away.
    Gone,
}

/// Both directions of a connection.
pub(crate) struct Wire<R, W> {
    input: BufReader<R>,
    output: W,
    /// Packets are acknowledged.
    acknowledged: bool,
    /// The last packet that was sent, as it went out.
    last: Vec<u8>,
    /// Packets that were asked for again, in a row.
    again: u32,
}

impl<R: Read, W: Write> Wire<R, W> {
    pub(crate) fn new(input: R, output: W) -> Self {
        let (last, again) = (Vec::new(), 0);
        Self { input: BufReader::with_capacity(4096, input), output, acknowledged: true, last, again }
    }

    /// Both sides trust the connection from now on.
    pub(crate) fn trust(&mut self) {
        self.acknowledged = false;
    }

    /// Waits for the client.
    pub(crate) fn receive(&mut self) -> Result<Received, Error> {
        loop {
            match self.byte()? {
                None => return Ok(Received::Gone),
                Some(b'$') => match self.content()? {
                    Content::Sound(content) => {
                        self.again = 0;
                        self.acknowledge(b"+")?;
                        return Ok(Received::Packet(content));
                    }
                    Content::Damaged => {
                        self.lose_patience("packet after packet has a wrong checksum")?;
                        self.acknowledge(b"-")?;
                    }
                    Content::Cut => return Ok(Received::Gone),
                },
                Some(3) => return Ok(Received::Interrupt),
                Some(b'+') => {}
                // gdb sends it whenever an answer takes more than two seconds. The answer is then sent once, when it is
                // there: sent again, it would be taken for that of the next request.
                Some(b'-') if !self.acknowledged => {}
                Some(b'-') => {
                    self.lose_patience("it asks for the same packet again and again")?;
                    self.output.write_all(&self.last)?;
                    self.output.flush()?;
                }
                Some(other) => {
                    let text = format!("expected a packet, which begins with $, and found byte {other:#04x}");
                    return Err(Error::Protocol(text));
                }
            }
        }
    }

    /// Sends a packet. `content` must not be longer than [`LONGEST`], and has what is special in packets escaped.
    pub(crate) fn send(&mut self, content: &[u8]) -> Result<(), Error> {
        self.last.clear();
        self.last.push(b'$');
        self.last.extend_from_slice(content);
        let sum = content.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        self.last.extend_from_slice(format!("#{sum:02x}").as_bytes());
        self.output.write_all(&self.last)?;
        self.output.flush()?;
        Ok(())
    }

    fn lose_patience(&mut self, why: &str) -> Result<(), Error> {
        self.again += 1;
        if self.again > PATIENCE { Err(Error::Protocol(why.to_owned())) } else { Ok(()) }
    }

    fn acknowledge(&mut self, sign: &[u8]) -> Result<(), Error> {
        if self.acknowledged {
            self.output.write_all(sign)?;
            self.output.flush()?;
        }
        Ok(())
    }

    /// The content of a packet whose `$` was read.
    fn content(&mut self) -> Result<Content, Error> {
        let mut content = Vec::new();
        loop {
            let Some(byte) = self.byte()? else { return Ok(Content::Cut) };
            match byte {
                b'#' => break,
                // A client that gave a packet up begins another.
                b'$' => content.clear(),
                _ if content.len() >= LONGEST => {
                    let text = format!("a packet is longer than {LONGEST} bytes");
                    return Err(Error::Protocol(text));
                }
                byte => content.push(byte),
            }
        }
        let (Some(high), Some(low)) = (self.byte()?, self.byte()?) else { return Ok(Content::Cut) };
        let sum = content.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        let told = digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low);
        // Who trusts the connection need not look.
        Ok(if !self.acknowledged || told == Some(sum) { Content::Sound(content) } else { Content::Damaged })
    }

    fn byte(&mut self) -> Result<Option<u8>, Error> {
        let byte = loop {
            match self.input.fill_buf() {
                Ok(bytes) => break bytes.first().copied(),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        };
        self.input.consume(usize::from(byte.is_some()));
        Ok(byte)
    }
}

enum Content {
    Sound(Vec<u8>),
    Damaged,
    Cut,
}

/// The value of a hexadecimal digit.
fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| DIGITS[usize::from(digit)]).collect()
}

/// The bytes that hexadecimal digits stand for.
pub(crate) fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let pairs = digits.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// A number in hexadecimal digits, at most 16 of them that count.
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, &byte| {
        (number >> 60 == 0).then_some(())?;
        Some(number << 4 | u64::from(digit(byte)?))
    })
}

/// Bytes with what is special in packets escaped.
pub(crate) fn escaped(bytes: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'#' | b'$' | b'}' | b'*' => escaped.extend([b'}', byte ^ 0x20]),
            _ => escaped.push(byte),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is received of `bytes`, up to the end or an error, and what is sent meanwhile.
    fn received(bytes: &[u8]) -> (Vec<Received>, Option<String>, Vec<u8>) {
        let mut sent = Vec::new();
        let mut wire = Wire::new(bytes, &mut sent);
        let mut all = Vec::new();
        let error = loop {
            match wire.receive() {
                Ok(Received::Gone) => break None,
                Ok(received) => all.push(received),
                Err(error) => break Some(error.to_string()),
            }
        };
        (all, error, sent)
    }

    #[test]
    fn a_packet_is_acknowledged_and_one_with_a_wrong_sum_is_asked_for_again() {
        let (all, error, sent) = received(b"+$m0,4#fd\x03$m0,4#00$m0,4#fd");
        let packet = || Received::Packet(b"m0,4".to_vec());
        assert_eq!(all, [packet(), Received::Interrupt, packet()]);
        assert_eq!((error, sent), (None, b"+-+".to_vec()));
    }

    #[test]
    fn a_packet_that_ends_with_the_connection_is_nothing() {
        for cut in [&b"$m0,4"[..], b"$m0,4#", b"$m0,4#f"] {
            assert_eq!(received(cut), (vec![], None, vec![]));
        }
    }

    #[test]
    fn what_is_not_the_protocol_ends_the_session() {
        let (_, error, _) = received(b"GET / HTTP/1.1\r\n");
        assert!(error.unwrap().ends_with("which begins with $, and found byte 0x47"));
        let (_, error, _) = received(&[&b"$"[..], &vec![b'x'; 1 << 20]].concat());
        assert!(error.unwrap().ends_with("a packet is longer than 16384 bytes"));
    }

    #[test]
    fn packets_are_asked_for_and_sent_again_only_so_often() {
        for (again, sign) in [(b"$x#00".repeat(17), b"-".repeat(16)), (b"-".repeat(17), Vec::new())] {
            let (all, error, sent) = received(&again);
            assert!(all.is_empty() && error.is_some());
            assert_eq!(sent, sign);
        }
    }

    #[test]
    fn the_last_packet_is_sent_again_when_asked_for() {
        let mut sent = Vec::new();
        let mut wire = Wire::new(&b"--"[..], &mut sent);
        wire.send(b"OK").unwrap();
        assert_eq!(wire.receive().unwrap(), Received::Gone);
        assert_eq!(sent, b"$OK#9a".repeat(3));
    }

    #[test]
    fn a_number_has_no_more_than_64_bits() {
        assert_eq!(number(b"ffffffffffffffff"), Some(u64::MAX));
        assert_eq!(number(b"00ffffffffffffffff"), Some(u64::MAX));
        assert_eq!([&b"1ffffffffffffffff"[..], b"", b"x", b"-1"].map(number), [None; 4]);
    }

    proptest! {
        #[test]
        fn whatever_comes_ends(bytes: Vec<u8>) {
            received(&bytes);
        }

        #[test]
        fn digits_are_the_bytes_again(bytes: Vec<u8>) {
            prop_assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        }
    }
}
