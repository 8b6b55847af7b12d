use rowtide_proxy::{Direction, Fault, Proxy};
use rowtide_servers::Server;

use super::{
    Database, Outcome,
    world::{PIPELINE, World, owner, run, save_at_last, states, update},
};

pub(crate) fn a_cut_at_any_byte_leaves_all_of_a_save_or_nothing<D: Database>() -> Outcome {
    run(async {
        let world = World::<D>::new(Server::shared(D::KIND)?).await?;
        let proxy = Proxy::start(world.address(), 1).await?;
        let through = world.open_at(&world.by(proxy.address()), 10).await?;
        let direct = world.open().await?;
        let claim = direct.claim(PIPELINE, &owner(1)).await?;
        direct.save(&claim, &update(0)).await?;
        let (mut last, mut cuts) = (0, 0);
        for number in 1..120 {
            // The prime takes it through every part of connecting, reading and saving.
            proxy.inject(Direction::Both, Fault::CutAfter { bytes: number * 31 % 2003 });
            let saved = through.save(&claim, &update(number)).await;
            proxy.heal();
            let found = direct.load(PIPELINE).await?;
            let is_new = found == states(number);
            if !is_new && found != states(last) {
                return Err(format!("cut {number}: {found:?} is neither {last} nor it").into());
            }
            match saved {
                Ok(()) if !is_new => return Err(format!("save {number} is not there").into()),
                Err(error) if !error.is_transient() => return Err(error.into()),
                saved => cuts += u64::from(saved.is_err()),
            }
            last = if is_new { number } else { last };
        }
        if cuts < 50 { Err(format!("only {cuts} saves were cut").into()) } else { Ok(()) }
    })
}

pub(crate) fn a_lost_answer_is_found_out<D: Database>() -> Outcome {
    run(async {
        let world = World::<D>::new(Server::shared(D::KIND)?).await?;
        let proxy = Proxy::start(world.address(), 1).await?;
        let store = world.open_at(&world.by(proxy.address()), 1).await?;
        let direct = world.open().await?;
        let claim = direct.claim(PIPELINE, &owner(1)).await?;
        save_at_last(store.as_ref(), &claim, &update(1)).await?;
        proxy.inject(Direction::ToClient, Fault::Discard);
        let error = store.save(&claim, &update(2)).await.err().ok_or("it had no answer")?;
        if !error.is_transient() {
            return Err(error.into());
        }
        proxy.heal();
        if direct.load(PIPELINE).await? != states(2) {
            return Err("the answer alone was to be lost".into());
        }
        save_at_last(store.as_ref(), &claim, &update(3)).await?;
        let found = direct.load(PIPELINE).await?;
        if found == states(3) { Ok(()) } else { Err(format!("{found:?}").into()) }
    })
}

/// As after a recovery: one process, one claim, two connections.
pub(crate) fn a_save_that_arrives_late_undoes_nothing<D: Database>() -> Outcome {
    run(async {
        let world = World::<D>::new(Server::shared(D::KIND)?).await?;
        let proxy = Proxy::start(world.address(), 1).await?;
        let late = world.open_at(&world.by(proxy.address()), 10).await?;
        let claim = late.claim(PIPELINE, &owner(1)).await?;
        late.save(&claim, &update(1)).await?;
        let before = proxy.statistics().to_client.delivered;
        proxy.inject(Direction::ToServer, Fault::Stall);
        let (on_the_way, saves) = (claim.clone(), update(2));
        let saving = tokio::spawn(async move { late.save(&on_the_way, &saves).await });
        let direct = world.open().await?;
        for number in 3..6 {
            direct.save(&claim, &update(number)).await?;
        }
        proxy.heal();
        let error = saving.await?.err().ok_or("a save was accepted that came late")?;
        if !error.is_transient() || !error.to_string().contains("late") {
            return Err(error.into());
        }
        if proxy.statistics().to_client.delivered == before {
            return Err("the late save never reached the server".into());
        }
        let found = direct.load(PIPELINE).await?;
        if found == states(5) { Ok(()) } else { Err(format!("{found:?}").into()) }
    })
}
