use rowtide_servers::Server;

use super::{
    Database, Outcome,
    world::{PIPELINE, World, owner, run, save_at_last, states, update},
};

pub(crate) fn what_was_saved_outlives_a_killed_server<D: Database>() -> Outcome {
    run(async {
        let server = Server::start_with(D::KIND, &[])?;
        let world = World::<D>::new(&server).await?;
        let store = world.open_at(&world.url, 10).await?;
        let claim = store.claim(PIPELINE, &owner(1)).await?;
        for number in 1..4 {
            store.save(&claim, &update(number)).await?;
            server.kill()?;
            for call in ["on the old connection", "on none"] {
                let error = store.save(&claim, &update(0)).await.err().ok_or(call)?;
                if !error.is_transient() {
                    return Err(error.into());
                }
            }
            server.restart()?;
            if store.load(PIPELINE).await? != states(number) {
                return Err(format!("save {number} is gone").into());
            }
        }
        save_at_last(store.as_ref(), &claim, &update(9)).await?;
        Ok(())
    })
}

pub(crate) fn a_frozen_server_is_given_up_and_gone_on_with<D: Database>() -> Outcome {
    run(async {
        let server = Server::start_with(D::KIND, &[])?;
        let world = World::<D>::new(&server).await?;
        let store = world.open_at(&world.url, 1).await?;
        let patient = world.open().await?;
        let claim = patient.claim(PIPELINE, &owner(1)).await?;
        save_at_last(store.as_ref(), &claim, &update(1)).await?;
        server.freeze()?;
        for number in 2..4 {
            let error = store.save(&claim, &update(number)).await.err().ok_or("it was frozen")?;
            if !error.is_transient() || !error.to_string().contains("does not answer") {
                return Err(error.into());
            }
        }
        server.thaw()?;
        save_at_last(store.as_ref(), &claim, &update(4)).await?;
        let found = patient.load(PIPELINE).await?;
        if found == states(4) { Ok(()) } else { Err(format!("{found:?}").into()) }
    })
}
