//! One relay a table.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use rowtide_core::{Context, Partition, PartitionId, Shutdown};
use sqlx::Executor;
use tokio::sync::oneshot;

use crate::world::{Outcome, World, context, run};

/// Within which a standby takes over.
const TAKE_OVER: Duration = Duration::from_secs(5);

pub(crate) fn a_second_relay_waits_and_takes_over() -> Outcome {
    run(async {
        let world = World::new(&[]).await?;
        let first = world.open("delete", &context()).await?;
        let waiting = context();
        let second = world.open("delete", &waiting);
        tokio::pin!(second);
        let early = tokio::time::timeout(Duration::from_secs(2), &mut second).await;
        if early.is_ok() {
            return Err("two relays have one table".into());
        }
        let left = Instant::now();
        drop(first);
        drop(second.await?);
        if left.elapsed() > TAKE_OVER || !waiting.waited_for_lock() {
            let noted = waiting.waited_for_lock();
            return Err(format!("took over after {:?}, noted: {noted}", left.elapsed()).into());
        }
        Ok(())
    })
}

pub(crate) fn a_cut_lock_connection_stops_the_relay_before_another_takes_over() -> Outcome {
    run(async {
        let world = World::new(&[]).await?;
        let losing = context();
        let first = world.open("delete", &losing).await?;
        let mut stream = first.read(&Partition::whole(), None);
        let idle = stream.next().await.ok_or("no event")??;
        let rowtide_core::Event::Idle { position } = idle else { return Err("not idle".into()) };
        let waiting = context();
        let second = world.open("delete", &waiting);
        tokio::pin!(second);
        let early = tokio::time::timeout(Duration::from_secs(1), &mut second).await;
        assert!(early.is_err(), "two relays have one table");
        let cut = Instant::now();
        let end = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'";
        world.connect().await?.execute(end).await?;
        let noticed = async {
            loop {
                match stream.next().await {
                    Some(Err(error)) => return (error, Instant::now()),
                    Some(Ok(_)) => {}
                    None => panic!("the stream ended without an error"),
                }
            }
        };
        let (taken, (error, noticed), ()) = tokio::join!(second, noticed, losing.lock_lost());
        drop(taken?);
        assert!(error.is_transient(), "{error}");
        let position = [(PartitionId::new("whole"), position)];
        drop(first.acknowledge(&position).await);
        let (noticed, taken) = (noticed - cut, cut.elapsed());
        if noticed > Duration::from_millis(500) || taken > TAKE_OVER {
            return Err(format!("noticed after {noticed:?}, taken over after {taken:?}").into());
        }
        Ok(())
    })
}

pub(crate) fn a_standby_gives_up_when_it_is_asked_to_stop() -> Outcome {
    run(async {
        let world = World::new(&[]).await?;
        let _first = world.open("delete", &context()).await?;
        let (stop, asked) = oneshot::channel::<()>();
        let shutdown = Shutdown::new(async {
            let _ = asked.await;
        });
        let standby = Context::new("test", shutdown);
        let second = world.open("delete", &standby);
        tokio::pin!(second);
        while !standby.waited_for_lock() {
            let _ = tokio::time::timeout(Duration::from_millis(10), &mut second).await;
        }
        let _ = stop.send(());
        match second.await {
            Ok(_) => Err("it has the lock that another has".into()),
            Err(_) => Ok(()),
        }
    })
}
