//! Parts of the bench that run in a process of their own: they begin with nothing in memory, or end as if
//! killed.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{deliver, expiry, fill};
use crate::queues::{Outcome, widened};

/// What a child is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Step {
    Fill { dir: PathBuf, n_queues: usize },
    Deliver { dir: PathBuf, filled: fill::Filled, upto: usize, is_last: bool },
    Expire { dir: PathBuf, n_leases: usize, n_queues: usize },
}

/// Does a step in a process of its own.
pub(super) fn in_child<T: DeserializeOwned>(step: &Step) -> Outcome<T> {
    let step = serde_json::to_string(step)?;
    let mut child = Command::new(std::env::current_exe()?);
    let child = child.args(["delays", "--step", &step]).stderr(Stdio::inherit()).output()?;
    if !child.status.success() {
        return Err(format!("{step} ended with {}", child.status).into());
    }
    Ok(serde_json::from_slice(&child.stdout)?)
}

/// Does a step in this process and prints what it showed.
pub(crate) fn run_child(step: &str) -> Result<(), Box<dyn std::error::Error>> {
    let result = perform(serde_json::from_str(step)?).map_err(widened)?;
    println!("{result}");
    Ok(())
}

#[tokio::main]
async fn perform(step: Step) -> Outcome<serde_json::Value> {
    let value = match step {
        Step::Fill { dir, n_queues } => serde_json::to_value(fill::run(&dir, n_queues).await?),
        Step::Deliver { dir, filled, upto, is_last } => {
            serde_json::to_value(deliver::run(&dir, &filled, upto, is_last).await?)
        }
        Step::Expire { dir, n_leases, n_queues } => {
            serde_json::to_value(expiry::run(&dir, n_leases, n_queues).await?)
        }
    };
    Ok(value?)
}
