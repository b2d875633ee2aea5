# The menu; the work is in `cargo xtask`.

# List the recipes
default:
    @just --list

# Save a real POWER dump and verify the result page by page
demo *arguments:
    cargo xtask demo {{arguments}}

# Run every test; `just test --test levels` runs one file's
test *arguments:
    cargo xtask test {{arguments}}

# Crash a real machine in QEMU and save its dump there; `just boot power --list` names what can be done to it
boot machine="power" *arguments:
    cargo xtask boot {{machine}} {{arguments}}

# Packages and tarballs; `just package --check` tries them in fresh Debian trees
package *arguments:
    cargo xtask package {{arguments}}

# Formatting, clippy, licences
lint:
    cargo xtask lint

# Everything that must pass before a commit
ci:
    cargo xtask ci

# Time hadump and makedumpfile in turn
bench *arguments:
    cargo xtask bench {{arguments}}

# Hostile inputs for every reader; `just fuzz --target elf --runs 10000`
fuzz *arguments:
    cargo xtask fuzz {{arguments}}

# Dependencies: licences, bans, sources, and known vulnerabilities
deny:
    cargo deny check

# Rustdoc of the workspace
doc:
    cargo doc --workspace --no-deps --open
