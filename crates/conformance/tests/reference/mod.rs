//! Plugins that do all they must, in memory, and can be told to do one thing wrong.

pub(crate) mod settings;
pub(crate) mod sink;
pub(crate) mod source;
pub(crate) mod store;
pub(crate) mod upstream;

use std::{
    any::Any,
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

type Worlds = Mutex<HashMap<u64, Arc<dyn Any + Send + Sync>>>;

static WORLDS: LazyLock<Worlds> = LazyLock::new(Worlds::default);
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A world that is known by its number until this is dropped.
pub(crate) struct Registered<W> {
    pub(crate) number: u64,
    pub(crate) world: Arc<W>,
}

impl<W: Send + Sync + 'static> Registered<W> {
    pub(crate) fn new(world: W) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let world = Arc::new(world);
        let known: Arc<dyn Any + Send + Sync> = world.clone();
        WORLDS.lock().unwrap().insert(number, known);
        Self { number, world }
    }
}

impl<W> Drop for Registered<W> {
    fn drop(&mut self) {
        WORLDS.lock().unwrap().remove(&self.number);
    }
}

pub(crate) fn find<W: Send + Sync + 'static>(number: u64) -> Option<Arc<W>> {
    WORLDS.lock().unwrap().get(&number).cloned()?.downcast().ok()
}

/// What is wrong with a plugin; nothing in the reference.
pub(crate) fn toml(number: u64, defect: &str) -> String {
    format!("world = {number}\ndefect = '{defect}'")
}
