//! Parts of the bench that run in a process of their own.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::cold::Ask;
use super::fill::Ending;
use super::{Outcome, cold, drain, fill, recall};

/// What a child is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Step {
    Fill { dir: PathBuf, n_queues: usize, ending: Ending },
    Open { dir: PathBuf, n_queues: usize, ask: Ask },
    Recall { dir: PathBuf, n_queues: usize },
    Drain { dir: PathBuf, n_queues: usize },
    Cycle { dir: PathBuf, n_queues: usize },
}

/// Does a step in a process of its own.
pub(super) fn in_child<T: DeserializeOwned>(step: &Step) -> Outcome<T> {
    let step = serde_json::to_string(step)?;
    let mut child = Command::new(std::env::current_exe()?);
    let child = child.args(["queues", "--step", &step]).stderr(Stdio::inherit()).output()?;
    if !child.status.success() {
        return Err(format!("{step} ended with {}", child.status).into());
    }
    Ok(serde_json::from_slice(&child.stdout)?)
}

/// Does a step in this process and prints what it showed.
pub(crate) fn run_child(step: &str) -> Result<(), Box<dyn std::error::Error>> {
    let result = perform(serde_json::from_str(step)?).map_err(super::widened)?;
    println!("{result}");
    Ok(())
}

#[tokio::main]
async fn perform(step: Step) -> Outcome<serde_json::Value> {
    let value = match step {
        Step::Fill { dir, n_queues, ending } => {
            serde_json::to_value(fill::run(&dir, n_queues, ending).await?)
        }
        Step::Open { dir, n_queues, ask } => {
            serde_json::to_value(cold::run(&dir, n_queues, ask).await?)
        }
        Step::Recall { dir, n_queues } => serde_json::to_value(recall::run(&dir, n_queues).await?),
        Step::Drain { dir, n_queues } => serde_json::to_value(drain::run(&dir, n_queues).await?),
        Step::Cycle { dir, n_queues } => serde_json::to_value(drain::cycle(&dir, n_queues).await?),
    };
    Ok(value?)
}
