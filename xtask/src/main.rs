//! The chores of the Millpond repository, as `cargo xtask help` lists them: checking, running, measuring.
//! It starts other programs and judges what they say. It depends on no crate of the workspace, so that it
//! builds in seconds on a bare machine, before RocksDB exists there.

#![allow(clippy::disallowed_methods, reason = "a driver: it times steps and polls a build")]

mod args;
mod check;
mod codemap;
mod error;
mod models;
mod provision;
mod rocksdb;
mod run;
mod steps;
mod workspace;

use std::process::ExitCode;

use args::Command;
use error::Result;
use workspace::Workspace;

fn main() -> ExitCode {
    // Not `args`, which panics on an argument that is not UTF-8.
    let arguments = std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned());
    match Command::parse(arguments).and_then(execute) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn execute(command: Command) -> Result<()> {
    if command == Command::Help {
        print!("{}", args::HELP);
        return Ok(());
    }
    let workspace = Workspace::find()?;
    match command {
        Command::Demo => run::demo(&workspace),
        Command::Check { keep_going } => check::check(&workspace, keep_going),
        Command::Fix => run::fix(&workspace),
        Command::Loom(options) => models::run(&workspace, &run::prepare(&workspace)?, &options),
        Command::Bench(options) => run::bench(&workspace, &options),
        Command::Rocksdb => run::prepare(&workspace).map(drop),
        Command::Env => run::env(&workspace),
        Command::Help => Ok(()),
    }
}
