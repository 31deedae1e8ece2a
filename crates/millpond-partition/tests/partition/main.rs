//! The partition with its thread, over the reference backend, through its public API.
//!
//! Nothing here waits for time to pass. Where a test needs the loop to have done something it asks for a
//! report: commands are handled in order, so what was sent before has been handled.

mod damage;
mod ending;
mod fixture;
mod leasing;
mod nested;
mod payloads;
mod pressure;
mod verification;
mod withdrawn;
