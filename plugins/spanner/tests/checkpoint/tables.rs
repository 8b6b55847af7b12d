//! How the tables are made and removed.

use rowtide_core::{ErrorKind, Result, plugin::Execution};

use crate::{
    DIALECTS, block_on,
    emulator::{Dialect, failed, metadata::Metadata, metadata::PIPELINE, world::connect},
    foreign::{Program, query},
    owner,
};

/// The tables and indexes that there are.
async fn present(metadata: &Metadata) -> Result<Vec<String>> {
    let sql = "SELECT table_name AS name FROM information_schema.tables \
               WHERE table_schema IN ('', 'public') UNION ALL \
               SELECT index_name AS name FROM information_schema.indexes \
               WHERE index_type = 'INDEX' AND table_schema IN ('', 'public') ORDER BY name";
    let client = connect(&metadata.database).await?;
    let rows = query(&client, sql.to_owned()).await;
    let rows = rows.map_err(|error| failed("reading the schema")(error.into()))?;
    Ok(rows.into_iter().flatten().flatten().collect())
}

pub(crate) fn setup_and_teardown_do_what_they_print() -> Result<()> {
    block_on(async {
        for dialect in DIALECTS {
            let metadata = Metadata::make(dialect).await?;
            let printed = metadata.installation().await?;
            assert_eq!(printed.len(), 2, "{printed:?}");
            assert_eq!(present(&metadata).await?, [""; 0], "printing makes nothing");
            assert_eq!(metadata.install().await?, printed);
            assert_eq!(present(&metadata).await?, ["Metadata", "Metadata_rowtide"]);
            assert_eq!(metadata.install().await?, [""; 0], "twice is harmless");

            let printed = metadata.uninstall(Execution::DryRun).await?;
            assert_eq!(present(&metadata).await?.len(), 2);
            assert_eq!(metadata.uninstall(Execution::Apply).await?, printed);
            assert_eq!(present(&metadata).await?, [""; 0], "{dialect:?}");
            assert_eq!(metadata.uninstall(Execution::Apply).await?, [""; 0]);

            // What is printed is what whoever may define tables has to run.
            let metadata = Metadata::make(dialect).await?;
            metadata.database.define(&metadata.installation().await?).await?;
            metadata.open().await?.claim(PIPELINE, &owner("first")).await?;
        }
        a_table_with_indexes_is_removed().await
    })
}

async fn a_table_with_indexes_is_removed() -> Result<()> {
    for dialect in DIALECTS {
        let metadata = Program::Beam.leave(dialect, &[]).await?;
        assert_eq!(present(&metadata).await?.len(), 4);
        metadata.uninstall(Execution::Apply).await?;
        assert_eq!(present(&metadata).await?, [""; 0], "{dialect:?}");
    }
    let metadata = Program::Beam.leave(Dialect::GoogleSql, &[]).await?;
    metadata.open().await?.claim("another", &owner("first")).await?;
    let error = metadata.uninstall(Execution::Apply).await.expect_err("it is another pipeline's");
    assert!(error.message().contains("`another`"), "{error}");
    Ok(())
}

pub(crate) fn a_missing_table_is_named() -> Result<()> {
    block_on(async {
        for dialect in DIALECTS {
            let store = Metadata::make(dialect).await?.open().await?;
            assert_eq!(store.load(PIPELINE).await?, []);
            let error = store.claim(PIPELINE, &owner("first")).await.expect_err("no table");
            assert_eq!((error.kind(), error.setting()), (&ErrorKind::Config, Some("table")));
            assert!(error.message().contains("`Metadata`"), "{error}");
            assert!(error.remedy().is_some_and(|help| help.contains("rowtide setup")));
        }
        Ok(())
    })
}

pub(crate) fn a_run_makes_the_tables_if_it_may() -> Result<()> {
    block_on(async {
        for dialect in DIALECTS {
            let metadata = Metadata::make(dialect).await?.with("create = true\n");
            for _ in 0..2 {
                metadata.open().await?.claim(PIPELINE, &owner("first")).await?;
            }
            assert_eq!(present(&metadata).await?, ["Metadata", "Metadata_rowtide"]);
        }
        Ok(())
    })
}
