//! What pages hold: text, pointers, counters, noise, in a mix that compresses about as memory does.

use crate::rng::Rng;

const WORDS: [&str; 24] = [
    "request",
    "device",
    "queue",
    "inode",
    "socket",
    "buffer",
    "/usr/lib64",
    "/var/log/messages",
    "page",
    "kernel",
    "timer",
    "thread",
    "eth0",
    "sda1",
    "root",
    "error",
    "value",
    "name",
    "GET /index.html",
    "session",
    "2026-11-23",
    "systemd",
    "mutex",
    "memory",
];

/// Fills `page` with one of four kinds of content; every page gets its own first eight bytes.
pub fn fill_page(rng: &mut Rng, page: &mut [u8]) {
    match rng.below(8) {
        0..=2 => fill_text(rng, page),
        3..=5 => fill_pointers(rng, page),
        6 => fill_counters(rng, page),
        _ => page.chunks_mut(8).for_each(|word| fill_word(word, rng.draw())),
    }
    let mark = rng.draw() | 1;
    if let Some(head) = page.get_mut(..8) {
        fill_word(head, mark);
    }
}

fn fill_word(word: &mut [u8], value: u64) {
    let length = word.len();
    word.copy_from_slice(&value.to_be_bytes()[..length]);
}

fn fill_text(rng: &mut Rng, page: &mut [u8]) {
    let mut at = 0;
    while at < page.len() {
        let word = WORDS[rng.below(WORDS.len() as u64) as usize].as_bytes();
        let length = word.len().min(page.len() - at);
        page[at..at + length].copy_from_slice(&word[..length]);
        at += length;
        if at < page.len() {
            page[at] = if rng.below(9) == 0 { b'\n' } else { b' ' };
            at += 1;
        }
    }
}

fn fill_pointers(rng: &mut Rng, page: &mut [u8]) {
    // Structures of 64 bytes: two pointers near each other, a small number, a flag word, and zeros.
    let region = 0xc000_0000_0000_0000 | (rng.draw() & 0x3fff_0000);
    for object in page.chunks_mut(64) {
        object.fill(0);
        for (slot, word) in object.chunks_mut(8).take(4).enumerate() {
            let value = match slot {
                0 | 1 => region | (rng.draw() & 0xffc0),
                2 => rng.below(256),
                _ => 0x0000_0001_0000_0000,
            };
            fill_word(word, value);
        }
    }
}

fn fill_counters(rng: &mut Rng, page: &mut [u8]) {
    let mut count = rng.below(1 << 20);
    for word in page.chunks_mut(8) {
        count += rng.below(4);
        fill_word(word, count);
    }
}
