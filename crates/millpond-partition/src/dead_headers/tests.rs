//! The headers that a death adds, against the limits.

use millpond_types::limits::{HEADER_BYTES_MAX, HEADERS_MAX};
use millpond_types::{Headers, InvalidName};

use super::*;

fn body(headers: &[(&str, &[u8])]) -> Bytes {
    let mut body = Body { payload: "work".into(), ..Body::default() };
    headers.iter().for_each(|(name, value)| body.headers.push(*name, value.to_vec()));
    body.encode()
}

fn told(body: &Bytes, reason: &str) -> Result<Headers, Box<dyn std::error::Error>> {
    let topic = TopicName::new("emails")?;
    let cause = DeadCause::Rejected;
    let death = Death { cause, reason, topic: &topic, attempts: 3, sequence: Sequence(17) };
    let body = Body::decode(&death.write_into(body))?;
    body.check()?;
    assert_eq!(body.payload, "work");
    Ok(body.headers)
}

fn names(headers: &Headers) -> Vec<&str> {
    headers.iter().map(|header| header.name.as_str()).collect()
}

type Tested = Result<(), Box<dyn std::error::Error>>;

#[test]
fn a_death_is_told_behind_the_headers_that_were_there() -> Tested {
    let headers = told(&body(&[("kind", b"receipt")]), "no such address")?;
    assert_eq!(names(&headers), ["kind", CAUSE, REASON, TOPIC, ATTEMPTS, SEQUENCE]);
    let values = [CAUSE, REASON, TOPIC, ATTEMPTS, SEQUENCE].map(|name| headers.get(name).cloned());
    let expected = [REJECTED, "no such address", "emails", "3", "17"];
    assert_eq!(values, expected.map(|value| Some(Bytes::from(value))));
    Ok(())
}

#[test]
fn who_gave_no_reason_gets_no_header_for_it() -> Tested {
    assert_eq!(names(&told(&body(&[]), "")?), [CAUSE, TOPIC, ATTEMPTS, SEQUENCE]);
    Ok(())
}

#[test]
fn only_the_last_death_is_told() -> Tested {
    let before =
        body(&[(CAUSE, b"attempts-spent"), ("kind", b"x"), (REASON, b"old"), (SEQUENCE, b"1")]);
    let headers = told(&before, "")?;
    assert_eq!(names(&headers), ["kind", CAUSE, TOPIC, ATTEMPTS, SEQUENCE]);
    assert_eq!(headers.get(SEQUENCE), Some(&Bytes::from("17")));
    Ok(())
}

#[test]
fn as_many_headers_are_added_as_there_is_room_for() -> Tested {
    let filled = vec![("n", &b""[..]); HEADERS_MAX - 2];
    assert_eq!(names(&told(&body(&filled), "why")?)[HEADERS_MAX - 2..], [CAUSE, REASON]);
    let full = vec![("n", &b""[..]); HEADERS_MAX];
    assert_eq!(told(&body(&full), "why")?.iter().len(), HEADERS_MAX);
    // The reason is too long, and what is short comes all the same.
    let long = vec![b'x'; HEADER_BYTES_MAX - 200];
    let headers = told(&body(&[("n", &long)]), &"y".repeat(500))?;
    assert_eq!(names(&headers), ["n", CAUSE, TOPIC, ATTEMPTS, SEQUENCE]);
    Ok(())
}

#[test]
fn a_long_reason_is_cut_between_characters() -> Tested {
    let headers = told(&body(&[]), &"ü".repeat(REASON_BYTES_MAX))?;
    assert_eq!(headers.get(REASON).map(Bytes::len), Some(REASON_BYTES_MAX));
    Ok(())
}

#[test]
fn a_body_that_cannot_be_read_goes_as_it_is() -> Result<(), InvalidName> {
    let topic = TopicName::new("emails")?;
    let cause = DeadCause::AttemptsSpent;
    let death = Death { cause, reason: "", topic: &topic, attempts: 1, sequence: Sequence(2) };
    let malformed = Bytes::from_static(&[0, 9, 1]);
    assert_eq!(death.write_into(&malformed), malformed);
    Ok(())
}
