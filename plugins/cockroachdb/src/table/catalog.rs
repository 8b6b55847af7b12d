use std::{collections::BTreeSet, time::Duration};

use rowtide_core::{Error, Result, settings::Tables};

use super::{query::table_of, value::column_type};
use crate::connection::{Session, literal, quoted};

/// What a statement finds out about the tables of a database.
pub(crate) struct Catalog<'s> {
    session: &'s Session,
    pub(crate) database: String,
}

/// A table that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) schema: String,
    pub(crate) name: String,
    /// The families that its rows are split by; none if it has only one.
    pub(crate) families: Vec<String>,
}

/// A column, as the cluster describes it.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    pub(crate) name: String,
    pub(crate) declared: String,
    pub(crate) column_type: rowtide_core::ColumnType,
    pub(crate) is_hidden: bool,
    pub(crate) key: Option<u16>,
}

impl Target {
    /// `sales.orders`.
    pub(crate) fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// `"sales"."orders"`.
    pub(crate) fn sql(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    /// Whether a setting means this table by `orders`, `public.orders` or `shop.public.orders`.
    fn is_meant(&self, tables: &Tables, database: &str) -> bool {
        let full = self.full_name();
        let names = [Some(format!("{database}.{full}")), self.short_name(), Some(full)];
        names.iter().flatten().any(|name| tables.include_matches(name))
            && !names.iter().flatten().any(|name| tables.exclude_matches(name))
    }

    fn short_name(&self) -> Option<String> {
        (self.schema == "public").then(|| self.name.clone())
    }

    fn is_called(&self, name: &str, database: &str) -> bool {
        let full = self.full_name();
        name == full
            || self.short_name().as_deref() == Some(name)
            || name == format!("{database}.{full}")
    }
}

/// The two halves of [`Tables::matches`]: a table has several names, and one of them is enough.
trait Halves {
    fn include_matches(&self, name: &str) -> bool;
    fn exclude_matches(&self, name: &str) -> bool;
}

impl Halves for Tables {
    fn include_matches(&self, name: &str) -> bool {
        Tables { include: self.include.clone(), exclude: Vec::new() }.matches(name)
    }

    fn exclude_matches(&self, name: &str) -> bool {
        Tables { include: self.exclude.clone(), exclude: Vec::new() }.matches(name)
    }
}

impl<'s> Catalog<'s> {
    pub(crate) async fn open(session: &'s Session) -> Result<Self> {
        let version = session.value("SELECT version()").await?;
        if !version.starts_with("CockroachDB") {
            let message = "this is not a CockroachDB cluster";
            return Err(Error::config(message).key("database").because(version));
        }
        let database = session.value("SELECT current_database()").await?;
        Ok(Self { session, database })
    }

    /// Refuses a cluster that cannot do changefeeds yet.
    pub(crate) async fn require_rangefeeds(&self) -> Result<()> {
        // Not every user may look; then the changefeed itself tells.
        let Ok(value) = self.session.value("SHOW CLUSTER SETTING kv.rangefeed.enabled").await
        else {
            return Ok(());
        };
        if ["f", "false"].contains(&value.as_str()) {
            let help = "run `SET CLUSTER SETTING kv.rangefeed.enabled = true` as an administrator";
            return Err(Error::config("the cluster has rangefeeds switched off").help(help));
        }
        Ok(())
    }

    /// What tells this cluster from another; empty where nobody may know.
    pub(crate) async fn cluster(&self) -> String {
        const CLUSTER: &str = "SELECT crdb_internal.cluster_id()";
        if let Ok(id) = self.session.value(CLUSTER).await {
            return id;
        }
        // Versions from v25.4 on may ask for this first; older ones do not know it.
        let _ = self.session.query("SET allow_unsafe_internals = true").await;
        match self.session.value(CLUSTER).await {
            Ok(id) => id,
            Err(error) => {
                tracing::warn!("positions cannot tell this cluster from another: {error}");
                String::new()
            }
        }
    }

    /// The tables that a setting means.
    pub(crate) async fn targets(&self, tables: &Tables) -> Result<Vec<Target>> {
        let (mut found, views) = self.tables_and_views().await?;
        for name in tables.named() {
            if found.iter().any(|target| target.is_called(name, &self.database)) {
                continue;
            }
            return Err(self.missing(name, &views).key("tables"));
        }
        found.retain(|target| target.is_meant(tables, &self.database));
        if found.is_empty() {
            return Err(Error::config("no table is meant").key("tables"));
        }
        for target in &mut found {
            self.require_privilege(target).await?;
            target.families = self.families(target).await?;
        }
        found.sort_by_key(Target::full_name);
        Ok(found)
    }

    /// The table that a query reads.
    pub(crate) async fn target_of(&self, query: &str) -> Result<Vec<Target>> {
        let Some(name) = table_of(query) else {
            let error = Error::config("the query names no table after FROM").key("query");
            return Err(error.help("write `SELECT … FROM orders WHERE …`"));
        };
        let (tables, views) = self.tables_and_views().await?;
        let full = name.join(".");
        let is_meant = |target: &&Target| target.is_called(&full, &self.database);
        let target = match tables.into_iter().find(|target| is_meant(&target)) {
            Some(target) => target,
            // A name in full may be of another database, of which the cluster knows.
            None if name.len() == 3 => {
                let [_, schema, name] = <[String; 3]>::try_from(name).unwrap_or_default();
                return Ok(vec![Target { schema, name, families: Vec::new() }]);
            }
            None => return Err(self.missing(&full, &views).key("query")),
        };
        self.require_privilege(&target).await.map_err(|error| error.key("query"))?;
        Ok(vec![target])
    }

    async fn tables_and_views(&self) -> Result<(Vec<Target>, BTreeSet<String>)> {
        let (mut tables, mut views) = (Vec::new(), BTreeSet::new());
        for row in self.session.query("SHOW TABLES").await? {
            let text = |name: &str| row.get(name).unwrap_or_default().to_owned();
            let (schema, name) = (text("schema_name"), text("table_name"));
            let target = Target { schema, name, families: Vec::new() };
            if text("type") == "table" {
                tables.push(target);
            } else {
                views.insert(target.full_name());
            }
        }
        Ok((tables, views))
    }

    fn missing(&self, name: &str, views: &BTreeSet<String>) -> Error {
        let full = if name.contains('.') { name.to_owned() } else { format!("public.{name}") };
        Error::config(match views.contains(&full) {
            true => format!("`{name}` is no table, and only tables have changefeeds"),
            false => format!("there is no table `{name}` in `{}`", self.database),
        })
    }

    async fn require_privilege(&self, target: &Target) -> Result<()> {
        let sql = format!("SELECT has_table_privilege({}, 'SELECT')", literal(&target.sql()));
        if ["t", "true"].contains(&self.session.value(&sql).await?.as_str()) {
            return Ok(());
        }
        let message = format!("the user may not read `{}`", target.full_name());
        let help = format!("run `GRANT SELECT ON TABLE {} TO …` as its owner", target.full_name());
        Err(Error::config(message).key("tables").help(help))
    }

    /// The families of a table with more than one.
    async fn families(&self, target: &Target) -> Result<Vec<String>> {
        let rows = self.session.query(&format!("SHOW CREATE TABLE {}", target.sql())).await?;
        let statement = rows.first().and_then(|row| row.get("create_statement"));
        let families: Vec<_> = statement.unwrap_or_default().lines().filter_map(family).collect();
        Ok(if families.len() > 1 { families } else { Vec::new() })
    }

    /// For how long the cluster keeps old versions of a table.
    pub(crate) async fn gc_ttl(&self, target: &Target) -> Option<Duration> {
        let sql = format!("SHOW ZONE CONFIGURATION FROM TABLE {}", target.sql());
        let rows = self.session.query(&sql).await.ok()?;
        let zone = rows.first()?.get("raw_config_sql")?.split_once("gc.ttlseconds = ")?.1;
        let end = zone.find(|character: char| !character.is_ascii_digit()).unwrap_or(zone.len());
        zone[..end].parse().ok().map(Duration::from_secs)
    }
}

/// The name in `FAMILY "primary" (id, a),`.
fn family(line: &str) -> Option<String> {
    let rest = line.trim().strip_prefix("FAMILY ")?;
    match rest.strip_prefix('"') {
        Some(quoted) => Some(quoted.split('"').next()?.to_owned()),
        None => Some(rest.split([' ', '(']).next()?.to_owned()),
    }
}

/// The columns of a table, as they are now.
pub(crate) async fn columns(session: &Session, target: &Target) -> Result<Vec<Described>> {
    let of_table = format!(
        "WHERE table_schema = {} AND table_name = {}",
        literal(&target.schema),
        literal(&target.name)
    );
    let constraint = format!(
        "SELECT constraint_name FROM information_schema.table_constraints {of_table} \
         AND constraint_type = 'PRIMARY KEY'"
    );
    let constraint = session.value(&constraint).await?;
    let key = format!(
        "SELECT column_name FROM information_schema.key_column_usage {of_table} \
         AND constraint_name = {} ORDER BY ordinal_position",
        literal(&constraint)
    );
    let key = session.query(&key).await?;
    let key: Vec<_> = key.iter().filter_map(|row| row.get(0)).collect();
    let rows = session.query(&format!("SHOW COLUMNS FROM {}", target.sql())).await?;
    let described = rows.iter().map(|row| {
        let text = |name: &str| row.get(name).unwrap_or_default();
        let name = text("column_name");
        let place = key.iter().position(|own| *own == name);
        Described {
            name: name.to_owned(),
            declared: text("data_type").to_owned(),
            column_type: column_type(text("data_type")),
            is_hidden: ["t", "true"].contains(&text("is_hidden")),
            key: place.and_then(|place| u16::try_from(place).ok()),
        }
    });
    Ok(described.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_found_in_the_statement() {
        assert_eq!(family("\tFAMILY \"primary\" (id, a),"), Some("primary".to_owned()));
        assert_eq!(family("\tFAMILY f2 (b)"), Some("f2".to_owned()));
        assert_eq!(family("\tfamily_name STRING NULL,"), None);
    }

    #[test]
    fn a_table_has_several_names() {
        let target =
            |schema: &str| Target { schema: schema.into(), name: "a".into(), families: vec![] };
        let tables = |include: &[&str], exclude: &[&str]| Tables {
            include: include.iter().map(|&name| name.to_owned()).collect(),
            exclude: exclude.iter().map(|&name| name.to_owned()).collect(),
        };
        assert!(target("public").is_meant(&tables(&["a"], &[]), "d"));
        assert!(target("public").is_meant(&tables(&["d.public.a"], &[]), "d"));
        assert!(target("public").is_meant(&tables(&["*"], &[]), "d"));
        assert!(!target("public").is_meant(&tables(&["*"], &["a"]), "d"));
        assert!(!target("sales").is_meant(&tables(&["a"], &[]), "d"));
        assert!(target("sales").is_meant(&tables(&["sales.*"], &[]), "d"));
    }
}
