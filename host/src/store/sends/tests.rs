use super::*;

const DIGEST: [u8; 32] = [7; 32];
const START: Millis = Millis(1_700_000_000_000);

fn known(state: MessageState, accepted_at: Option<Millis>) -> KnownRow {
    KnownRow {
        message: MessageId::from("3EB0AA".to_owned()),
        chat: "6281381393739".parse().unwrap(),
        digest: Some(DIGEST.to_vec()),
        state: number(state),
        created_at: START,
        begun_at: START,
        accepted_at,
    }
}

fn at(age: Duration) -> Moment {
    Moment { now: START.after(age), led_since: None }
}

#[test]
fn states_keep_their_numbers_and_their_order() {
    for (at, state) in STATES.into_iter().enumerate() {
        assert_eq!(number(state), i64::try_from(at).unwrap());
        assert_eq!(numbered(number(state)), state);
    }
    assert!(STATES.is_sorted());
}

#[test]
fn a_known_key_is_judged_by_age_request_and_state() {
    let id = || MessageId::from("3EB0AA".to_owned());
    let sent = Sent { id: id(), to: "6281381393739".parse().unwrap(), at: Millis(START.0 + 5) };
    let minute = Duration::from_mins(1);
    let instant = Duration::from_millis(1);
    let table = [
        (MessageState::Pending, Duration::ZERO, Known::Answer(Begun::InFlight)),
        (MessageState::Pending, minute.saturating_sub(instant), Known::Answer(Begun::InFlight)),
        (MessageState::Pending, minute, Known::Answer(Begun::Again(id()))),
        (MessageState::Refused, Duration::ZERO, Known::Answer(Begun::Again(id()))),
        (MessageState::Sent, Duration::ZERO, Known::Answer(Begun::Replay(sent.clone()))),
        (MessageState::Read, KEY_LIFE.saturating_sub(instant), Known::Answer(Begun::Replay(sent))),
        (MessageState::Read, KEY_LIFE, Known::Expired(id())),
        (MessageState::Pending, KEY_LIFE, Known::Expired(id())),
    ];
    for (state, age, verdict) in table {
        let accepted = (state >= MessageState::Sent).then_some(Millis(START.0 + 5));
        assert_eq!(known(state, accepted).judge(&DIGEST, at(age)), verdict, "{state:?} after {age:?}");
    }
    assert_eq!(known(MessageState::Sent, None).judge(&[8; 32], at(Duration::ZERO)), Known::Answer(Begun::Mismatch));
}

#[test]
fn nobody_is_at_what_was_begun_before_this_gateway_led() {
    let second = Duration::from_secs(1);
    let judged = |led_since| known(MessageState::Pending, None).judge(&DIGEST, Moment { led_since, ..at(second * 2) });
    let again = Known::Answer(Begun::Again(MessageId::from("3EB0AA".to_owned())));
    assert_eq!(judged(Some(START.after(second))), again);
    assert_eq!(judged(Some(START)), Known::Answer(Begun::InFlight));
    assert_eq!(judged(None), Known::Answer(Begun::InFlight));
}
