use std::{
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use rdkafka::{message::OwnedMessage, types::RDKafkaErrorCode};
use tokio::sync::Notify;

use super::Ticket;

/// What is under way, counted by the threads that hear of deliveries, and waited for by the sink.
pub(crate) struct Deliveries {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    bytes_max: usize,
    /// Somebody waits for whatever comes next.
    is_awaited: AtomicBool,
    is_closed: AtomicBool,
    progress: Notify,
    news: Mutex<News>,
}

#[derive(Default)]
struct News {
    failures: Vec<Failure>,
    trouble: Option<Trouble>,
    /// What the client complained of last.
    complaint: Option<String>,
}

/// A message that was not delivered, for whoever is to send it again.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) ticket: Ticket,
    pub(crate) code: RDKafkaErrorCode,
    pub(crate) message: OwnedMessage,
}

/// What makes waiting for deliveries hopeless.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// The brokers do not accept who we are.
    Authentication(String),
    /// A certificate is not trusted.
    Certificate(String),
}

impl Deliveries {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            messages: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            bytes_max,
            is_awaited: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            progress: Notify::new(),
            news: Mutex::default(),
        }
    }

    /// A message is under way.
    pub(crate) fn begin(&self, ticket: Ticket) {
        self.bytes.fetch_add(ticket.bytes, Ordering::SeqCst);
        self.messages.fetch_add(1, Ordering::SeqCst);
    }

    /// A message is not under way any more.
    pub(crate) fn end(&self, ticket: Ticket) {
        let before = self.bytes.fetch_sub(ticket.bytes, Ordering::SeqCst);
        let after = before - ticket.bytes;
        let low = self.bytes_max / 2;
        let has_room = before > low && after <= low;
        let is_last = self.messages.fetch_sub(1, Ordering::SeqCst) == 1;
        // A wake-up for each message would cost more than the message.
        if is_last || has_room || self.is_awaited.swap(false, Ordering::SeqCst) {
            self.progress.notify_one();
        }
    }

    /// As [`end`](Self::end), for a message that was not delivered.
    pub(crate) fn fail(&self, failure: Failure) {
        let ticket = failure.ticket;
        if !self.is_closed.load(Ordering::SeqCst) {
            self.news().failures.push(failure);
            self.is_awaited.store(true, Ordering::SeqCst);
        }
        self.end(ticket);
    }

    /// Keeps failures that were taken for another time.
    pub(crate) fn put_back(&self, failures: impl Iterator<Item = Failure>) {
        self.news().failures.extend(failures);
    }

    /// Notes what makes waiting hopeless.
    pub(crate) fn trouble(&self, trouble: Trouble) {
        self.news().trouble.get_or_insert(trouble);
        self.progress.notify_one();
    }

    /// Notes a complaint of the client, which may pass.
    pub(crate) fn complain(&self, complaint: String) {
        self.news().complaint = Some(complaint);
        self.progress.notify_one();
    }

    /// From now on failures are not kept: nobody will ask for them.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }

    /// Whether a message of so many bytes may begin now. One that is larger than the bound begins
    /// alone.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let under_way = self.bytes.load(Ordering::SeqCst);
        under_way == 0 || under_way.saturating_add(bytes) <= self.bytes_max
    }

    /// Whether nothing is under way.
    pub(crate) fn is_settled(&self) -> bool {
        self.messages.load(Ordering::SeqCst) == 0
    }

    /// Whether something failed that was not taken yet.
    pub(crate) fn has_failed(&self) -> bool {
        !self.news().failures.is_empty()
    }

    /// What failed so far, in the order of the messages.
    pub(crate) fn take_failures(&self) -> Vec<Failure> {
        let mut failures = mem::take(&mut self.news().failures);
        failures.sort_by_key(|failure| failure.ticket.message);
        failures
    }

    /// What makes waiting hopeless, if anything does.
    pub(crate) fn troubled(&self) -> Option<Trouble> {
        self.news().trouble.clone()
    }

    /// What the client complained of last.
    pub(crate) fn complaint(&self) -> Option<String> {
        self.news().complaint.clone()
    }

    /// Waits until nothing is under way, room was made, something failed, or there is trouble.
    /// It may return before.
    pub(crate) async fn progress(&self) {
        self.progress.notified().await;
    }

    /// As [`progress`](Self::progress), and whenever a message is delivered.
    pub(crate) async fn any_progress(&self) {
        self.is_awaited.store(true, Ordering::SeqCst);
        if !self.is_settled() {
            self.progress().await;
        }
    }

    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
