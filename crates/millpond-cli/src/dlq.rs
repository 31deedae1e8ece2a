//! `millpond dlq`: the dead letters of a queue.

use std::fmt::Write as _;

use millpond::admin::{Admin, Content, DeadLetterContent, DeadLetterInfo, DeadLettersDone};

use crate::args::{DeadId, DlqVerb, Place, QueueName, WhichDead};
use crate::clock;
use crate::failure::Failure;
use crate::output::{Column, bytes, count, duration_us, print, print_json, table};
use crate::{ask, output};

/// Characters of a reason that a list shows.
const REASON_SHOWN: usize = 60;

pub(crate) async fn run(verb: DlqVerb) -> Result<(), Failure> {
    match verb {
        DlqVerb::Ls { place, queue, after, limit } => {
            let admin = Admin::connect(&place.data).await?;
            let n_max = usize::try_from(limit).unwrap_or(usize::MAX);
            let QueueName { topic, key } = &queue;
            let after = after.map(rank);
            let letters = admin.dead_letters(topic, key.as_bytes(), after, n_max).await?;
            if place.json { print_json(&letters) } else { print(&listed(&queue, &letters)) }
        }
        DlqVerb::Show { place, queue, id } => {
            let admin = Admin::connect(&place.data).await?;
            let content = admin.dead_letter(&queue.topic, queue.key.as_bytes(), rank(id)).await?;
            if place.json { print_json(&content) } else { print(&shown(&queue, &content)) }
        }
        DlqVerb::Replay { place, queue, which } => {
            let admin = Admin::connect(&place.data).await?;
            let done = replay(&admin, &queue, &which).await?;
            if place.json { print_json(&done) } else { print(&told(&done, "replayed")) }
        }
        DlqVerb::Drop { place, queue, which, yes } => {
            let done = drop_dead(&place, &queue, &which, yes).await?;
            if place.json { print_json(&done) } else { print(&told(&done, "removed")) }
        }
    }
}

fn rank(DeadId(priority, sequence): DeadId) -> (u8, u64) {
    (priority, sequence)
}

fn listed(queue: &QueueName, letters: &[DeadLetterInfo]) -> String {
    if letters.is_empty() {
        return format!("{} / {} has no such dead letters\n", queue.topic, queue.key);
    }
    let columns = [
        Column::Text("id"),
        Column::Number("attempts"),
        Column::Number("died"),
        Column::Number("size"),
        Column::Text("cause"),
        Column::Text("reason"),
    ];
    let rows = letters.iter().map(|letter| {
        [
            id(letter).to_string(),
            letter.n_attempts.to_string(),
            ago(letter.died_at_ms),
            bytes(letter.n_body_bytes),
            cause(letter),
            short(&letter.reason),
        ]
    });
    table(columns, rows)
}

fn id(letter: &DeadLetterInfo) -> DeadId {
    DeadId(letter.priority, letter.sequence)
}

fn cause(letter: &DeadLetterInfo) -> String {
    letter.cause.replace('_', " ")
}

fn ago(at_ms: u64) -> String {
    let now_ms = u64::try_from(clock::unix_ms()).unwrap_or(u64::MAX);
    let us = now_ms.saturating_sub(at_ms).saturating_mul(1000);
    format!("{} ago", duration_us(us))
}

/// The beginning of a text, on one line.
fn short(text: &str) -> String {
    let line = output::on_one_line(text);
    if line.chars().count() <= REASON_SHOWN {
        return line;
    }
    line.chars().take(REASON_SHOWN - 1).chain(['…']).collect()
}

fn shown(queue: &QueueName, content: &DeadLetterContent) -> String {
    let DeadLetterContent { letter, headers, payload } = content;
    let mut text = format!("{} / {} {}: {}", queue.topic, queue.key, id(letter), cause(letter));
    if !letter.reason.is_empty() {
        let _ = write!(text, ": {}", output::on_one_line(&letter.reason));
    }
    text += "\n\n";
    for (name, value) in [
        ("attempts", letter.n_attempts.to_string()),
        ("accepted", ago(letter.enqueued_at_ms)),
        ("died", ago(letter.died_at_ms)),
        ("size", bytes(letter.n_body_bytes)),
    ] {
        let _ = writeln!(text, "{name:<9} {value}");
    }
    for header in headers {
        let (name, value) = (output::on_one_line(&header.name), readable(&header.value));
        let _ = write!(text, "\nheader {name}: {}", output::on_one_line(&value));
    }
    let _ = write!(text, "\n{}\n", readable(payload));
    text
}

/// What a terminal can show without being steered by it.
fn readable(content: &Content) -> String {
    match content {
        Content::Text(text) => output::printable(text),
        Content::Binary { hex } => format!("(hexadecimal) {hex}"),
    }
}

async fn replay(
    admin: &Admin,
    queue: &QueueName,
    which: &WhichDead,
) -> Result<DeadLettersDone, Failure> {
    let (topic, key) = (&queue.topic, queue.key.as_bytes());
    Ok(match which.id {
        Some(id) => admin.replay(topic, key, rank(id)).await?,
        None => admin.replay_all(topic, key).await?,
    })
}

async fn drop_dead(
    place: &Place,
    queue: &QueueName,
    which: &WhichDead,
    yes: bool,
) -> Result<DeadLettersDone, Failure> {
    if !yes {
        ask::somebody_is_there("drop dead letters")?;
    }
    let admin = Admin::connect(&place.data).await?;
    let QueueName { topic, key } = queue;
    let name = key.as_bytes();
    if let Some(id) = which.id {
        if !yes {
            admin.dead_letter(topic, name, rank(id)).await?;
            ask::or_decline(&format!("Remove the dead letter {id} of {topic} / {key} for good?"))?;
        }
        return Ok(admin.drop_dead(topic, name, rank(id)).await?);
    }
    if !yes {
        let queue = admin.explain(topic, name).await?.queue;
        if queue.n_dead == 0 {
            // Whatever dies now is not what was meant.
            return Ok(DeadLettersDone { topic: queue.topic, key: queue.key, n_done: 0 });
        }
        let n = letters(queue.n_dead);
        ask::or_decline(&format!("Remove all {n} of {topic} / {key} for good?"))?;
    }
    Ok(admin.drop_all_dead(topic, name).await?)
}

fn told(done: &DeadLettersDone, what: &str) -> String {
    let DeadLettersDone { topic, key, n_done } = done;
    match n_done {
        0 => format!("{topic} / {key} has no dead letters\n"),
        n => format!("{topic} / {key}: {what} {}\n", letters(*n)),
    }
}

fn letters(n: u64) -> String {
    format!("{} dead {}", count(n), if n == 1 { "letter" } else { "letters" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        assert_eq!("128/17".parse(), Ok(DeadId(128, 17)));
        assert_eq!(DeadId(0, u64::MAX).to_string().parse(), Ok(DeadId(0, u64::MAX)));
        for wrong in ["", "17", "/", "256/1", "1/", "/1", "1/-1", "1/2/3", "a/b"] {
            assert!(wrong.parse::<DeadId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn long_reasons_are_cut() {
        assert_eq!(short("a\nb"), "a\\nb");
        let cut = short(&"ä".repeat(100));
        assert_eq!((cut.chars().count(), cut.ends_with('…')), (REASON_SHOWN, true));
    }
}
