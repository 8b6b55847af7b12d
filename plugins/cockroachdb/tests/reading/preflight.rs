use std::{collections::BTreeMap, path::Path, process::Command};

use rowtide_core::{Error, ErrorKind};
use rowtide_fake_cockroachdb::{Authentication, Certificate, Options, Server};
use serde_json::{Value as Json, json};

use crate::cluster::{open, open_at, read, released, server, server_with};

const TABLE: &str = "CREATE TABLE t (id INT8 PRIMARY KEY); CREATE VIEW w AS SELECT id FROM t";

async fn refused(server: &Server, settings: Json) -> Error {
    match open(server, settings).await {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

#[track_caller]
fn check(error: &Error, says: &str, help: Option<&str>) {
    assert_eq!(error.kind(), &ErrorKind::Config, "{error}");
    assert!(error.to_string().contains(says), "{error}");
    if let Some(help) = help {
        assert!(error.remedy().is_some_and(|remedy| remedy.contains(help)), "{error:?}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_tables_is_said_at_once() {
    let server = server(TABLE);
    check(&refused(&server, json!({"tables": ["x"]})).await, "no table `x`", None);
    check(&refused(&server, json!({"tables": ["w"]})).await, "`w` is no table", None);
    check(&refused(&server, json!({"tables": ["x*"]})).await, "no table is meant", None);
    server.execute("REVOKE SELECT ON TABLE t FROM u").unwrap();
    let error = refused(&server, json!({"tables": ["t"]})).await;
    check(&error, "may not read `public.t`", Some("GRANT SELECT ON TABLE public.t"));
}

#[tokio::test]
async fn rangefeeds_that_are_off_are_told_with_the_statement_that_helps() {
    let server = server(TABLE);
    server.execute("SET CLUSTER SETTING kv.rangefeed.enabled = false").unwrap();
    let error = refused(&server, json!({"tables": ["t"]})).await;
    check(&error, "rangefeeds", Some("SET CLUSTER SETTING kv.rangefeed.enabled = true"));
}

#[tokio::test]
async fn another_database_is_refused_by_name() {
    let options = Options { version: "PostgreSQL 17.2".to_owned(), ..Options::default() };
    let server = server_with(options, TABLE);
    check(&refused(&server, json!({"tables": ["t"]})).await, "not a CockroachDB cluster", None);
}

#[tokio::test]
async fn a_server_that_is_gone_is_transient() {
    let server = server(TABLE);
    server.stop();
    let error = refused(&server, json!({"tables": ["t"]})).await;
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains(&server.address().to_string()), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_shown() {
    for authentication in [Authentication::Scram, Authentication::Cleartext] {
        let users = BTreeMap::from([("root".to_owned(), "right".to_owned())]);
        let server = server_with(Options { users, authentication, ..Options::default() }, TABLE);
        let url = |password: &str| server.url().replace("root@", &format!("root:{password}@"));
        open_at(&url("right"), json!({"tables": ["t"]})).await.unwrap();
        let Err(error) = open_at(&url("wr0ng-secret"), json!({"tables": ["t"]})).await else {
            panic!("let in")
        };
        check(&error, "password authentication failed", Some("password"));
        assert!(!format!("{error:?}").contains("wr0ng-secret"), "{error:?}");
    }
}

/// An authority, and certificates of it: for `localhost`, and for the user `root`.
fn certificates(folder: &Path) -> Certificate {
    let openssl = |arguments: &str| {
        let output =
            Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output();
        let output = output.expect("openssl is needed to make certificates");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -days 3 -subj /CN=authority"));
    openssl(&format!("req {key} -keyout server.key -out server.csr -subj /CN=localhost"));
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost\n").expect("a file");
    openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3 -extfile names \
         -out server.pem",
    );
    openssl(&format!("req {key} -keyout client.key -out client.csr -subj /CN=root"));
    openssl(
        "x509 -req -in client.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3 -extfile names \
         -out client.pem",
    );
    Certificate {
        chain: folder.join("server.pem"),
        key: folder.join("server.key"),
        client_authority: Some(folder.join("ca.pem")),
    }
}

#[tokio::test]
async fn what_is_checked_of_a_certificate_is_what_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Some(certificates(folder.path()));
    let server = server_with(Options { certificate, ..Options::default() }, TABLE);
    let ca = folder.path().join("ca.pem").display().to_string();
    let port = server.address().port();
    let by_name = format!("postgresql://root@localhost:{port}/defaultdb");
    let by_number = format!("postgresql://root@127.0.0.1:{port}/defaultdb");
    let tables = json!({"tables": ["t"]});
    let with_tls = |tls: Json| json!({"tables": ["t"], "tls": tls});

    for (url, settings) in [
        (format!("{by_name}?sslmode=verify-full&sslrootcert={ca}"), tables.clone()),
        (format!("{by_number}?sslmode=verify-ca&sslrootcert={ca}"), tables.clone()),
        (format!("{by_number}?sslmode=require"), tables.clone()),
        (by_name.clone(), with_tls(json!({"ca": ca}))),
        (by_number.clone(), with_tls(json!({"ca": ca, "verify": "ca"}))),
        (by_number.clone(), with_tls(json!({"verify": "none"}))),
    ] {
        let opened = open_at(&url, settings).await;
        assert!(opened.is_ok(), "{url}: {:?}", opened.err());
    }
    for (url, settings) in [
        (format!("{by_number}?sslmode=verify-full&sslrootcert={ca}"), tables.clone()),
        (format!("{by_name}?sslmode=verify-full"), tables.clone()),
        (by_number.clone(), with_tls(json!({"ca": ca}))),
    ] {
        let Err(error) = open_at(&url, settings).await else { panic!("let in: {url}") };
        check(&error, "certificate", Some("sslmode"));
    }
}

#[tokio::test]
async fn a_client_certificate_takes_the_place_of_a_password() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Some(certificates(folder.path()));
    let users = BTreeMap::from([("root".to_owned(), "right".to_owned())]);
    let server = server_with(Options { users, certificate, ..Options::default() }, TABLE);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (ca, certificate, key) = (path("ca.pem"), path("client.pem"), path("client.key"));
    let url = format!("postgresql://root@localhost:{}/defaultdb", server.address().port());
    let with_parameters =
        format!("{url}?sslmode=verify-full&sslrootcert={ca}&sslcert={certificate}&sslkey={key}");
    let tls = json!({"ca": ca, "certificate": certificate, "key": key});
    open_at(&with_parameters, json!({"tables": ["t"]})).await.unwrap();
    let source = open_at(&url, json!({"tables": ["t"], "tls": tls})).await.unwrap();
    // The changefeed, and what cancels it, are connections of their own.
    read(&*source, None, |read| read.idle > 0).await.unwrap();
    released(&server).await;
    assert!(server.cancels() > 0, "the cancel request was not encrypted as it should be");
    let names = server.server_names();
    assert!(names.len() > 3 && names.iter().all(|name| name == "localhost"), "{names:?}");

    let Err(error) = open_at(&url, json!({"tables": ["t"], "tls": {"ca": ca}})).await else {
        panic!("let in without a password")
    };
    check(&error, "failed to connect", Some("password"));
    let Err(error) =
        open_at(&url.replace("root", "other"), json!({"tables": ["t"], "tls": tls})).await
    else {
        panic!("let in as somebody else")
    };
    check(&error, "failed to connect", Some("password"));
}

#[tokio::test]
async fn a_server_without_encryption_is_not_spoken_to_in_the_clear() {
    let server = server(TABLE);
    let url = server.url().replace("disable", "require");
    let Err(error) = open_at(&url, json!({"tables": ["t"]})).await else { panic!("let in") };
    check(&error, "does not support TLS", None);
}
