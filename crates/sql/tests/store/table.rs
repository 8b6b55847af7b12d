use rowtide_core::{
    ErrorKind,
    plugin::{Execution, InstallOptions, UninstallOptions, UninstallScope},
};
use rowtide_servers::Server;

use super::{
    Database, Outcome,
    world::{PIPELINE, World, context, owner, run, states, update},
};

pub(crate) fn a_missing_table_is_named_and_not_made<D: Database>() -> Outcome {
    run(async {
        let table = format!("missing_{}", std::process::id());
        let world = World::<D>::at(Server::shared(D::KIND)?, table.clone());
        let store = world.open().await?;
        for _ in 0..2 {
            assert_eq!(store.load(PIPELINE).await?, []);
            let error = store.claim(PIPELINE, &owner(1)).await.err().ok_or("it was made")?;
            assert_eq!(error.kind(), &ErrorKind::Config, "{error}");
            assert!(error.message().contains(&table), "{error}");
            assert!(error.remedy().is_some_and(|help| help.contains("rowtide setup")), "{error}");
        }
        Ok(())
    })
}

pub(crate) fn setup_and_teardown_do_what_they_print<D: Database>() -> Outcome {
    const NAME: &str = "\"odd \"\"name`; --\"";
    run(async {
        let world = World::<D>::at(Server::shared(D::KIND)?, NAME.to_owned());
        let factory = world.factory(&world.url, 30)?;
        let install = |execution| InstallOptions { execution, confirmed: false };
        let printed = factory.install(&context(), install(Execution::DryRun)).await?;
        let store = world.open().await?;
        assert!(store.claim(PIPELINE, &owner(1)).await.is_err(), "a dry run made the table");
        for _ in 0..2 {
            assert_eq!(factory.install(&context(), install(Execution::Apply)).await?, printed);
        }
        for pipeline in [PIPELINE, "it's \\ another"] {
            let claim = store.claim(pipeline, &owner(1)).await?;
            store.save(&claim, &update(1)).await?;
        }
        let pipeline = UninstallScope::Pipeline;
        for (execution, left) in [(Execution::DryRun, states(1)), (Execution::Apply, vec![])] {
            let options = UninstallOptions { execution, scope: pipeline };
            let statements = factory.uninstall(&context(), options).await?;
            assert!(statements[0].starts_with("DELETE"), "{statements:?}");
            assert_eq!(store.load(PIPELINE).await?, left);
        }
        let other = rowtide_core::Context::new("it's \\ another", context().shutdown());
        assert_eq!(store.load(other.pipeline()).await?, states(1));
        let options = UninstallOptions { execution: Execution::Apply, scope: pipeline };
        let statements = factory.uninstall(&other, options).await?;
        assert!(statements[0].starts_with("DROP"), "{statements:?}");
        assert_eq!(factory.uninstall(&other, options).await?, Vec::<String>::new());
        Ok(())
    })
}

pub(crate) fn what_cannot_work_is_told_without_the_password<D: Database>() -> Outcome {
    run(async {
        let world = World::<D>::at(Server::shared(D::KIND)?, "t".to_owned());
        let (scheme, address) = (D::PLUGIN, world.address());
        for (place, kind) in [
            (format!("{address}/no_such_database"), ErrorKind::Config),
            ("127.0.0.1:1/rowtide".to_owned(), ErrorKind::Transient),
        ] {
            let store = world.open_at(&format!("{scheme}://nobody:hush@{place}"), 10).await?;
            let error = store.load(PIPELINE).await.err().ok_or("it connected")?;
            assert_eq!(error.kind(), &kind, "{error}");
            assert!(error.message().contains("127.0.0.1:"), "{error}");
            assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
        }
        Ok(())
    })
}
