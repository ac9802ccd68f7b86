//! How many messages a second one core of the simulator hands from phones to linked devices.
//!
//! The network runs on a single thread, whose processor time is what is measured; the devices are the smallest clients
//! that link, stay active and settle what they are sent, on threads of their own. They do not decrypt: the question is
//! what the simulator costs a bench, not what a client does.
//!
//!     cargo run --release -p wagate-simulator --example throughput -- --accounts 50 --messages 50000

mod device;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use wagate_simulator::{Network, NetworkConfig, Phone};

use device::Device;

/// Measures phone → device throughput.
#[derive(Parser)]
struct Options {
    /// How many accounts, each with one linked device.
    #[arg(long, default_value_t = 50)]
    accounts: usize,
    /// How many messages are sent in all.
    #[arg(long, default_value_t = 50_000)]
    messages: u64,
}

type Scan = (usize, String, oneshot::Sender<(String, u16)>);

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let options = Options::parse();
    let accounts = options.accounts;
    let received = Arc::new(AtomicU64::new(0));
    let (scans, to_scan) = mpsc::unbounded_channel::<Scan>();
    let (ready, go) = std::sync::mpsc::channel::<()>();
    let (address, at) = std::sync::mpsc::channel::<String>();
    let messages = options.messages;
    let counted = Arc::clone(&received);
    let network = std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(serve(accounts, messages, &address, to_scan, &go, &counted))
    });
    let url = at.recv()?;
    let clients = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    clients.block_on(link_all(accounts, &url, &scans, &received))?;
    ready.send(())?;
    let report = network.join().map_err(|_| "the network failed")?;
    report_on(&report);
    Ok(())
}

struct Report {
    messages: u64,
    wall: Duration,
    processor: Duration,
    linked_kib: u64,
    after_kib: u64,
}

async fn serve(
    accounts: usize,
    messages: u64,
    address: &std::sync::mpsc::Sender<String>,
    mut to_scan: mpsc::UnboundedReceiver<Scan>,
    go: &std::sync::mpsc::Receiver<()>,
    received: &AtomicU64,
) -> Report {
    let network = Network::start(NetworkConfig::default()).await.expect("a network");
    let owners: Vec<Phone> = (0..accounts).map(|number| network.add_phone(&format!("Owner {number}"))).collect();
    let writers: Vec<Phone> = (0..accounts).map(|number| network.add_phone(&format!("Writer {number}"))).collect();
    address.send(network.ws_url()).expect("someone waits");
    while go.try_recv().is_err() {
        tokio::select! {
            Some((account, qr, done)) = to_scan.recv() => {
                let owner = owners[account].clone();
                tokio::spawn(async move {
                    if let Ok(device) = owner.scan(&qr).await {
                        let _ = done.send((owner.number().to_owned(), device));
                    }
                });
            }
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
    let linked_kib = resident_kib();
    let before = received.load(Ordering::Relaxed);
    let (start, processor) = (Instant::now(), thread_time());
    for number in 0..messages {
        let index = usize::try_from(number).unwrap_or(0) % accounts;
        writers[index]
            .send_text(owners[index].number(), "a message of ordinary length, as people write them")
            .await
            .expect("sent");
        if number % 16 == 0 {
            tokio::task::yield_now().await;
        }
    }
    while received.load(Ordering::Relaxed) - before < messages || owners.iter().any(|owner| owner.unacked() > 0) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Report {
        messages,
        wall: start.elapsed(),
        processor: thread_time().saturating_sub(processor),
        linked_kib,
        after_kib: resident_kib(),
    }
}

async fn link_all(
    accounts: usize,
    url: &str,
    scans: &mpsc::UnboundedSender<Scan>,
    received: &Arc<AtomicU64>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    for account in 0..accounts {
        let device = Device::generate();
        let mut line = device.connect_unlinked(url).await?;
        let qr = device.qr(&mut line).await?;
        let (done, scanned) = oneshot::channel();
        scans.send((account, qr, done))?;
        device.sign(&mut line).await?;
        let (number, id) = scanned.await?;
        let received = Arc::clone(received);
        let url = url.to_owned();
        tokio::spawn(async move {
            if let Err(error) = Device::stay(&url, &number, id, &received).await {
                tracing::error!(%error, "a device gave up");
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the report is what this program is for")]
fn report_on(report: &Report) {
    let per_second = |time: Duration| u128::from(report.messages) * 1000 / time.as_millis().max(1);
    println!("messages            {}", report.messages);
    println!("wall time           {:?} ({} messages/s)", report.wall, per_second(report.wall));
    println!("simulator's thread  {:?} ({} messages/s a core)", report.processor, per_second(report.processor));
    println!("resident            {} KiB linked, {} KiB after", report.linked_kib, report.after_kib);
}

/// The processor time this thread used, from `/proc` (hundredths of a second).
fn thread_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|field| field.parse().ok()).unwrap_or(0)
}
