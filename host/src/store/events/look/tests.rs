use super::*;
use crate::model::{Availability, Happening, Person, Presence, Role, Scope, SessionState, StatusChange};
use crate::store::tests::{Fixture, every_engine};

const MANY: u32 = 100;

fn status() -> Happening {
    Happening::Status(StatusChange { state: SessionState::Stopped, reason: None, account: None })
}

fn presence() -> Happening {
    let from = Person::of("6281381393739".parse().unwrap(), None);
    Happening::Presence(Presence { from, state: Availability::Available, last_seen: None })
}

/// A session of a user, and everything within the user's scope.
async fn session(at: &Fixture, name: &str) -> (Scope, SessionId) {
    let owner = at.store.users().add(name, Role::User, "x", false).await.unwrap().id;
    let id: SessionId = format!("ses_{name}").parse().unwrap();
    at.store.sessions(Scope::of(owner)).create(owner, id.clone(), name, None).await.unwrap();
    (Scope::of(owner), id)
}

/// Stores one after the other on this session; their ids.
async fn happen(at: &Fixture, session: &SessionId, what: &[Happening]) -> Vec<EventId> {
    let news: Vec<_> = what.iter().map(|what| (session.clone(), what.clone())).collect();
    ids(&at.store.events(Scope::gateway()).record(&news).await.unwrap())
}

fn ids(events: &[Event]) -> Vec<EventId> {
    events.iter().map(|event| event.id.clone()).collect()
}

fn of_kinds(kinds: &[&str]) -> Wanted {
    let kinds = EventFilter::new(kinds.iter().map(|kind| (*kind).to_owned()).collect()).unwrap();
    Wanted { session: None, kinds: Some(kinds) }
}

every_engine! {
    async fn whoever_goes_on_from_a_place_sees_everything_of_theirs_once_and_in_order(at) {
        let ((ann, hers), (bob, his)) = (session(&at, "ann").await, session(&at, "bob").await);
        let (events, all) = (at.store.events(ann), Wanted::default());
        let start = events.end().await.unwrap();
        let before = happen(&at, &hers, &[status(), presence(), status()]).await;
        let theirs = happen(&at, &his, &[status(), status()]).await;
        let after = happen(&at, &hers, &[presence()]).await;

        let first = events.onward(start, &all, 2, MANY).await.unwrap();
        assert_eq!((ids(&first.events), first.missed, first.is_end), (before[..2].to_vec(), 0, false));
        let rest = events.onward(first.place, &all, 2, MANY).await.unwrap();
        assert_eq!(ids(&rest.events), [before[2].clone(), after[0].clone()]);
        let end = events.onward(rest.place, &all, 2, MANY).await.unwrap();
        assert!(end.events.is_empty() && end.is_end);
        assert_eq!(end.place, events.end().await.unwrap());

        let resumed = events.place_after(&before[1]).await.unwrap();
        assert_eq!(ids(&events.onward(resumed, &all, 9, MANY).await.unwrap().events), [before[2].clone(), after[0].clone()]);
        let hers_alone = at.store.events(bob).onward(start, &Wanted { session: Some(hers), kinds: None }, 9, MANY).await;
        assert!(hers_alone.unwrap().events.is_empty(), "another user's session is empty");
        assert_eq!(ids(&at.store.events(bob).onward(start, &all, 9, MANY).await.unwrap().events), theirs);
        assert_eq!(ids(&at.store.events(Scope::gateway()).onward(start, &all, 9, MANY).await.unwrap().events).len(), 6);
    }

    async fn a_filter_admits_kinds_and_families_as_it_does_elsewhere(at) {
        let (scope, id) = session(&at, "ann").await;
        let events = at.store.events(scope);
        happen(&at, &id, &[status(), presence()]).await;
        let (status, presence) = ("session.status", "presence.update");
        let table: [(&[&str], &[&str]); 6] = [
            (&["*"], &[status, presence]),
            (&["session.*"], &[status]),
            (&["session.statu"], &[]),
            (&["session_status", "presence.update"], &[presence]),
            (&["session.status", "session.*"], &[status]),
            (&[], &[]),
        ];
        for (kinds, expected) in table {
            let wanted = of_kinds(kinds);
            let found = events.onward(Place(0), &wanted, 9, MANY).await.unwrap().events;
            assert_eq!(found.iter().map(Event::kind).collect::<Vec<_>>(), expected, "{kinds:?}");
            for event in found {
                assert!(wanted.kinds.as_ref().unwrap().admits(&event.kind()), "{kinds:?}");
            }
        }
    }

    async fn whoever_is_too_far_behind_is_told_how_much_was_left_out(at) {
        let ((scope, id), (_, other)) = (session(&at, "ann").await, session(&at, "bob").await);
        let events = at.store.events(scope);
        let start = events.end().await.unwrap();
        let mut stored = Vec::new();
        for _ in 0..4 {
            stored.extend(happen(&at, &id, &[status(), presence()]).await);
            happen(&at, &other, &[status(), status()]).await;
        }
        let onward = events.onward(start, &Wanted::default(), 9, 3).await.unwrap();
        assert_eq!((ids(&onward.events), onward.missed), (stored[5..].to_vec(), 5));
        let onward = events.onward(start, &of_kinds(&["presence.*"]), 9, 3).await.unwrap();
        assert_eq!((onward.events.len(), onward.missed), (3, 1), "what is not wanted is not missed");
        let enough = events.onward(start, &Wanted::default(), 9, 8).await.unwrap();
        assert_eq!((enough.events.len(), enough.missed), (8, 0), "other people's events are no burden");
    }

    async fn an_event_that_is_gone_still_has_its_place(at) {
        let (scope, id) = session(&at, "ann").await;
        let early = EventId::new();
        let stored = happen(&at, &id, &[status(), presence()]).await;
        let events = at.store.events(scope);
        let place = events.place_after(&early).await.unwrap();
        assert_eq!(ids(&events.onward(place, &Wanted::default(), 9, MANY).await.unwrap().events), stored);
        let place = events.place_after(&EventId::new()).await.unwrap();
        assert!(events.onward(place, &Wanted::default(), 9, MANY).await.unwrap().events.is_empty());
        let page = events.page(&Wanted::default(), Some(&EventId::new()), 9).await.unwrap();
        assert_eq!(page.events.len(), 2, "all are older than one that is gone");
    }

    async fn pages_go_back_from_the_newest(at) {
        let ((scope, id), (_, other)) = (session(&at, "ann").await, session(&at, "bob").await);
        let stored = happen(&at, &id, &[status(), presence(), status()]).await;
        happen(&at, &other, &[status()]).await;
        for wanted in [Wanted::default(), Wanted { session: Some(id), kinds: None }] {
            let first = at.store.events(scope).page(&wanted, None, 2).await.unwrap();
            assert_eq!(ids(&first.events), [stored[2].clone(), stored[1].clone()]);
            let rest = at.store.events(scope).page(&wanted, first.next.as_ref(), 2).await.unwrap();
            assert_eq!((ids(&rest.events), rest.next), (vec![stored[0].clone()], None));
        }
        let page = at.store.events(scope).page(&of_kinds(&["session.*"]), None, 2).await.unwrap();
        assert_eq!(ids(&page.events), [stored[2].clone(), stored[0].clone()]);
    }
}
