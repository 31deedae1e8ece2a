//! The `millpond` program as its users meet it: commands, files, exit codes, signals.

mod bad_input;
mod dlq;
mod engine;
mod fixture;
mod purge;
mod readme;
mod replay;
mod rules;
mod running;
mod terminal;
