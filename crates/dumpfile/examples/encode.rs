//! Encodes the pages of a raw file and prints what they shrink to, so that instructions can be counted on any
//! architecture: `encode METHOD FILE PAGE-SIZE TIMES`. With 0 TIMES it does everything else.

use dumpfile::codec::{Encoder, Method};
use std::error::Error;
use std::hint::black_box;
use vmcore::PageSize;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [method, file, page_size, times] = args.as_slice() else {
        return Err("usage: encode METHOD FILE PAGE-SIZE TIMES".into());
    };
    let method = Method::from_name(method).ok_or("METHOD is zlib, lzo, snappy or zstd")?;
    let page_size = PageSize::new(page_size.parse()?).ok_or("PAGE-SIZE is a page's")?;
    let bytes = std::fs::read(file)?;
    let mut encoder = Encoder::new(method, None, page_size)?;
    let mut out = vec![0; encoder.out_len()];
    let mut stored = 0;
    for _ in 0..times.parse()? {
        stored = 0;
        for page in bytes.chunks_exact(page_size.len()) {
            stored += encoder.encode(black_box(page), &mut out).unwrap_or(page.len());
        }
    }
    println!("{} pages, {} bytes, {stored} stored", bytes.len() / page_size.len(), bytes.len());
    Ok(())
}
