//! Asking before something is destroyed.

use std::io::{self, BufRead, IsTerminal as _, Write};

use crate::failure::{Exit, Failure};

/// Fails where nobody could answer a question.
pub(crate) fn somebody_is_there(verb: &str) -> Result<(), Failure> {
    if io::stdin().is_terminal() && io::stderr().is_terminal() {
        return Ok(());
    }
    let text = format!("to {verb} without being asked on a terminal, say --yes");
    Err(Failure::new(Exit::Usage, text))
}

/// Asks on the terminal. Whatever is not a yes is a no.
pub(crate) fn or_decline(question: &str) -> Result<(), Failure> {
    let agreed = agrees(question, &mut io::stdin().lock(), &mut io::stderr());
    match agreed.map_err(|error| Failure::io("ask", &error))? {
        true => Ok(()),
        false => Err(Failure::new(Exit::Declined, "nothing was removed")),
    }
}

fn agrees(question: &str, from: &mut impl BufRead, to: &mut impl Write) -> io::Result<bool> {
    write!(to, "{question} [y/N] ")?;
    to.flush()?;
    let mut answer = String::new();
    from.read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::agrees;

    #[test]
    fn only_a_yes_is_a_yes() {
        for (answer, expected) in [
            ("y\n", true),
            ("Yes\r\n", true),
            (" YES ", true),
            ("n\n", false),
            ("\n", false),
            ("", false),
            ("yeah\n", false),
            ("no\nyes\n", false),
        ] {
            let mut asked = Vec::new();
            let agreed = agrees("Remove it?", &mut answer.as_bytes(), &mut asked);
            assert_eq!(agreed.unwrap(), expected, "{answer:?}");
            assert_eq!(asked, b"Remove it? [y/N] ");
        }
    }
}
