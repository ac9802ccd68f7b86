//! Every engine by one measure: messages received a second over many sessions, the wait for a commit at a steady pace, the
//! wait for a claim on a long queue. Beside it stands the engine's own limit on the same machine in the same minute: the
//! same rows in a bare loop on one connection, as many to a commit as the store can have at once, as durable.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use sqlx::{Connection as _, FromRow, MySql, Postgres, QueryBuilder, Sqlite};
use wagate::model::{Clock, Incoming, Scope, SessionId};
use wagate_tests::database::Database;
use wagate_tests::engine::Engine;
use wagate_tests::figures::{figure, ms, per_s, quantile};
use wagate_tests::post::Post;
use wagate_tests::raw::Raw;
use wagate_tests::servers::Server;

use super::NOWHERE;

/// Sessions that receive at the same time.
const SESSIONS: usize = 200;
/// Messages of each while they come as fast as they are taken.
const EACH: u32 = 150;
/// Messages a second while they come at a pace, and how many.
const PACE: u32 = 1_000;
const PACED: u32 = 15_000;
/// Events, deliveries of each: a million wait.
const EVENTS: usize = 10_000;
const OF_EACH: usize = 100;
/// Claims that are timed, and how many deliveries each takes.
const CLAIMS: usize = 500;
const CLAIMED: u32 = 64;

/// A received message, as it lies in the table.
#[derive(Debug, FromRow)]
struct Row {
    id: String,
    session_id: String,
    kind: String,
    dedup: Vec<u8>,
    message_key: Vec<u8>,
    payload: String,
    stored_at: i64,
}

/// Measures one engine. Call it on the main thread: the server ends with the thread that starts it.
pub(crate) async fn measure(engine: Engine) -> Result<()> {
    let server = match engine {
        Engine::Sqlite => None,
        _ => Some(Server::start(engine).await?),
    };
    let database = || server.as_ref().map_or_else(|| Database::on(engine), Database::at);
    let name = |what| format!("store.{}.{what}", engine.figure());

    let (rate, rows) = receive(database()?).await?;
    figure(&name("per_s"), rate, "messages/s");
    figure(&name("limit_per_s"), bare(database()?, &rows).await?, "messages/s");
    let mut commits = pace(database()?).await?;
    figure(&name("commit_p50_ms"), ms(quantile(&mut commits, 0.50)), "ms");
    figure(&name("commit_p99_ms"), ms(quantile(&mut commits, 0.99)), "ms");
    let mut claims = claim(database()?).await?;
    figure(&name("claim_p50_ms"), ms(quantile(&mut claims, 0.50)), "ms");
    figure(&name("claim_p99_ms"), ms(quantile(&mut claims, 0.99)), "ms");
    Ok(())
}

/// A store with so many sessions.
async fn stage(database: Database) -> Result<(Post, Vec<SessionId>)> {
    let post = Post::on(database, NOWHERE, Clock::System).await?;
    let owner = post.store.users().for_login("ida").await?.context("no user")?.0.id;
    let (mut sessions, url) = (Vec::with_capacity(SESSIONS), NOWHERE.parse()?);
    for n in 0..SESSIONS {
        let id: SessionId = format!("ses_{n}").parse()?;
        post.store.sessions(Scope::of(owner)).create(owner, id.clone(), "Sales", Some(&url)).await?;
        sessions.push(id);
    }
    Ok((post, sessions))
}

/// Every session receives one message after the other; how many a second, and what was stored.
async fn receive(database: Database) -> Result<(String, Vec<Row>)> {
    let (mut post, sessions) = stage(database).await?;
    let mut work: Vec<(SessionId, Vec<Incoming>)> = Vec::with_capacity(SESSIONS);
    for session in sessions {
        work.push((session, post.messages(EACH)?));
    }
    let events = post.store.events(Scope::gateway());
    let events = &events;
    let begun = Instant::now();
    let receiving = work.iter().map(async |(session, messages)| {
        for message in messages {
            events.receive(session, std::slice::from_ref(message)).await?;
        }
        anyhow::Ok(())
    });
    try_join_all(receiving).await?;
    let rate = per_s(SESSIONS * EACH as usize, begun.elapsed());
    post.close().await;
    let raw = post.raw().await?;
    let rows = rows(&raw).await?;
    raw.close().await;
    ensure!(rows.len() == SESSIONS * EACH as usize, "{} messages were stored", rows.len());
    Ok((rate, rows))
}

async fn rows(raw: &Raw) -> Result<Vec<Row>> {
    const ROWS: &str = "SELECT id, session_id, kind, dedup, message_key, payload, stored_at FROM events ORDER BY seq";
    Ok(match raw {
        Raw::Sqlite(pool) => sqlx::query_as(ROWS).fetch_all(pool).await?,
        Raw::Postgres(pool) => sqlx::query_as(ROWS).fetch_all(pool).await?,
        Raw::Mysql(pool) => sqlx::query_as(ROWS).fetch_all(pool).await?,
    })
}

/// Inserts the rows, as many to a commit as there are sessions; the time of all commits.
macro_rules! bare_loop {
    ($engine:ty, $pool:expr, $rows:expr) => {{
        let mut connection = $pool.acquire().await?;
        let begun = Instant::now();
        for batch in $rows.chunks(SESSIONS) {
            let mut transaction = connection.begin().await?;
            let mut insert: QueryBuilder<$engine> =
                QueryBuilder::new("INSERT INTO events (id, session_id, kind, dedup, message_key, payload, stored_at) ");
            insert.push_values(batch, |mut values, row| {
                values.push_bind(row.id.as_str()).push_bind(row.session_id.as_str()).push_bind(row.kind.as_str());
                values
                    .push_bind(row.dedup.as_slice())
                    .push_bind(row.message_key.as_slice())
                    .push_bind(row.payload.as_str())
                    .push_bind(row.stored_at);
            });
            insert.build().execute(&mut *transaction).await?;
            transaction.commit().await?;
        }
        begun.elapsed()
    }};
}

/// The engine's own limit: the same rows, without the store.
async fn bare(database: Database, rows: &[Row]) -> Result<String> {
    let (post, _) = stage(database).await?;
    post.close().await;
    let raw = post.raw().await?;
    let took = match &raw {
        Raw::Sqlite(pool) => bare_loop!(Sqlite, pool, rows),
        Raw::Postgres(pool) => bare_loop!(Postgres, pool, rows),
        Raw::Mysql(pool) => bare_loop!(MySql, pool, rows),
    };
    raw.close().await;
    Ok(per_s(rows.len(), took))
}

/// Messages at a steady pace, to the sessions in turn, whether or not those before are committed; how long each waited.
async fn pace(database: Database) -> Result<Vec<Duration>> {
    let (mut post, sessions) = stage(database).await?;
    let messages = post.messages(PACED)?;
    let events = post.store.events(Scope::gateway());
    let events = &events;
    let begun = tokio::time::Instant::now();
    let receiving = messages.iter().zip(sessions.iter().cycle()).zip(0..).map(async |((message, session), n)| {
        tokio::time::sleep_until(begun + Duration::from_secs(n) / PACE).await;
        let called = Instant::now();
        events.receive(session, std::slice::from_ref(message)).await?;
        anyhow::Ok(called.elapsed())
    });
    let waits = try_join_all(receiving).await?;
    post.close().await;
    Ok(waits)
}

/// Reads of what is due at one endpoint and another, while a million deliveries are; how long each took. Nothing else makes
/// a claim: the gateway that leads on a database knows by itself what it has under way.
async fn claim(database: Database) -> Result<Vec<Duration>> {
    let (mut post, sessions) = stage(database).await?;
    for session in &sessions {
        let batch = post.messages(u32::try_from(EVENTS / SESSIONS)?)?;
        post.store.events(Scope::gateway()).receive(session, &batch).await?;
    }
    let raw = post.raw().await?;
    fill(&raw).await?;
    raw.close().await;
    let deliveries = post.store.deliveries(Scope::gateway());
    let endpoints = deliveries.waiting_endpoints().await?;
    ensure!(endpoints.len() == SESSIONS, "{} endpoints wait", endpoints.len());
    let mut waits = Vec::with_capacity(CLAIMS);
    for (endpoint, _) in endpoints.iter().cycle().take(CLAIMS) {
        let begun = Instant::now();
        let due = deliveries.due(endpoint, CLAIMED).await?;
        waits.push(begun.elapsed());
        ensure!(due.len() == CLAIMED as usize, "{} of {CLAIMED} were due", due.len());
    }
    post.close().await;
    Ok(waits)
}

/// Makes the deliveries in the engine's own words: through the store they would take minutes.
async fn fill(raw: &Raw) -> Result<()> {
    let numbers: Vec<String> = (0..OF_EACH).map(|n| format!("({n})")).collect();
    raw.run("CREATE TABLE bench_numbers (n BIGINT NOT NULL)").await?;
    raw.run(format!("INSERT INTO bench_numbers (n) VALUES {}", numbers.join(", "))).await?;
    let body = "x".repeat(300);
    raw.run(format!(
        "INSERT INTO deliveries
            (id, session_id, event_id, endpoint_id, state, due_at, attempts, body, created_at)
         SELECT CONCAT('dlv_', e.seq, '_', b.n), e.session_id, e.id, p.id, 'waiting', e.stored_at - 1000 * b.n, 0,
            '{body}', e.stored_at
         FROM events e JOIN endpoints p ON p.session_id = e.session_id CROSS JOIN bench_numbers b"
    ))
    .await?;
    settle(raw).await?;
    let waiting = raw.count("deliveries", "state = 'waiting'").await?;
    ensure!(waiting == i64::try_from(EVENTS * OF_EACH)?, "{waiting} deliveries wait");
    Ok(())
}

/// What each engine does by itself before long: it gathers its statistics, and has on its disk what it still held in
/// memory. Until then the disk is busy with that.
async fn settle(raw: &Raw) -> Result<()> {
    const FLUSHED: Duration = Duration::from_mins(1);
    match raw {
        Raw::Sqlite(_) => raw.run("PRAGMA wal_checkpoint(TRUNCATE)").await,
        Raw::Postgres(_) => {
            raw.run("ANALYZE").await?;
            raw.run("CHECKPOINT").await
        }
        Raw::Mysql(_) => {
            raw.run("ANALYZE TABLE deliveries, events, endpoints, sessions").await?;
            raw.run("SET GLOBAL innodb_max_dirty_pages_pct_lwm = 0.001").await?;
            raw.run("SET GLOBAL innodb_max_dirty_pages_pct = 0").await?;
            let begun = Instant::now();
            while raw.number(DIRTY).await? > 100 && begun.elapsed() < FLUSHED {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            raw.run("SET GLOBAL innodb_max_dirty_pages_pct = DEFAULT, innodb_max_dirty_pages_pct_lwm = DEFAULT").await
        }
    }
}

/// Pages that MariaDB has yet to write.
const DIRTY: &str = "SELECT CAST(variable_value AS SIGNED) FROM information_schema.global_status
    WHERE variable_name = 'Innodb_buffer_pool_pages_dirty'";
