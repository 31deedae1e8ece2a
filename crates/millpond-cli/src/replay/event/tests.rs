use proptest::prelude::*;

use super::*;

fn rank() -> impl Strategy<Value = EntryRank> {
    (any::<u8>(), any::<u64>()).prop_map(|(priority, sequence)| EntryRank {
        priority: Priority(priority),
        sequence: Sequence(sequence),
    })
}

fn lease() -> impl Strategy<Value = LeaseSeen> {
    (1_u64.., any::<u64>(), any::<u32>()).prop_map(|(epoch, number, attempt)| LeaseSeen {
        token: LeaseToken { epoch: Epoch(epoch), number },
        attempt,
    })
}

fn event() -> impl Strategy<Value = Event> {
    let job = any::<u32>().prop_map(JobIndex);
    prop_oneof![
        Just(Event::Opened),
        Just(Event::Scanned),
        Just(Event::Closed),
        (job.clone(), rank(), proptest::option::of(lease()))
            .prop_map(|(job, rank, lease)| Event::Found { job, rank, lease }),
        (job.clone(), rank(), any::<u32>()).prop_map(|(job, rank, call_us)| Event::Accepted {
            job,
            rank,
            call_us
        }),
        (job.clone(), rank(), lease()).prop_map(|(job, rank, lease)| Event::Granted {
            job,
            rank,
            lease
        }),
        (job.clone(), lease()).prop_map(|(job, lease)| Event::Acking { job, token: lease.token }),
        job.clone().prop_map(|job| Event::Acked { job }),
        job.prop_map(|job| Event::Refused { job }),
        (any::<u8>(), ".{0,100}").prop_map(|(code, text)| Event::Failed { code, text }),
    ]
}

fn decoded(bytes: &[u8], piece: usize) -> (Vec<Record>, Decoder) {
    let mut decoder = Decoder::default();
    let mut records = Vec::new();
    for piece in bytes.chunks(piece) {
        decoder.buffer.extend_from_slice(piece);
        while let Some(record) = decoder.next().expect("a good stream") {
            records.push(record);
        }
    }
    (records, decoder)
}

proptest! {
    #[test]
    fn records_survive_any_cutting_into_pieces(
        events in proptest::collection::vec((any::<u64>(), event()), 0..20),
        piece in 1_usize..200,
    ) {
        let records: Vec<_> =
            events.into_iter().map(|(at, event)| Record { at: Micros(at), event }).collect();
        let mut bytes = Vec::new();
        records.iter().for_each(|record| record.encode_into(&mut bytes));
        let (found, decoder) = decoded(&bytes, piece);
        prop_assert_eq!(found, records);
        prop_assert!(decoder.buffer.is_empty());
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
        let mut decoder = Decoder { buffer: bytes, n_consumed: 0 };
        while let Ok(Some(_)) = decoder.next() {}
    }
}

#[test]
fn a_long_text_is_cut_at_a_character() {
    let record = Record {
        at: Micros(1),
        event: Event::Failed { code: 7, text: "ü".repeat(RECORD_BYTES_MAX) },
    };
    let mut bytes = Vec::new();
    record.encode_into(&mut bytes);
    assert!(bytes.len() <= RECORD_BYTES_MAX);
    let (records, _) = decoded(&bytes, bytes.len());
    let [Record { event: Event::Failed { code: 7, text }, .. }] = &records[..] else {
        panic!("not what was written: {records:?}")
    };
    assert!(text.chars().all(|c| c == 'ü'));
}

#[test]
fn an_unknown_tag_and_left_over_bytes_are_refused() {
    let mut bytes = Vec::new();
    Record { at: Micros(1), event: Event::Opened }.encode_into(&mut bytes);
    let mut unknown = bytes.clone();
    unknown[2] = 99;
    let mut longer = bytes;
    longer[0] += 1;
    longer.push(0);
    for bytes in [unknown, longer, vec![0, 0]] {
        let mut decoder = Decoder { buffer: bytes, n_consumed: 0 };
        assert_eq!(decoder.next(), Err(Malformed));
    }
}
