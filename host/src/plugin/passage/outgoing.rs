//! A message that is to be sent, on its way through the filters that were granted `outgoing`.
//!
//! Somebody waits for the answer, so nothing is deferred or parked: where an incoming message would wait, this one is
//! not sent. If the failure is likely to pass, whoever wanted to send it is told to ask again; what is to go on without
//! the plugin goes on at once.

use std::sync::Arc;

use super::ledger::{Ledger, Said};
use super::{FAILED, Fate, Judged, Left, OutgoingVerdict};
use crate::model::{Chat, FailurePolicy, Hook, Incoming, Labels, MessageId, MessageKind, Millis, SessionId};
use crate::plugin::api::v1::message_filter::Verdict;
use crate::plugin::call::{Answer, Fault, Input};
use crate::plugin::chains::Chain;
use crate::plugin::document;
use crate::plugin::machine::Machine;
use crate::plugin::patch::{PatchError, message};

/// Runs the filters over a text from `from` to `to`.
pub(in crate::plugin) async fn outgoing(
    machine: Arc<Machine>,
    chain: &Chain,
    session: &SessionId,
    from: Option<Chat>,
    to: &Chat,
    text: &str,
) -> (OutgoingVerdict, Left) {
    let now = machine.outside.clock.now();
    let (mut outgoing, mut labels) = (written(from.as_ref().unwrap_or(to), to, text, now), Labels::new());
    let mut said = Arc::new(document::outgoing(session, &outgoing, &labels));
    if from.is_none() {
        Arc::make_mut(&mut said).sender = String::new();
    }
    let mut ledger = Ledger::new(machine, None, 1, false, Some(to.clone()));
    for link in chain.iter().filter(|link| link.place.grants.outgoing && link.has(Hook::MessageFilter)) {
        let (answer, open) = ledger.call(link, Input::Filter(Arc::clone(&said))).await;
        let verdict = answer.and_then(|answer| match answer {
            Answer::Verdict(verdict) => Ok(verdict),
            Answer::Outcome(_) => Err(Fault::Unloadable("it answered for another hook".to_owned())),
        });
        let judged = verdict.and_then(|verdict| judge(verdict, &mut outgoing, &mut labels));
        let dropped = match ledger.close(open, link, Hook::MessageFilter, None, judged) {
            Ok(Judged::Accept) => break,
            Ok(Judged::Drop { code, detail }) => Some((code, detail)),
            Ok(_) => None,
            Err(_) if link.place.policy == FailurePolicy::Open => None,
            Err(fault) => match ledger.fate(link, &fault) {
                Fate::On => None,
                Fate::Again { why, after } if fault.is_passing() => {
                    ledger.hold();
                    return (OutgoingVerdict::Wait { why, after }, ledger.finish(labels));
                }
                Fate::Over(why) | Fate::Again { why, .. } => Some((FAILED.to_owned(), Some(why))),
            },
        };
        if let Some((code, detail)) = dropped {
            return (OutgoingVerdict::Drop { code, detail }, ledger.finish(labels));
        }
        document::refresh(Arc::make_mut(&mut said), &outgoing, &labels);
    }
    let Incoming { chat: to, text, .. } = outgoing;
    (OutgoingVerdict::Send { to, text: text.unwrap_or_default() }, ledger.finish(labels))
}

fn judge(verdict: Verdict, outgoing: &mut Incoming, labels: &mut Labels) -> Result<(Judged, Said), Fault> {
    match verdict {
        Verdict::Modify(patch) => {
            let shown = message::shown(&patch);
            message::apply(patch, message::Direction::Outgoing, outgoing, labels, &mut None)?;
            Ok((Judged::Changed, Said::patch(shown)))
        }
        Verdict::Defer(_) => Err(PatchError("defer: a message that is sent cannot be deferred".to_owned()).into()),
        other => super::judge(other, outgoing, labels, &mut None),
    }
}

/// The text as a message of the account's own.
fn written(from: &Chat, to: &Chat, text: &str, now: Millis) -> Incoming {
    Incoming {
        id: MessageId::from(String::new()),
        kind: MessageKind::Text,
        chat: to.clone(),
        sender: from.clone(),
        sender_alt: None,
        to: to.clone(),
        from_me: true,
        text: Some(text.to_owned()),
        push_name: None,
        sent_at: now,
        backfill: false,
        chat_alt: None,
        target: None,
    }
}
