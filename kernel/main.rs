//! `umbra`: reads the command line and boots.
#![forbid(unsafe_code)]

use std::io::Write as _;

use umbra::{boot, cli};

/// Exit status for a wrong command line.
const USAGE: i32 = 2;

fn show(text: &str) -> i32 {
    // A reader that is gone (`| head`) does not matter.
    let _ = std::io::stdout().write_all(text.as_bytes());
    0
}

fn main() {
    let status = match cli::parse(std::env::args_os().skip(1)) {
        Ok(cli::Command::Help) => show(&cli::help()),
        Ok(cli::Command::Version) => show(&cli::version()),
        Ok(cli::Command::Syscalls) => show(&cli::syscalls()),
        Ok(cli::Command::Boot(config)) => boot::boot(*config),
        Err(line) => {
            eprintln!("umbra: {line}");
            USAGE
        }
    };
    std::process::exit(status)
}
