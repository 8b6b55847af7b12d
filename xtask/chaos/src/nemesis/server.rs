//! Servers that die, are stopped, and fall silent.

use std::sync::Arc;

use super::{Fault, pause};
use crate::site::Site;

pub(crate) fn faults(site: &Arc<Site>) -> Vec<Fault> {
    let name = site.kind.name();
    let (killed, stopped) = (site.clone(), site.clone());
    vec![
        Fault::new(format!("{name} killed"), 6, move |chance| {
            killed.server.kill()?;
            pause(chance, 0, 3_000);
            Ok(killed.server.restart()?)
        }),
        Fault::new(format!("{name} stopped"), 3, move |chance| {
            stopped.server.stop()?;
            pause(chance, 0, 3_000);
            Ok(stopped.server.restart()?)
        }),
        frozen(site),
    ]
}

pub(crate) fn frozen(site: &Arc<Site>) -> Fault {
    let (name, site) = (site.kind.name(), site.clone());
    Fault::new(format!("{name} frozen"), 6, move |chance| {
        site.server.freeze()?;
        // Now and then for longer than any time-out.
        let most = if chance.u8(..) < 20 { 65_000 } else { 8_000 };
        pause(chance, 200, most);
        Ok(site.server.thaw()?)
    })
}
