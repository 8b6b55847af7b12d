use crate::{Direction, Fault, Proxy, random::Random};

/// What [`swizzle`] has just done, to the proxy of this index.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    Stalled(usize),
    Released(usize),
}

/// Stalls the proxies one after another in an order of chance, and releases them in another one.
///
/// After each step it waits for `between`, where a test waits for whatever must be true by then, or
/// makes trouble of its own. Other faults of the proxies stay.
///
/// ```
/// use rowtide_proxy::{Proxy, Step, swizzle};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// # let (database, broker) = (([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into());
/// let database = Proxy::start(database, 1).await?;
/// let broker = Proxy::start(broker, 2).await?;
/// let mut steps = Vec::new();
/// swizzle(&[&database, &broker], 3, async |step| steps.push(step)).await;
/// assert_eq!(steps.len(), 4);
/// assert!(matches!(steps[1], Step::Stalled(_)) && matches!(steps[2], Step::Released(_)));
/// # Ok(())
/// # }
/// ```
pub async fn swizzle(proxies: &[&Proxy], seed: u64, mut between: impl AsyncFnMut(Step)) {
    let mut random = Random::new(seed);
    for index in random.order(proxies.len()) {
        proxies[index].inject(Direction::Both, Fault::Stall);
        between(Step::Stalled(index)).await;
    }
    for index in random.order(proxies.len()) {
        proxies[index].release();
        between(Step::Released(index)).await;
    }
}
