//! The state machine as a table: status, news, next status, effects.

use std::time::Duration;

use super::*;
use crate::model::{Availability, Person, Presence, ReceiptKind};

const NOW: Millis = Millis(1_000_000);

fn qr(code: &str) -> Status {
    Status::Pairing(Pairing::Qr { code: code.to_owned(), expires_at: NOW.after(Duration::from_mins(1)) })
}

fn code(expires_at: Millis) -> Status {
    Status::Pairing(Pairing::Code { code: "ABCD-1234".to_owned(), expires_at })
}

fn failed(reason: &str) -> Status {
    Status::Failed { reason: reason.to_owned() }
}

fn linked() -> News {
    News::Linked { phone: "15550000001".parse().unwrap(), device_jid: "15550000001:3@s.whatsapp.net".into(), lid: None }
}

fn save_link() -> Effect {
    Effect::SaveLink {
        phone: "15550000001".parse().unwrap(),
        device_jid: "15550000001:3@s.whatsapp.net".into(),
        lid: None,
    }
}

#[test]
fn follows_the_table() {
    let minute = Duration::from_mins(1);
    let connected = || Status::Connected { since: NOW };
    let stop = || vec![Effect::Unwant, Effect::End];
    let table = [
        ("first dial", connecting(0, None), News::Dialing, Some(connecting(1, None)), vec![]),
        (
            "dial refused",
            connecting(1, None),
            News::DialFailed("refused".into()),
            Some(connecting(1, Some("refused".into()))),
            vec![],
        ),
        (
            "dials again",
            connecting(1, Some("refused".into())),
            News::Dialing,
            Some(connecting(2, Some("refused".into()))),
            vec![],
        ),
        ("handshake failed", connecting(1, None), News::Dialing, Some(connecting(2, Some(HANDSHAKE.into()))), vec![]),
        ("first code", connecting(1, None), News::Qr("a".into(), minute), Some(qr("a")), vec![]),
        ("next code", qr("a"), News::Qr("b".into(), minute), Some(qr("b")), vec![]),
        ("code asked for", qr("a"), News::PairCode("ABCD-1234".into(), minute), Some(code(NOW.after(minute))), vec![]),
        ("a code stays", code(NOW.after(minute)), News::Qr("b".into(), minute), None, vec![]),
        ("an expired code goes", code(NOW), News::Qr("b".into(), minute), Some(qr("b")), vec![]),
        ("no code is coming", qr("a"), News::PairCodeFailed("rate".into()), None, vec![]),
        ("nobody scanned", qr("f"), News::QrExhausted { stopped: true }, Some(Status::PairingExpired), stop()),
        ("a code outlives the texts", code(NOW.after(minute)), News::QrExhausted { stopped: false }, None, vec![]),
        ("a code is on its way", qr("f"), News::QrExhausted { stopped: false }, None, vec![]),
        ("linked", qr("a"), linked(), Some(connecting(0, None)), vec![save_link()]),
        ("pairing failed", qr("a"), News::PairFailed("bad".into()), Some(failed("bad")), stop()),
        (
            "passkey",
            qr("a"),
            News::PasskeyRequest("{}".into()),
            Some(Status::Pairing(Pairing::Passkey { request: "{}".into() })),
            vec![],
        ),
        (
            "passkey shown",
            Status::Pairing(Pairing::Passkey { request: "{}".into() }),
            News::PasskeyConfirm(None),
            Some(Status::Pairing(Pairing::PasskeyConfirm { code: None })),
            vec![],
        ),
        ("connected", connecting(1, None), News::Connected, Some(connected()), vec![]),
        ("lost", connected(), News::Disconnected("eof".into()), Some(connecting(0, Some("eof".into()))), vec![]),
        ("reconnects by itself", connected(), News::Dialing, Some(connecting(1, Some(SILENT.into()))), vec![]),
        (
            "removed",
            connected(),
            News::LoggedOut("bye".into()),
            Some(Status::LoggedOut { reason: "bye".into() }),
            vec![Effect::ForgetLink, Effect::Unwant, Effect::End],
        ),
        ("replaced", connected(), News::Replaced, Some(failed(REPLACED)), stop()),
        ("banned", connecting(1, None), News::Refused("banned".into()), Some(failed("banned")), stop()),
        (
            "outdated",
            connecting(1, None),
            News::Outdated,
            Some(connecting(1, Some(OUTDATED.into()))),
            vec![Effect::RefreshVersion],
        ),
        ("stopped stays stopped", Status::Stopped, News::Connected, None, vec![]),
        ("expired stays expired", Status::PairingExpired, News::Disconnected("eof".into()), None, vec![]),
    ];
    for (case, status, news, next, effects) in table {
        assert_eq!(step(&status, news, NOW), (next, effects), "{case}");
    }
}

#[test]
fn a_session_nobody_links_is_given_up_when_its_last_code_is_past() {
    let past = |minutes| Some(NOW.after(Duration::from_mins(minutes)));
    let table = [
        (qr("a"), past(2)),
        (code(NOW.after(Duration::from_mins(3))), past(4)),
        (Status::Pairing(Pairing::Passkey { request: "{}".into() }), None),
        (Status::Pairing(Pairing::PasskeyConfirm { code: None }), None),
        (connecting(1, None), None),
        (Status::Connected { since: NOW }, None),
        (Status::PairingExpired, None),
    ];
    for (status, at) in table {
        assert_eq!(given_up_at(&status), at, "{status:?}");
    }
    assert_eq!(give_up(), (Some(Status::PairingExpired), vec![Effect::Unwant, Effect::End]));
}

#[test]
fn news_of_messages_and_of_others_is_stored_in_any_status() {
    let id = || MessageId::from("3EB0".to_owned());
    let friend = || Person::of("15550000002".parse().unwrap(), None);
    let receipt = || Receipt {
        ids: vec![id()],
        chat: "15550000002".parse().unwrap(),
        from: friend(),
        kind: ReceiptKind::Played,
        at: NOW,
    };
    let here = || {
        let presence = Presence { from: friend(), state: Availability::Available, last_seen: None };
        Box::new(Happening::Presence(presence))
    };
    let advance = |to, code| Effect::Advance { message: id(), to, code };
    let table = [
        (News::LateAck(id(), None), advance(MessageState::Sent, None)),
        (News::LateAck(id(), Some(463)), advance(MessageState::Refused, Some(463))),
        (News::Receipt(receipt()), Effect::Confirm(receipt())),
        (News::Happened(here()), Effect::Tell(here())),
    ];
    for (news, effect) in table {
        assert_eq!(step(&Status::Stopped, news, NOW), (None, vec![effect]));
    }
}
