use std::{collections::VecDeque, sync::Arc};

use rowtide_core::{Change, Error, Event, Partition, PartitionId, Position, settings::ByteSize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::mutant::{self, Mutant};

/// The one FIFO between all readers and the delivery loop.
///
/// It is bounded by bytes and not by a count. What leaves it takes its [`Room`] along and gives it
/// back once it is flushed, so that the inbox and the unflushed span share one bound.
pub(crate) struct Inbox {
    receiver: mpsc::UnboundedReceiver<Message>,
    door: Door,
    /// What a mutant has taken out of turn. Stays empty.
    overtaken: VecDeque<Message>,
}

/// Where readers ask for room, and enter.
#[derive(Clone)]
pub(crate) struct Door {
    sender: mpsc::UnboundedSender<Message>,
    semaphore: Arc<Semaphore>,
    scale: Scale,
}

pub(crate) struct Message {
    pub(crate) partition: PartitionId,
    pub(crate) content: Content,
}

pub(crate) enum Content {
    Event(Event, Room),
    /// The reader has ended, behind all that it read.
    Ended(Error),
}

/// A part of the bound, given back when dropped.
pub(crate) struct Room {
    _permit: OwnedSemaphorePermit,
}

/// How bytes are counted in the semaphore's 32 bits: one by one up to a gigabyte.
#[derive(Clone, Copy)]
struct Scale {
    bytes_each: usize,
    capacity: u32,
}

impl Inbox {
    // Invariant 8: every queue is bounded, memory by bytes. This channel has no bound of its own:
    // what enters it has room already, and each reader adds one error at most.
    pub(crate) fn new(bytes_max: ByteSize) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let scale = Scale::new(bytes_max.as_usize());
        let semaphore = Arc::new(Semaphore::new(scale.capacity as usize));
        let door = Door { sender, semaphore, scale };
        Self { receiver, door, overtaken: VecDeque::new() }
    }

    pub(crate) fn door(&self) -> Door {
        self.door.clone()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.receiver.is_empty() && self.overtaken.is_empty()
    }

    /// The next message. Never ends, since the inbox keeps a door of its own.
    pub(crate) async fn receive(&mut self) -> Message {
        if mutant::active(Mutant::ReactsToReaderErrorAtOnce)
            && let Some(message) = self.receive_error_first()
        {
            return message;
        }
        match self.receiver.recv().await {
            Some(message) => message,
            None => std::future::pending().await,
        }
    }

    fn receive_error_first(&mut self) -> Option<Message> {
        while let Ok(message) = self.receiver.try_recv() {
            self.overtaken.push_back(message);
        }
        let is_error = |message: &Message| matches!(message.content, Content::Ended(_));
        let index = self.overtaken.iter().position(is_error).unwrap_or(0);
        self.overtaken.remove(index)
    }
}

impl Door {
    /// Waits for room for `event`, in order of asking, and puts it into the inbox. An event larger
    /// than the whole bound enters alone.
    pub(crate) async fn enter(&self, partition: &PartitionId, event: Event) {
        let mut permits = self.scale.permits(bytes(&event));
        if mutant::active(Mutant::GivesRoomBackAtOnce) {
            permits = 0;
        }
        let semaphore = Arc::clone(&self.semaphore);
        // The semaphore is never closed, and fair: it serves who asked first, however much it was.
        if let Ok(permit) = semaphore.acquire_many_owned(permits).await {
            self.send(partition, Content::Event(event, Room { _permit: permit }));
        }
    }

    /// Puts the end of a reader behind all that it read.
    pub(crate) fn end(&self, partition: &PartitionId, error: Error) {
        self.send(partition, Content::Ended(error));
    }

    fn send(&self, partition: &PartitionId, content: Content) {
        // Nobody receives only when the session is over, and then nobody is to.
        let _ = self.sender.send(Message { partition: partition.clone(), content });
    }
}

impl Scale {
    fn new(bytes_max: usize) -> Self {
        let bytes_max = bytes_max.max(1);
        let bytes_each = bytes_max.div_ceil(1 << 30);
        let capacity = u32::try_from(bytes_max / bytes_each).unwrap_or(u32::MAX);
        Self { bytes_each, capacity }
    }

    fn permits(self, bytes: usize) -> u32 {
        let permits = u32::try_from(bytes.div_ceil(self.bytes_each)).unwrap_or(u32::MAX);
        permits.clamp(1, self.capacity)
    }
}

/// What an event holds in memory; never nothing, so that empty events are bounded too.
fn bytes(event: &Event) -> usize {
    let place = |position: &Position| position.text().len();
    let held = match event {
        Event::Changes { changes, position } => {
            changes.iter().map(Change::bytes).sum::<usize>() + position.as_ref().map_or(0, place)
        }
        Event::Idle { position } => place(position),
        Event::Children { partitions } => partitions.iter().map(partition_bytes).sum(),
        Event::Finished => 0,
    };
    held + size_of::<Message>()
}

fn partition_bytes(partition: &Partition) -> usize {
    let parents: usize =
        partition.parents.iter().map(|id| id.as_str().len() + size_of::<PartitionId>()).sum();
    size_of::<Partition>() + partition.id.as_str().len() + parents
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rowtide_core::{ChangeId, Operation, Table};
    use tokio::time::timeout;

    use super::*;

    fn changes(count: usize) -> Event {
        let table = Arc::new(Table::new("t", vec![]));
        let change = Change::new(ChangeId::new("c"), table, Operation::Insert);
        Event::Changes { changes: vec![change; count], position: None }
    }

    async fn enters(door: &Door, event: Event) -> bool {
        let partition = PartitionId::new("p");
        timeout(Duration::from_secs(1), door.enter(&partition, event)).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn room_is_given_back_with_what_was_received() {
        let mut inbox = Inbox::new(ByteSize(2 * bytes(&changes(3)) as u64));
        let door = inbox.door();
        assert!(enters(&door, changes(3)).await);
        assert!(enters(&door, changes(3)).await);
        assert!(!enters(&door, changes(3)).await);
        let message = inbox.receive().await;
        assert!(!enters(&door, changes(3)).await, "it is received, and not given back");
        drop(message);
        assert!(enters(&door, changes(3)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_larger_than_the_bound_enters_alone() {
        let mut inbox = Inbox::new(ByteSize(bytes(&changes(2)) as u64));
        let door = inbox.door();
        assert!(enters(&door, changes(1)).await);
        assert!(!enters(&door, changes(9)).await);
        drop(inbox.receive().await);
        assert!(enters(&door, changes(9)).await);
        assert!(!enters(&door, Event::Finished).await);
    }

    #[tokio::test(start_paused = true)]
    async fn room_is_granted_in_order_of_asking() {
        let mut inbox = Inbox::new(ByteSize(bytes(&changes(4)) as u64));
        let door = inbox.door();
        assert!(enters(&door, changes(3)).await);
        let (large, small) = (PartitionId::new("large"), PartitionId::new("small"));
        let asks = async {
            tokio::join!(door.enter(&large, changes(4)), door.enter(&small, Event::Finished));
        };
        let receives = async {
            drop(inbox.receive().await);
            let first = inbox.receive().await.partition.clone();
            (first, inbox.receive().await.partition)
        };
        let ((), order) = tokio::join!(asks, receives);
        assert_eq!(order, (large, small));
    }

    #[test]
    fn more_than_a_gigabyte_is_counted_in_larger_units() {
        for bytes_max in [1, 1 << 20, 1 << 30, 1 << 34, usize::MAX] {
            let scale = Scale::new(bytes_max);
            assert!((1..=1 << 30).contains(&scale.capacity), "{bytes_max}");
            assert_eq!(scale.permits(usize::MAX), scale.capacity);
            assert_eq!(scale.permits(0), 1);
        }
    }
}
