//! The command line of `hadump gdb`.

use super::input::InputArgs;
use clap::Args;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

#[derive(Debug, Args)]
pub(crate) struct Gdb {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Where to listen for gdb; a port alone is one that only this machine reaches, with all its users, and 0 is any that is free
    #[arg(long, value_name = "[ADDR:]PORT", default_value = "127.0.0.1:1234", value_parser = address,
          conflicts_with = "stdio")]
    pub(crate) listen: SocketAddr,
    /// Serve one session on standard input and output: gdb vmlinux -ex 'target remote | hadump gdb --stdio DUMP'
    #[arg(long)]
    pub(crate) stdio: bool,
}

/// An address and a port, as gdb spells them.
fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let port = text.strip_prefix("localhost").unwrap_or(text);
    let port = port.strip_prefix(':').unwrap_or(port).parse();
    port.map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
        .map_err(|_| "expected a port, or an address and a port: 1234, 192.0.2.1:1234, [::1]:1234".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_of_this_machine_only() {
        for text in ["1234", ":1234", "localhost:1234", "127.0.0.1:1234"] {
            assert_eq!(address(text).unwrap().to_string(), "127.0.0.1:1234");
        }
        assert_eq!(address("0.0.0.0:9").unwrap().to_string(), "0.0.0.0:9");
        assert_eq!(address("[::]:9").unwrap().to_string(), "[::]:9");
        for text in ["", "localhost", "70000", "example.org:1234", "1.2.3.4"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
