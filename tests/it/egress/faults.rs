//! Receivers that break the rules below HTTP: the end that an exchange with each comes to, and how soon.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use wagate::egress::{Egress, EgressError, Request};
use wagate::model::{ErrorClass, Phases};
use wagate_tests::faults::{Fault, Faulty};

use super::{egress, post};

/// Time for an exchange, and what may pass beyond it.
const DEADLINE: Duration = Duration::from_secs(1);
const MARGIN: Duration = Duration::from_secs(1);
/// Bytes of an answer that are read.
const READ: usize = 64 * 1024;

/// An answer with this status, or none.
fn end(fault: Fault) -> Result<u16, ErrorClass> {
    match fault {
        Fault::Sound | Fault::Floods | Fault::GzipBomb => Ok(200),
        Fault::RedirectsToItself => Ok(302),
        Fault::Busy(_) => Ok(429),
        Fault::Refuses => Err(ErrorClass::Connect),
        Fault::Resets | Fault::BreaksOff => Err(ErrorClass::Broken),
        Fault::SelfSigned | Fault::PlainText => Err(ErrorClass::Tls),
        Fault::Interim(pause) if !pause.is_zero() => Err(ErrorClass::Timeout),
        Fault::Vanishes | Fault::Silent | Fault::TricklesHead(_) | Fault::TricklesBody(_) => Err(ErrorClass::Timeout),
        Fault::NotHttp
        | Fault::Interim(_)
        | Fault::EndlessHead
        | Fault::EndlessHeader
        | Fault::EndlessChunkLine
        | Fault::EndlessTrailers => Err(ErrorClass::Protocol),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_ends_in_time_and_under_its_class() -> Result<()> {
    let egress = egress(&[], true);
    try_join_all(Fault::ALL.map(|fault| ends(&egress, fault))).await.map(drop)
}

async fn ends(egress: &Egress, fault: Fault) -> Result<()> {
    let faulty = Faulty::start(fault).await?;
    let begun = Instant::now();
    let exchange = egress.exchange(Request { deadline: DEADLINE, answer_limit: READ, ..post(&faulty.url()) }).await;
    let took = begun.elapsed();
    ensure!(took <= DEADLINE + MARGIN, "{fault:?} took {took:?}");
    let came = exchange.result.as_ref().map(|answer| answer.status).map_err(EgressError::class);
    ensure!(came == end(fault), "{fault:?} came to {exchange:?}");
    ensure!(exchange.address == Some(faulty.address()), "{fault:?} at {:?}", exchange.address);
    let Phases { dns_us, connect_us, tls_us, first_byte_us } = exchange.phases;
    ensure!(dns_us.is_none() && connect_us.is_some(), "{fault:?}: {:?}", exchange.phases);
    let secured = matches!(fault, Fault::SelfSigned | Fault::PlainText);
    ensure!(tls_us.is_some() == secured, "{fault:?}: {:?}", exchange.phases);
    ensure!(first_byte_us.is_some() || came.is_err(), "{fault:?}: {:?}", exchange.phases);
    if let Ok(answer) = exchange.result {
        let endless = matches!(fault, Fault::Floods | Fault::GzipBomb);
        ensure!(answer.cut == endless && answer.body.len() <= READ, "{fault:?}: {} bytes", answer.body.len());
        // Not unpacked.
        ensure!(fault != Fault::GzipBomb || answer.body.starts_with(&[0x1f, 0x8b]), "{fault:?} was unpacked");
    }
    // A receiver that was given up is asked for nothing more.
    let connections = faulty.connections();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let sent = faulty.sent();
    tokio::time::sleep(Duration::from_millis(200)).await;
    ensure!(faulty.sent() - sent < 1024, "the answer of {fault:?} goes on");
    ensure!(connections <= 1 && faulty.requests() <= 1, "{fault:?} was tried {connections} times");
    Ok(())
}

#[tokio::test]
async fn a_broken_connection_is_not_used_again() -> Result<()> {
    let egress = egress(&[], true);
    for fault in [Fault::Floods, Fault::BreaksOff, Fault::NotHttp, Fault::TricklesBody(Duration::from_secs(1))] {
        let faulty = Faulty::start(fault).await?;
        for tries in 1..=2 {
            let deadline = Duration::from_millis(300);
            let exchange = egress.exchange(Request { deadline, ..post(&faulty.url()) }).await;
            exchange.phases.connect_us.with_context(|| format!("{fault:?} came over a used connection"))?;
            ensure!(faulty.connections() == tries, "{fault:?}: {} connections", faulty.connections());
        }
    }
    Ok(())
}
