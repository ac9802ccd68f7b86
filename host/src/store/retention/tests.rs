use bytes::Bytes;
use futures_util::future::join_all;

use super::*;
use crate::model::{
    Attempt, AttemptOutcome, Availability, DeadWhy, Effects, EndpointId, EventId, Happening, Incoming, MessageId,
    MessageKind, MessageState, Outgoing, Person, Phases, PluginId, Presence, Role, Scope, SessionId, Shape,
};
use crate::store::deliveries::{DeliveryFilter, Settled, Settlement};
use crate::store::endpoints::NewEndpoint;
use crate::store::events::{NewDelivery, Outcome, Routed, Routing};
use crate::store::pool::on;
use crate::store::sends::NewSend;
use crate::store::tests::Fixture;

const OFF: RetentionConfig = RetentionConfig { events: None, attempts: None, sends: None, size: None };
const HOUR: Duration = Duration::from_hours(1);

const fn days(days: u64) -> Duration {
    Duration::from_hours(24 * days)
}

/// A store with one session and its endpoint.
struct Shop {
    at: Fixture,
    session: SessionId,
    endpoint: EndpointId,
}

impl Shop {
    async fn open() -> Self {
        let at = Fixture::open().await;
        let owner = at.store.users().add("ann", Role::User, "no hash", false).await.unwrap().id;
        let (sessions, url) = (at.store.sessions(Scope::of(owner)), "https://example.org/hook".parse().unwrap());
        let session = sessions.create(owner, "ses_shop".parse().unwrap(), "Shop", Some(&url)).await.unwrap().id;
        let endpoint = at.store.endpoints(Scope::gateway()).list(Some(&session)).await.unwrap().remove(0).id;
        Self { at, session, endpoint }
    }

    fn keeper(&self, config: RetentionConfig) -> Keeper {
        Keeper::new(self.at.store.clone(), config, self.at.clock.clone(), Tasks::new())
    }

    /// What one look deletes.
    async fn look(&self, config: RetentionConfig) -> Gone {
        let mut gone = Gone::default();
        self.keeper(config).look(&mut gone).await.unwrap();
        gone
    }

    /// The events of these messages, as far as they are new.
    async fn receive<T: AsRef<str>>(&self, ids: &[T]) -> Vec<EventId> {
        let batch: Vec<_> = ids.iter().map(|id| message(id.as_ref(), "Hello!")).collect();
        let events = self.at.store.events(Scope::gateway()).receive(&self.session, &batch).await.unwrap();
        events.into_iter().map(|event| event.id).collect()
    }

    /// Routes an event to nobody.
    async fn route(&self, event: &EventId) {
        self.route_as(event, Routing::default()).await;
    }

    /// Routes an event to the endpoint, where it waits.
    async fn post(&self, event: &EventId) {
        let delivery = NewDelivery { endpoint: self.endpoint.clone(), chat: None, shape: Shape::json("{}".to_owned()) };
        self.route_as(event, Routing { deliveries: vec![delivery], ..Routing::default() }).await;
    }

    async fn route_as(&self, event: &EventId, routing: Routing) {
        let routed = self.at.store.events(Scope::gateway()).route(event, routing).await.unwrap();
        assert!(matches!(routed, Routed::Done { raised, .. } if raised.is_empty()));
    }

    /// Attempts whatever is due.
    async fn attempt(&self, then: Settlement) {
        let deliveries = self.at.store.deliveries(Scope::gateway());
        for (endpoint, _) in deliveries.waiting_endpoints().await.unwrap() {
            for due in deliveries.due(&endpoint, 1_000).await.unwrap() {
                let attempt = Attempt {
                    started_at: self.at.clock.now(),
                    took_ms: 5,
                    phases: Phases::default(),
                    address: None,
                    outcome: AttemptOutcome::Refused { status: 503 },
                    answer: Bytes::new(),
                };
                let settled = Settled { delivery: due.id, attempts: due.attempts, attempt, then };
                assert!(deliveries.settle(settled).await.unwrap());
            }
        }
    }

    /// Sends a message as far as `state`.
    async fn send(&self, id: &str, state: MessageState) {
        let (message, to) = (MessageId::from(id.to_owned()), "6281381393739".parse().unwrap());
        let (sends, session) = (self.at.store.sends(Scope::gateway()), &self.session);
        let (what, effects) = (Outgoing::Text("Hi".to_owned()), Effects::default());
        let send = NewSend { session, message: &message, to: &to, what: &what, key: None, effects, logs: vec![] };
        sends.begin(send).await.unwrap();
        sends.advance(session, &[message], state, None).await.unwrap();
    }

    /// Queues a message as a plugin would have asked for it.
    async fn ask(&self, message: &str, event: Option<&EventId>, state: &str) {
        let event = event.map_or("NULL".to_owned(), |event| format!("'{event}'"));
        let (session, now) = (&self.session, self.at.clock.now());
        self.run(format!(
            "INSERT INTO plugin_sends (session_id, message, plugin_id, event_id, chat, text, state, epoch, tries, created_at)
                VALUES ('{session}', '{message}', 'plg_shop', {event}, '6281381393739@s.whatsapp.net', 'Hi', '{state}', 0, 0, {now})"
        ))
        .await;
    }

    async fn run(&self, sql: String) {
        let work = self.at.store.write(move |tx| {
            Box::pin(async move {
                on!(tx, |db, _q| {
                    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(db).await?;
                });
                Ok(())
            })
        });
        work.await.unwrap();
    }

    /// One column of text.
    async fn texts(&self, sql: &'static str) -> Vec<String> {
        on!(self.at.store.readers(), |db, _q| { sqlx::query_scalar(sql).fetch_all(db).await.unwrap() })
    }

    async fn count(&self, sql: &'static str) -> i64 {
        on!(self.at.store.readers(), |db, _q| { sqlx::query_scalar(sql).fetch_one(db).await.unwrap() })
    }

    /// The ids of whole events, oldest first.
    async fn whole(&self) -> Vec<String> {
        self.texts("SELECT id FROM events WHERE digest_until IS NULL ORDER BY seq").await
    }

    async fn size(&self) -> u64 {
        dialect::size(self.at.store.readers()).await.unwrap()
    }
}

fn message(id: &str, text: &str) -> Incoming {
    Incoming {
        id: MessageId::from(id.to_owned()),
        kind: MessageKind::Text,
        chat: "6281381393739".parse().unwrap(),
        sender: "6281381393739".parse().unwrap(),
        sender_alt: None,
        to: "6282260790996".parse().unwrap(),
        from_me: false,
        text: Some(text.to_owned()),
        push_name: None,
        sent_at: Millis(1_643_723_400_000),
        backfill: false,
        chat_alt: None,
        target: None,
    }
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}

#[tokio::test]
async fn presence_goes_after_a_day_whatever_else_is_kept() {
    let shop = Shop::open().await;
    let from = Person::of("6281381393739".parse().unwrap(), None);
    let here = Happening::Presence(Presence { from, state: Availability::Available, last_seen: None });
    let told = [(shop.session.clone(), here.clone()), (shop.session.clone(), here)];
    let events = shop.at.store.events(Scope::gateway()).record(&told).await.unwrap();
    shop.route(&events[0].id).await;
    shop.route(&shop.receive(&["message"]).await[0]).await;
    shop.at.clock.advance(days(1));
    assert_eq!(shop.look(OFF).await, Gone::default());
    shop.at.clock.advance(HOUR);
    assert_eq!(shop.look(OFF).await, Gone { events: 1, ..Gone::default() });
    assert_eq!(
        shop.count("SELECT COUNT(*) FROM events").await,
        2,
        "nothing is left of it; the other is not routed yet"
    );
}

#[tokio::test]
async fn events_that_are_old_and_finished_go_and_no_others() {
    let shop = Shop::open().await;
    let events = shop.receive(&["done", "dead", "nowhere", "waiting", "unrouted", "held", "asked"]).await;
    let [done, dead, nowhere, waiting, unrouted, held, asked] = &events[..] else { panic!("{events:?}") };
    shop.post(done).await;
    shop.attempt(Settlement::Delivered).await;
    shop.post(dead).await;
    shop.attempt(Settlement::Dead(DeadWhy::Exhausted)).await;
    shop.route(nowhere).await;
    shop.post(waiting).await;
    shop.attempt(Settlement::Retry(shop.at.clock.now().after(days(5_000)))).await;
    let until = shop.at.clock.now().after(days(5_000));
    let outcome = Outcome::Deferred { until, plugin: PluginId::new() };
    shop.route_as(held, Routing { outcome, ..Routing::default() }).await;
    shop.ask("to be sent", Some(asked), "waiting").await;
    shop.route(asked).await;
    shop.at.clock.advance(days(40));
    let young = shop.receive(&["young"]).await.remove(0);
    shop.post(&young).await;
    shop.attempt(Settlement::Delivered).await;

    let month = RetentionConfig { events: Some(days(30)), ..OFF };
    assert_eq!(shop.look(month).await, Gone { events: 3, ..Gone::default() });
    let left: Vec<String> = [waiting, unrouted, held, asked, &young].map(ToString::to_string).into();
    assert_eq!(shop.whole().await, left);
    assert_eq!(
        shop.texts("SELECT event_id FROM deliveries ORDER BY seq").await,
        [waiting, &young].map(ToString::to_string)
    );
    assert_eq!(shop.count("SELECT COUNT(*) FROM attempts").await, 2);
    assert_eq!(shop.texts("SELECT event_id FROM routings").await, [held.to_string()]);
    assert_eq!(shop.texts("SELECT id FROM endpoints").await, [shop.endpoint.to_string()]);

    shop.at.clock.advance(days(4_000));
    assert_eq!(shop.look(month).await.events, 1, "the young one, by now");
    assert_eq!(shop.whole().await, left[..4], "however old");
    shop.at.clock.advance(days(1_000));
    shop.attempt(Settlement::Delivered).await;
    assert_eq!(shop.look(month).await.events, 1, "delivered at last");
    assert_eq!(shop.whole().await, left[1..4]);
}

#[tokio::test]
async fn nothing_goes_where_everything_is_off() {
    let shop = Shop::open().await;
    let event = shop.receive(&["old"]).await.remove(0);
    shop.post(&event).await;
    shop.attempt(Settlement::Delivered).await;
    shop.send("sent", MessageState::Sent).await;
    shop.at.clock.advance(days(4_000));
    assert_eq!(shop.look(OFF).await, Gone::default());
}

#[tokio::test]
async fn an_event_that_goes_early_leaves_its_digest_until_whatsapp_has_forgotten_the_message() {
    let shop = Shop::open().await;
    let events = shop.at.store.events(Scope::gateway());
    let event = shop.receive(&["message"]).await.remove(0);
    shop.post(&event).await;
    shop.attempt(Settlement::Delivered).await;
    shop.at.clock.advance(HOUR * 2);
    let hour = RetentionConfig { events: Some(HOUR), ..OFF };
    assert_eq!(shop.look(hour).await, Gone { events: 1, ..Gone::default() });
    assert!(events.get(&event).await.unwrap().is_none());
    assert!(events.recent(None, 10).await.unwrap().is_empty());
    for left in ["SELECT COUNT(*) FROM deliveries", "SELECT COUNT(*) FROM attempts"] {
        assert_eq!(shop.count(left).await, 0, "{left}");
    }
    assert_eq!(shop.count("SELECT COUNT(*) FROM events WHERE payload <> ''").await, 0);
    assert_eq!(shop.look(hour).await, Gone::default(), "once");

    shop.at.clock.advance(days(29));
    assert_eq!(shop.receive(&["message"]).await, [], "delivered again, and known");
    assert_eq!(shop.look(hour).await, Gone::default());
    shop.at.clock.advance(days(1));
    assert_eq!(shop.look(hour).await, Gone { digests: 1, ..Gone::default() });
    assert_eq!(shop.count("SELECT COUNT(*) FROM events").await, 0);
}

#[tokio::test]
async fn attempts_go_sooner_than_their_delivery_but_not_while_it_waits() {
    let shop = Shop::open().await;
    let events = shop.receive(&["done", "waiting"]).await;
    let [done, waiting] = &events[..] else { panic!("{events:?}") };
    shop.post(done).await;
    shop.attempt(Settlement::Delivered).await;
    shop.post(waiting).await;
    shop.attempt(Settlement::Retry(shop.at.clock.now().after(days(1)))).await;
    shop.at.clock.advance(days(20));
    let fortnight = RetentionConfig { attempts: Some(days(14)), ..OFF };
    assert_eq!(shop.look(fortnight).await, Gone { attempts: 1, ..Gone::default() });
    assert_eq!(shop.count("SELECT COUNT(*) FROM deliveries").await, 2);
    shop.attempt(Settlement::Delivered).await;
    assert_eq!(shop.look(fortnight).await, Gone { attempts: 1, ..Gone::default() }, "the old one of two");
    assert_eq!(shop.count("SELECT COUNT(*) FROM attempts").await, 1);
}

#[tokio::test]
async fn sends_go_when_they_are_answered_and_no_plugin_waits_for_them() {
    let shop = Shop::open().await;
    for (id, state) in [
        ("refused", MessageState::Refused),
        ("sent", MessageState::Sent),
        ("read", MessageState::Read),
        ("pending", MessageState::Pending),
        ("plugin", MessageState::Sent),
    ] {
        shop.send(id, state).await;
    }
    shop.ask("plugin", None, "waiting").await;
    shop.ask("failed", None, "failed").await;
    shop.at.clock.advance(days(100));
    shop.send("young", MessageState::Sent).await;
    shop.ask("young", None, "sent").await;

    let quarter = RetentionConfig { sends: Some(days(90)), ..OFF };
    assert_eq!(shop.look(quarter).await, Gone { sends: 3, plugin_sends: 1, ..Gone::default() });
    let left = shop.texts("SELECT message FROM sends ORDER BY created_at, message").await;
    assert_eq!(left, ["pending", "plugin", "young"]);
    shop.run("UPDATE plugin_sends SET state = 'sent' WHERE message = 'plugin'".to_owned()).await;
    assert_eq!(shop.look(quarter).await, Gone { sends: 1, plugin_sends: 1, ..Gone::default() });
    assert_eq!(shop.texts("SELECT message FROM plugin_sends").await, ["young"]);
}

#[tokio::test]
async fn a_removed_endpoint_goes_with_the_last_delivery_that_points_at_it() {
    let shop = Shop::open().await;
    let (endpoints, url) = (shop.at.store.endpoints(Scope::gateway()), "https://example.org/crm".parse().unwrap());
    let crm = endpoints.add(NewEndpoint::plain(shop.session.clone(), "crm", url)).await.unwrap().unwrap().id;
    let event = shop.receive(&["message"]).await.remove(0);
    let delivery = NewDelivery { endpoint: crm.clone(), chat: None, shape: Shape::json("{}".to_owned()) };
    shop.route_as(&event, Routing { deliveries: vec![delivery], ..Routing::default() }).await;
    shop.attempt(Settlement::Delivered).await;
    assert!(endpoints.remove(&crm).await.unwrap());
    shop.at.clock.advance(days(1));
    let month = RetentionConfig { events: Some(days(30)), ..OFF };
    assert_eq!(shop.look(month).await, Gone::default());
    shop.at.clock.advance(days(40));
    assert_eq!(shop.look(month).await, Gone { events: 1, endpoints: 1, ..Gone::default() });
    assert_eq!(shop.texts("SELECT id FROM endpoints").await, [shop.endpoint.to_string()]);
}

#[tokio::test]
async fn a_page_has_its_bound_and_what_stays_does_not_hide_what_may_go() {
    let shop = Shop::open().await;
    // More rows that stay than a page holds, all of one moment.
    let waiting = shop.receive(&names("waiting", PAGE + 50)).await;
    join_all(waiting.iter().map(|event| shop.post(event))).await;
    shop.at.clock.advance(Duration::from_secs(1));
    let done = shop.receive(&names("done", 2 * PAGE + 50)).await;
    join_all(done.iter().map(|event| shop.route(event))).await;
    shop.at.clock.advance(days(40));

    let (store, now) = (&shop.at.store, shop.at.clock.now());
    let page = rows::page(store, Kind::Events, Millis(0), now).await.unwrap();
    assert!(page.len() == PAGE && page.iter().all(|row| row.held));
    let page = rows::page(store, Kind::Events, page[0].at.after(Duration::from_secs(1)), now).await.unwrap();
    assert!(page.len() == PAGE && page.iter().all(|row| !row.held));
    let slice = rows::delete(store, page).await.unwrap();
    assert_eq!(slice.gone, u64::try_from(PAGE - slice.rest.len()).unwrap());
    assert!(slice.gone > 0);

    let gone = shop.look(RetentionConfig { events: Some(days(30)), ..OFF }).await;
    assert_eq!(gone.events + slice.gone, u64::try_from(done.len()).unwrap());
    assert_eq!(shop.whole().await, waiting.iter().map(ToString::to_string).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_received_and_routed_meanwhile_is_unharmed() {
    let shop = Shop::open().await;
    let old = shop.receive(&names("old", 400)).await;
    join_all(old.iter().map(|event| shop.route(event))).await;
    shop.at.clock.advance(days(40));
    let load = async {
        let mut fresh = Vec::new();
        for number in 0..100 {
            let event = shop.receive(&names(&format!("fresh{number}."), 1)).await.remove(0);
            shop.post(&event).await;
            fresh.push(event.to_string());
        }
        fresh
    };
    let (gone, fresh) = tokio::join!(shop.look(RetentionConfig { events: Some(days(30)), ..OFF }), load);
    assert_eq!((gone.events, shop.whole().await), (400, fresh));
    assert_eq!(shop.count("SELECT COUNT(*) FROM deliveries WHERE state = 'waiting'").await, 100);
}

#[tokio::test]
async fn a_database_that_is_too_large_loses_its_oldest_finished_events() {
    let shop = Shop::open().await;
    let events = shop.at.store.events(Scope::gateway());
    let waiting: Vec<_> = shop.receive(&["w1", "w2", "w3"]).await;
    join_all(waiting.iter().map(|event| shop.post(event))).await;
    let mut stored = Vec::new();
    for hundred in ["first", "second"] {
        let batch: Vec<_> = names(hundred, 100).iter().map(|id| message(id, &"x".repeat(5_000))).collect();
        let batch = events.receive(&shop.session, &batch).await.unwrap();
        join_all(batch.iter().map(|event| shop.route(&event.id))).await;
        stored.extend(batch.into_iter().map(|event| event.id.to_string()));
        shop.at.clock.advance(Duration::from_secs(1));
    }
    shop.at.clock.advance(HOUR * 2);
    let fresh = shop.receive(&["f1", "f2"]).await;
    join_all(fresh.iter().map(|event| shop.route(event))).await;

    let limit = shop.size().await - 200_000;
    let mut keeper = shop.keeper(RetentionConfig { size: Some(limit), ..OFF });
    let mut gone = Gone::default();
    for _ in 0..10 {
        keeper.look(&mut gone).await.unwrap();
    }
    assert!((20..100).contains(&gone.events), "{gone:?}");
    assert!(shop.size().await <= limit);
    let whole = shop.whole().await;
    assert_eq!(u64::try_from(whole.len()).unwrap(), 3 + 200 - gone.events + 2);
    assert!(stored[100..].iter().all(|event| whole.contains(event)), "the younger ones are not touched");
    assert!(waiting.iter().all(|event| whole.contains(&event.to_string())));

    let gone = shop.look(RetentionConfig { size: Some(1), ..OFF }).await.events + gone.events;
    assert_eq!(gone, 200, "all that is finished and older than an hour");
    let left: Vec<_> = waiting.iter().chain(&fresh).map(ToString::to_string).collect();
    assert_eq!(shop.whole().await, left);
}

#[tokio::test]
async fn replays_go_when_they_have_ended() {
    let shop = Shop::open().await;
    let (owner, replays) = (shop.at.store.users().list().await.unwrap()[0].id, shop.at.store.replays(Scope::gateway()));
    let started = async || replays.start(owner, DeliveryFilter::default(), 1).await.unwrap().id;
    let (ended, running) = (started().await, started().await);
    assert!(replays.cancel(&ended).await.unwrap());
    let month = RetentionConfig { attempts: Some(days(30)), ..OFF };
    shop.at.clock.advance(days(30));
    assert_eq!(shop.look(month).await, Gone::default(), "not yet");
    shop.at.clock.advance(days(1));
    assert_eq!(shop.look(month).await, Gone { replays: 1, ..Gone::default() });
    assert_eq!(replays.list().await.unwrap().into_iter().map(|replay| replay.id).collect::<Vec<_>>(), [running]);
}
